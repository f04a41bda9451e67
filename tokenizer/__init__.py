"""From a corpus to a vocabulary and token shards, on Ray: byte-level BPE, as GPT-2 has it.

`train_bpe.py` counts pre-tokens (`pretokens.py`), learns merges from the counts (`merges.py`,
`learning.py`) and writes the vocabulary in every form (`vocabulary.py`). `write_shards.py` encodes the
documents (`encoder.py`), shuffles them (`shuffle.py`) and writes llm.c's token shards (`shards.py`). Both
read the corpus through `documents.py` and hand over what they made through `publish.py`.
"""
