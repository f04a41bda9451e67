"""Which documents are worth keeping: in a wanted language, prose, and not Wikipedia's.

`quality.py` judges one document by rules of one threshold each; `language.py`, `walls.py` (error, login and
cookie pages; the phrases are in `walls.tsv`) and `wikipedia.py` are the rules that need more than a line.
`scripts.py` knows which scripts put no spaces between words. `stages.py` is the shell that judges a partition
on Ray.
"""
