"""What the web is to whoever reads it, a crawl or an archive: addresses, archives, codings, reject reasons.

`urls.py` gives each page one address (`tracking.py` knows what in it names no page), `blocklist.py` knows
what is left out and why; both read their lists through `lists.py`. `warc.py` reads and writes archives
(`archive_records.py`, `http_head.py`, `content_coding.py`) of pages (`page.py`), `decompression.py` opens
compressed files.
`optout.py` knows how pages opt out, `refresh.py` how they send readers on (`html_tags.py` and `utf16.py` let
both read them), and `guard.py` which addresses may be connected to.
"""
