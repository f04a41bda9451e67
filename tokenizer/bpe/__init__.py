"""Byte-level BPE, as in GPT-2: a vocabulary learned from counts, written in every common format, and applied.

`pretokens.py` counts, `word_counts.py` reads the counts, `rare_words.py` and `merges.py` learn from them,
`learning.py` is the stage that does; `vocabulary.py` and `vocabulary_formats.py` write and read what was
learned, and `encoder.py` applies it.
"""
