"""Boilerplate: what stands at the beginning or the end of many pages of one site, and is none of their text.

`paragraphs.py` cuts a text, `counting.py` counts in how many texts of a domain a paragraph stands, out of
core, and `trimming.py` takes out what many have. `stages.py` does that to a corpus.
"""
