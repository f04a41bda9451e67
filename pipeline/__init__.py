"""From Reddit dumps to a WebText-style corpus, on Ray.

`build_webtext.py` is the command, `recipe.py` the stages on one page. A room imports from those before it in
this list, never from those after it:

- `runner/` runs the stages, whatever they do; `web/` is what crawl and archives share; `corpus/` is the
  folder that is handed on, with its card and report;
- `links/` finds links in dumps; `archives/` or `crawl/` find their pages;
- `filters/` judges documents, `dedup/` finds copies, `extract/` makes documents of pages, `decontaminate/`
  leaves out what copies an evaluation set.

A room has its plain functions, and a shell, `stages.py`, that reads a partition, calls them and writes one.
"""
