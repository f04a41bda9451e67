"""From Reddit dumps to pages: which outbound links count, and what their addresses answer.

`submissions.py` reads the dumps (through `decompression.py`), `urls.py` gives each page one address,
`links.py` turns submissions into links and merges them, `blocklist.py` knows what is left out and why.
"""
