"""Token shards: documents encoded, shuffled, and written for training.

`shuffle.py` has the two stages that encode and shuffle, `formats.py` the files of llm.c and others,
`folder.py` the index, and reading tokens.
"""
