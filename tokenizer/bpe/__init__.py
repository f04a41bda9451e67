"""Byte-level BPE, as GPT-2 has it: a vocabulary learned from counts, written in every form, and applied.

`pretokens.py` and `word_counts.py` count, `rare_words.py` and `merges.py` learn from the counts,
`learning.py` is the stage that does; `vocabulary.py` and `forms.py` write and read what was learned, and
`encoder.py` applies it.
"""
