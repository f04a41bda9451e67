"""From Reddit dumps to pages: which outbound links count, and what their addresses answer.

Dumps to links: `submissions.py` reads dumps (through `decompression.py`), `urls.py` gives each page one
address (`tracking.py` knows what in it names no page), `links.py` turns submissions into candidates,
`blocklist.py` knows what is left out and why, `merging.py` makes one link of a link's submissions.

Links to pages: `crawl.py` and what it calls, guarded (`guard.py`), polite (`robots.py`, `politeness.py`),
into WARC (`warc.py`). `steps.py` is the shell that puts both on Ray.
"""
