"""From links to pages of archives that are there already, in place of a crawl.

`ways.py` follows a link to its page through redirects and revisits, `stages.py` is the shell. What reads a
WARC file is in `web/`, which the crawl shares.
"""
