"""From Reddit dumps to pages: which outbound links count, and what their addresses answer.

Dumps to links: `submissions.py` reads dumps (through `decompression.py`), `urls.py` gives each page one
address (`tracking.py` knows what in it names no page), `links.py` turns submissions into candidates,
`blocklist.py` knows what is left out and why, `merging.py` makes one link of a link's submissions.

Links to pages: `crawl.py` schedules visits (`visits.py`, each in its domain's queue: `politeness.py`) and
judges what comes back (`answers.py`); `fetch.py` makes one guarded request (`guard.py`); `policies.py`
remembers each origin's `robots.py` and `optout.py`; `segments.py` commits WARC files (`warc.py`) with
their fetch log. `crawl_options.py` has the options. `steps.py` is the shell that puts both halves on Ray.
"""
