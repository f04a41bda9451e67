"""From Reddit dumps to a WebText-style corpus, on Ray: gather links and pages, refine them to documents.

`build_webtext.py` is the command and the recipe; `runner/` runs its stages; `links/` finds links, `crawl/` or
`archives/` their pages, `refine/` turns pages into documents worth keeping, `corpus/` writes what is left
and tells how it came about.
"""
