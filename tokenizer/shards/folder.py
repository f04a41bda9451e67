"""A folder of token shards: its index, and its tokens mapped into memory.

    shards.json       format, type of the ids, vocabulary, seed; tokens, documents and checksum of each file
    tokenizer.json    the vocabulary
    train_000000.bin  … or as the format names it (see `formats`)

The files of a split are one stream of tokens, cut wherever a shard is full: a document may begin in one
shard and end in the next.
"""

import dataclasses
import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as, parse_json
from tokenizer.shards import formats
from tokenizer.shards.formats import FormatName, Tokens, TypeName

INDEX: Final = "shards.json"
VOCABULARY_FILE: Final = "tokenizer.json"
VERSION: Final = 2  # of the index
TOKENS_AT_ONCE: Final = 2**24


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    file: str
    tokens: int
    documents: int  # that begin in it
    sha256: str
    idx_sha256: str | None = None  # of Megatron's index beside it


@dataclass(frozen=True)
class Split:
    """All shards of one split of the corpus, and what they hold."""

    documents: int
    tokens: int
    characters: int
    bytes: int  # of the texts in UTF-8
    shards: Sequence[Shard]


@dataclass(frozen=True)
class VocabularyReference:
    """The vocabulary of the tokens."""

    fingerprint: str
    size: int
    end_of_text: int


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The content of `shards.json`."""

    format: FormatName
    token_type: TypeName
    vocabulary: VocabularyReference
    seed: int
    splits: Mapping[str, Split]

    def to_json(self) -> str:
        """Return the index as text; equal indexes give equal text."""
        return (
            json.dumps({"version": VERSION, **dataclasses.asdict(self, dict_factory=_without_none)}, indent=2)
            + "\n"
        )


def _without_none(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


def load_index(folder: str) -> ShardIndex:
    """Read `shards.json` of a folder of shards.

    Raises:
        ValueError: there is none, it is damaged, or it has another version.
    """
    address = storage.join(folder, INDEX)
    if not storage.exists(address):
        raise ValueError(f"no finished shards at {folder}: write them with tokenizer/write_shards.py")
    try:
        whole = parse_json(storage.read_text(address))
        version = whole.pop("version")
        if version != VERSION:
            raise ValueError(f"version {version!r}, not {VERSION}: write the shards again")
        return _checked(parse_as(ShardIndex, whole))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{address} is not an index of token shards: {error!r}") from error


def _checked(index: ShardIndex) -> ShardIndex:
    """Return the index if what it says goes together."""
    if index.token_type != formats.token_type(index.format, index.vocabulary.size):
        raise ValueError(f"{index.token_type} ids of {index.vocabulary.size} entries in {index.format}")
    for name, split in index.splits.items():
        for shard in split.shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"{shard.file!r} is no file of this folder")
            if not 0 <= shard.documents <= shard.tokens:  # each has its <|endoftext|>
                raise ValueError(f"{shard.file} has {shard.documents} documents of {shard.tokens} tokens")
        sums = sum(shard.tokens for shard in split.shards), sum(shard.documents for shard in split.shards)
        if sums != (split.tokens, split.documents):
            raise ValueError(f"the shards of {name} do not add up to its totals")
    return index


class TokenStream:
    """The tokens of a split, shard after shard, as one sequence."""

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._parts = [np.asarray(part) for part in parts]  # slicing a memory map is slow
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """Return `count` tokens from `start`, fewer at the end of the stream."""
        stop = min(start + count, len(self))
        parts = [np.empty(0, np.int64)]
        number = bisect_right(self._ends, start)
        while start < stop:
            first = self._ends[number] - len(self._parts[number])
            part = self._parts[number][start - first : stop - first]
            parts.append(part.astype(np.int64))
            start += len(part)
            number += 1
        return np.concatenate(parts)

    def read_rows(self, starts: Sequence[int], count: int) -> NDArray[np.int64]:
        """Return `count` tokens from each of the starts [len(starts), count], zeros beyond the end."""
        rows = np.empty((len(starts), count), np.int64)
        for row, start in zip(rows, starts, strict=True):
            number = bisect_right(self._ends, start)
            stop = start + count
            if number < len(self._parts) and stop <= self._ends[number]:  # all in one shard, the usual case
                first = self._ends[number] - len(self._parts[number])
                row[:] = self._parts[number][start - first : stop - first]
            else:
                tokens = self.read(start, count)
                row[: len(tokens)], row[len(tokens) :] = tokens, 0
        return rows


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A folder of token shards on this machine."""

    folder: Path
    index: ShardIndex
    fingerprint: str  # SHA-256 of shards.json, which holds the SHA-256 of every file

    def open(self, split: str) -> TokenStream:
        """Map the tokens of a split into memory; empty if there is no such split.

        Raises:
            ValueError: a shard is missing or truncated, or not the one in the index.
        """
        described = self.index.splits[split].shards if split in self.index.splits else ()
        return TokenStream([self.open_shard(shard) for shard in described])

    def open_shard(self, shard: Shard) -> Tokens:
        """Map the tokens of one shard into memory; like `open`."""
        path = self.folder / shard.file
        tokens = formats.open_tokens(path, self.index.format, self.index.token_type)
        if len(tokens) != shard.tokens:
            raise ValueError(f"{path} has {len(tokens):,} tokens, but {INDEX} says {shard.tokens:,}")
        return tokens

    def starts(self, shard: Shard) -> NDArray[np.int64]:
        """Find where documents begin in a shard: at `<|endoftext|>`, which no text can contain."""
        tokens = self.open_shard(shard)
        found = [np.empty(0, np.int64)]
        for first in range(0, len(tokens), TOKENS_AT_ONCE):
            part = tokens[first : first + TOKENS_AT_ONCE]
            found.append(first + np.flatnonzero(part == self.index.vocabulary.end_of_text))
        return np.concatenate(found)

    def document(self, split: str, number: int) -> tuple[int, int]:
        """Return a document's start and end in a split's stream, including its `<|endoftext|>`.

        Raises:
            ValueError: there is no such document, or its shard is damaged.
        """
        documents = self.index.splits[split].documents
        if not 0 <= number < documents:
            raise ValueError(f"no document {number} in {split}: it has {documents:,}, counting from 0")
        return self._start(split, number), self._start(split, number + 1)

    def _start(self, split: str, number: int) -> int:
        """Return where in a split's stream a document begins; the one after the last, at its end."""
        at = 0
        for shard in self.index.splits[split].shards:
            if number < shard.documents:
                return at + int(self.starts(shard)[number])
            at, number = at + shard.tokens, number - shard.documents
        return at

    def check(self, shard: Shard, *, whole: bool) -> None:
        """Compare a shard with the index: its header and size; with `whole`, its content too.

        Raises:
            ValueError: the shard is damaged.
        """
        tokens = self.open_shard(shard)
        index_file = formats.index_name(self.index.format, shard.file)
        megatron = formats.read_megatron_index(self.folder / index_file) if index_file else None
        if not whole:
            return
        path, starts = self.folder / shard.file, self.starts(shard)
        if len(starts) != shard.documents:
            raise ValueError(f"{path} has {len(starts):,} documents, but {INDEX} says {shard.documents:,}")
        if megatron and megatron.lengths.tolist() != np.diff(starts, append=len(tokens)).tolist():
            raise ValueError(f"{self.folder / str(index_file)} does not match {shard.file}")
        for first in range(0, len(tokens), TOKENS_AT_ONCE):
            highest = tokens[first : first + TOKENS_AT_ONCE].max()
            if highest >= self.index.vocabulary.size:
                raise ValueError(f"{path} holds token {highest}, which is not in its vocabulary")
        for name, checksum in ((shard.file, shard.sha256), (index_file, shard.idx_sha256)):
            if name and _sha256(self.folder / name) != checksum:
                raise ValueError(f"{self.folder / name} is damaged: its SHA-256 is not the one in {INDEX}")

    def has_its_checksum(self, shard: Shard) -> bool:
        """Say whether a shard's file is there and has the content that was written."""
        path = self.folder / shard.file
        return path.is_file() and _sha256(path) == shard.sha256


def open_shards(address: str) -> Shards:
    """Read the index of a folder of shards; its files are checked when they are opened.

    Raises:
        ValueError: there is none, it was not written by `tokenizer/write_shards.py`, or it is not on a
            local disk.
    """
    folder = storage.local_path(address)
    if folder is None:
        raise ValueError(f"{address}: token shards are memory-mapped, so copy them to a local disk first")
    index = load_index(address)
    text = (folder / INDEX).read_bytes()
    return Shards(folder=folder, index=index, fingerprint=hashlib.sha256(text).hexdigest())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
