"""A small folder of token shards, made up on the spot: what a proof of training trains on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.bpe.vocabulary import Vocabulary


def write_shards(
    folder: Path,
    *,
    train: int = 40_000,
    validation: int = 2_000,
    merges: int = 0,
    files: int = 1,
    seed: int = 0,
) -> Path:
    """Write tokens of which a model can learn something: the rare ones far rarer than the common.

    Args:
        merges: pairs of bytes in the vocabulary, besides the 256 bytes and <|endoftext|>.
        files: of the training split.
    """
    folder.mkdir(parents=True)
    pairs = [(bytes([one]), bytes([other])) for one in range(256) for other in range(256)]
    vocabulary = Vocabulary(pairs[:merges])
    splits = {}
    for number, (split, count) in enumerate({"train": train, "validation": validation}.items()):
        tokens = (np.random.default_rng(seed + number).zipf(1.3, count) % vocabulary.size).astype("<u2")
        parts = np.array_split(tokens, files if split == "train" else 1)
        shards = [_write(folder / f"{split}_{place:06d}.bin", part) for place, part in enumerate(parts)]
        totals = {"documents": len(shards), "tokens": count, "characters": 0, "bytes": count}
        splits[split] = {**totals, "shards": shards}
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


def _write(path: Path, tokens: NDArray[np.uint16]) -> dict[str, Any]:
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, len(tokens)
    content = header.tobytes() + tokens.tobytes()
    path.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    return {"file": path.name, "tokens": len(tokens), "documents": 1, "sha256": checksum}
