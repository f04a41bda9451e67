"""From links to pages: what their addresses answer.

`crawler.py` schedules visits (`visits.py`, each in its domain's queue: `politeness.py`) and judges what comes
back (`responses.py`); `fetch.py` makes one guarded request, with the link's `cookies.py`; `policies.py`
remembers each origin's `robots.py` and opt-outs; `segments.py` commits WARC files with their fetch log.
`options.py` has the options. `stages.py` is the shell that puts it on Ray.
"""
