"""The corpus: the folder that is handed on, its two sides, and the record of how it came about.

`layout.py` says which file lies where, `split.py` which document is on which side; `funnel.py` and
`figures.py` count, `card.py` writes the dataset card and where it all came from, `report.py` the HTML page.
`rankings.py` compares domains, `likeness.py` those with WebText's, which `webtext_domains.tsv` lists.
`stages.py` is the shell that splits a partition on Ray.
"""
