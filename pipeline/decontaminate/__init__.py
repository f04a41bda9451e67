"""What a corpus and the evaluation sets have in common: counted, reported, or left out.

`plain_texts.py` reads the sets, `ngrams.py` makes 8-grams of texts, `bloom.py` filters those that no set has,
`overlap.py` decides what is too much; `stages.py` is the shell that does it on Ray, and `overlap_report.py`
reports it.
"""
