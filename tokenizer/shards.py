"""llm.c's token shards, and the index that says what they hold.

A shard is 256 little-endian int32 (magic number, version, number of tokens, zeros), then as many uint16
token ids; each document is preceded by `<|endoftext|>`.
Source: llm.c, dev/data/data_common.py and llmc/dataloader.h.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline import storage

MAGIC: Final = 20240520
VERSION: Final = 1
HEADER_BYTES: Final = 256 * 4
MOST_TOKENS: Final = 2**31 - 1  # the header counts them in an int32
LARGEST_VOCABULARY: Final = 2**16
INDEX: Final = "shards.json"

Tokens = NDArray[np.uint16]


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    file: str
    tokens: int
    documents: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """All shards of one side of the corpus, and what was encoded in them."""

    documents: int
    tokens: int
    characters: int
    bytes: int  # of the texts in UTF-8
    shards: Sequence[Shard]


@dataclass(frozen=True)
class VocabularyReference:
    """Which vocabulary the tokens are of."""

    fingerprint: str
    size: int
    end_of_text: int


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What `shards.json` says."""

    vocabulary: VocabularyReference
    seed: int
    splits: Mapping[str, Split]

    def to_json(self) -> str:
        """Write the index as text, always the same for the same index."""
        return (
            json.dumps({"format": "llm.c", "version": VERSION, **dataclasses.asdict(self)}, indent=2) + "\n"
        )


def load_index(folder: str) -> ShardIndex:
    """Read `shards.json` of a folder of shards.

    Raises:
        ValueError: there is none, it is damaged, or it is of another format.
    """
    address = storage.join(folder, INDEX)
    if not storage.exists(address):
        raise ValueError(f"no finished shards at {folder}: write them with tokenizer/write_shards.py")
    try:
        whole = json.loads(storage.read_text(address))
        if (whole["format"], whole["version"]) != ("llm.c", VERSION):
            raise ValueError(f"format {whole['format']!r} version {whole['version']!r}")
        splits = {
            name: Split(**{**split, "shards": [Shard(**shard) for shard in split["shards"]]})
            for name, split in whole["splits"].items()
        }
        reference = VocabularyReference(**whole["vocabulary"])
        return ShardIndex(vocabulary=reference, seed=whole["seed"], splits=splits)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{address} is not an index of llm.c shards: {error!r}") from error


def write_shard(path: Path, documents: Sequence[Tokens]) -> tuple[int, str]:
    """Write documents, each beginning with its `<|endoftext|>`, one after another as a shard.

    Returns:
        How many tokens there are, and the file's SHA-256.

    Raises:
        ValueError: there are more than the header can count.
    """
    tokens = sum(len(document) for document in documents)
    if tokens > MOST_TOKENS:
        raise ValueError(f"{tokens:,} tokens are too many for one shard: ask for fewer with --shard-tokens")
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, VERSION, tokens
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (header, *documents):
            raw = part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
            digest.update(raw)
            file.write(raw)
    return tokens, digest.hexdigest()


def open_shard(path: Path) -> Tokens:
    """Map a shard's tokens into memory without reading them.

    Raises:
        ValueError: the file is missing, is no shard, is of another version, or is longer or shorter than
            its header says.
    """
    if not path.is_file():
        raise ValueError(f"shard {path} is missing")
    size = path.stat().st_size
    header = np.fromfile(path, dtype="<i4", count=256)
    if len(header) < 256 or header[0] != MAGIC:
        raise ValueError(f"{path} is not a shard of llm.c's format")
    if header[1] != VERSION:
        raise ValueError(f"{path} has version {header[1]} of llm.c's shard format, not {VERSION}")
    tokens = int(header[2])
    if size != HEADER_BYTES + 2 * tokens:
        raise ValueError(f"{path} is damaged: {size:,} bytes, but its header counts {tokens:,} tokens")
    if not tokens:  # which cannot be mapped
        return np.empty(0, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(tokens,))
