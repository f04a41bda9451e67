"""Token shards: documents encoded, shuffled, and written for training.

`shuffle.py` has the two stages that encode and shuffle, `formats.py` the files of llm.c and others,
`mapping.py` maps them into memory. `index.py` and `folder.py` have the index and read tokens; `foreign.py`
and `meta_pickle.py` read what other tools write.
"""
