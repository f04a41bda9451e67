"""From a corpus to a vocabulary and token shards, on Ray: byte-level BPE, as GPT-2 has it.

`train_bpe.py` counts pre-tokens, learns merges from the counts and writes the vocabulary in every form
(`bpe/`). `write_shards.py` encodes the documents, shuffles them and writes token shards in llm.c's format or
another (`shards/`); `inspect_shards.py` looks into them. `report_vocabulary.py` measures vocabularies on a
corpus and tells what they make of it (`report/`).

All read the corpus through `documents.py` and hand over what they made through `publish.py`. A room imports
from those before it in this list, never from those after it: `documents.py`, `publish.py`, `bpe/`, `shards/`,
`report/`, the commands.
"""
