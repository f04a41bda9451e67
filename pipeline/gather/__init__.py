"""From Reddit dumps to pages: which outbound links count, and what their addresses answer.

Dumps to links: `submissions.py` reads dumps, `links.py` turns them into candidates, `merging.py`
makes one link of a link's submissions.

Links to pages: `crawl.py` schedules visits (`visits.py`, each in its domain's queue: `politeness.py`) and
judges what comes back (`answers.py`); `fetch.py` makes one guarded request; `policies.py`
remembers each origin's `robots.py` and opt-outs; `segments.py` commits WARC files with
their fetch log. `crawl_options.py` has the options. `steps.py` is the shell that puts both halves on Ray.
"""
