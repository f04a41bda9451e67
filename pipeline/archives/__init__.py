"""From links to pages of archives that are there already, in place of a crawl.

`stages.py` is all there is: what reads a WARC file is in `web/`, which the crawl shares.
"""
