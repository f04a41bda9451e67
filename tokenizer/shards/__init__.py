"""Token shards: documents encoded, shuffled, and written for training.

`shuffle.py` has the two stages that encode and shuffle, `formats.py` the files of llm.c and others,
`index.py` and `folder.py` the index and reading tokens, `foreign.py` and `meta_pickle.py` what other tools
write.
"""
