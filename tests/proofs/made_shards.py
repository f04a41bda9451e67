"""A small folder of token shards, made up on the spot: what a proof of training trains on."""

import hashlib
import json
from pathlib import Path

import numpy as np

from tokenizer.bpe.vocabulary import Vocabulary


def write_shards(folder: Path, *, train: int = 40_000, validation: int = 2_000, merges: int = 0) -> Path:
    """Write tokens of which a model can learn something: the rare ones far rarer than the common.

    Args:
        merges: pairs of bytes in the vocabulary, besides the 256 bytes and <|endoftext|>.
    """
    folder.mkdir(parents=True)
    pairs = [(bytes([one]), bytes([other])) for one in range(256) for other in range(256)]
    vocabulary = Vocabulary(pairs[:merges])
    splits = {}
    for seed, (split, count) in enumerate({"train": train, "validation": validation}.items()):
        tokens = (np.random.default_rng(seed).zipf(1.3, count) % vocabulary.size).astype("<u2")
        header = np.zeros(256, "<i4")
        header[:3] = 20240520, 1, count
        content = header.tobytes() + tokens.tobytes()
        name = f"{split}_000000.bin"
        (folder / name).write_bytes(content)
        shard = {"file": name, "tokens": count, "documents": 1, "sha256": hashlib.sha256(content).hexdigest()}
        splits[split] = {"documents": 1, "tokens": count, "characters": 0, "bytes": count, "shards": [shard]}
    (folder / "tokenizer.json").write_text(vocabulary.tokenizer_json)
    known = {
        "fingerprint": vocabulary.fingerprint,
        "size": vocabulary.size,
        "end_of_text": vocabulary.end_of_text,
    }
    index = {
        "version": 2,
        "format": "llm.c",
        "token_type": "uint16",
        "vocabulary": known,
        "seed": 0,
        "splits": splits,
    }
    (folder / "shards.json").write_text(json.dumps(index))
    return folder
