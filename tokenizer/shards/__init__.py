"""Token shards: the documents encoded, shuffled, and laid out for training.

`shuffle.py` has the two stages that encode and shuffle, `formats.py` the files of llm.c and others,
`folder.py` the index and the tokens as they are read.
"""
