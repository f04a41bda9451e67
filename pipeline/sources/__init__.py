"""Texts as they come: which files a corpus has, and the documents in each, whatever its kind.

`options.py` says how they are read, `files.py` finds them, `sides.py` the split by their names, `tables.py`
reads Parquet and Arrow, `lines.py` JSON Lines and plain text; each gives the batches of `batches.py`.
`tokens.py` counts tokens by anybody's `tokenizer.json`.
"""
