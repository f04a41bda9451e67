"""From a corpus to a vocabulary and token shards, on Ray: byte-level BPE as in GPT-2.

`train_bpe.py` counts pre-tokens, learns merges from the counts and writes the vocabulary in every common
format (`bpe/`). `write_shards.py` encodes the documents, shuffles them and writes token shards in llm.c's
format or another (`shards/`); `inspect_shards.py` shows what they hold. `report_vocabulary.py` compares
vocabularies on a corpus (`report/`).

All read the corpus through `documents.py`, whose files `sources/` knows, and publish results through
`publish.py`. A folder imports only from those before it in this list: `sources/`, `documents.py`,
`publish.py`, `bpe/`, `shards/`, `report/`, the commands.
"""
