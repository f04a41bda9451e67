"""Pages from Common Crawl, and from any web archive with an index of the same kind, by range requests.

Links are sorted by SURT, as the indexes are (`surt.py`, `sought.py`), and joined with them (`lookup.py`) as
they are read (`index_files.py`, `parquet_index.py`, `cdx_index.py`); of its captures each link gets the
nearest one, by way of redirects (`choice.py`). Records are fetched by range requests (`ranges.py`), verified
(`record.py`) and written to segments such as the crawl's (`fetching.py`). `stages.py` is the shell.
"""
