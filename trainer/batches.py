"""Token shards, and which of their tokens come when.

Training order is a pure function of (seed, epoch, position): sequence number p of a run is the same
whatever the ranks, the micro-batches and the interruptions, so that to resume is to go on from an
integer. An epoch takes each window of the data exactly once, in an order of its own.

Shards are llm.c's: 256 little-endian int32 (20240520, version 1, count of tokens, zeros), then uint16.
"""

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.storage import local_path
from trainer.config import IGNORED

MAGIC = 20240520
VERSION = 1
HEADER_BYTES = 256 * 4

Tokens = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Shards:
    """What shards.json says: the vocabulary, and the files of each split with their token counts."""

    folder: Path
    fingerprint: str  # SHA-256 of shards.json, which in turn holds that of every file
    vocabulary_size: int
    vocabulary_fingerprint: str
    splits: dict[str, list[tuple[Path, int]]]

    def open(self, split: str) -> "TokenStream":
        """Return all tokens of a split as one stream.

        Raises:
            ValueError: a shard is missing, truncated, or not a shard.
        """
        return TokenStream([_map_shard(path, tokens) for path, tokens in self.splits.get(split, [])])


def read_shards(address: str) -> Shards:
    """Read and check the shards.json of a folder.

    Raises:
        ValueError: there is none, or it is not what `tokenizer/write_shards.py` writes.
    """
    folder = local_path(address)
    if folder is None:
        raise ValueError(
            f"{address}: token shards are read by memory map, so copy them to a local disk first"
        )
    try:
        text = (folder / "shards.json").read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no shards.json: is it a folder of token shards?") from None
    try:
        content = json.loads(text)
        if (content["format"], content["version"]) != ("llm.c", VERSION):
            raise ValueError(f"{folder}/shards.json is not of llm.c's format, version {VERSION}")
        return Shards(
            folder=folder,
            fingerprint=hashlib.sha256(text).hexdigest(),
            vocabulary_size=content["vocabulary"]["size"],
            vocabulary_fingerprint=content["vocabulary"]["fingerprint"],
            splits={
                name: [(folder / shard["file"], shard["tokens"]) for shard in split["shards"]]
                for name, split in content["splits"].items()
            },
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}/shards.json is broken: {type(error).__name__}: {error}") from error


def _map_shard(path: Path, tokens: int) -> NDArray[np.uint16]:
    """Map one shard into memory after checking its header and length."""
    if not path.is_file():
        raise ValueError(f"shard {path} is missing")
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise ValueError(f"shard {path} is truncated: {size:,} bytes do not even hold its header")
    header = np.fromfile(path, dtype="<i4", count=256)
    if (header[0], header[1]) != (MAGIC, VERSION):
        raise ValueError(f"{path} is not an llm.c shard: it begins with {header[0]}, version {header[1]}")
    expected = HEADER_BYTES + 2 * tokens
    if header[2] != tokens or size != expected:
        raise ValueError(
            f"shard {path} is truncated, or not the one that shards.json names: {size:,} bytes and "
            f"{header[2]:,} tokens where {expected:,} bytes and {tokens:,} tokens are due"
        )
    if tokens == 0:  # which cannot be mapped
        return np.empty(0, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES)


class TokenStream:
    """The tokens of a split, shard after shard, as one sequence."""

    def __init__(self, shards: list[NDArray[np.uint16]]) -> None:
        self._shards = shards
        self._ends = list(accumulate(len(shard) for shard in shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, count: int) -> Tokens:
        """Return `count` tokens from `start`, fewer at the end of the stream."""
        stop = min(start + count, len(self))
        parts = [np.empty(0, np.int64)]
        shard = bisect_right(self._ends, start)
        while start < stop:
            first = self._ends[shard] - len(self._shards[shard])
            part = self._shards[shard][start - first : stop - first]
            parts.append(part.astype(np.int64))
            start += len(part)
            shard += 1
        return np.concatenate(parts)


class TrainingData:
    """A split cut into windows of `context` tokens, which each epoch takes in an order of its own."""

    def __init__(self, stream: TokenStream, *, context: int, vocabulary: int, seed: int) -> None:
        self._stream = stream
        self._context = context
        self._vocabulary = vocabulary
        self._seed = seed
        # The last target of a window is the first token of the next.
        self.windows = max(0, len(stream) - 1) // context

    def sequences(self, first: int, count: int) -> tuple[Tokens, Tokens]:
        """Return inputs and targets [count, context] of the sequences at positions `first` and on.

        Raises:
            ValueError: a token lies outside the vocabulary.
        """
        windows = [self.window(position) for position in range(first, first + count)]
        tokens = np.stack([self._stream.read(w * self._context, self._context + 1) for w in windows])
        _check_tokens(tokens, self._vocabulary)
        return tokens[:, :-1], tokens[:, 1:]

    def window(self, position: int) -> int:
        """Return which window sequence `position` of the run is."""
        epoch, index = divmod(position, self.windows)
        return permute(index, self.windows, key=(self._seed, epoch))


class ValidationData:
    """The first tokens of a split in their own order: each but the very first is a target exactly once."""

    def __init__(self, stream: TokenStream, *, context: int, vocabulary: int, most_tokens: int) -> None:
        self._stream = stream
        self._context = context
        self._vocabulary = vocabulary
        self.tokens = max(0, min(len(stream) - 1, most_tokens))  # targets
        self.windows = -(-self.tokens // context)

    def sequences(self, first: int, count: int) -> tuple[Tokens, Tokens]:
        """Return inputs and targets [count, context] of windows `first` and on.

        Beyond the last token, inputs are 0 and targets `IGNORED`: every batch has the same shape.
        """
        inputs = np.zeros((count, self._context), np.int64)
        targets = np.full((count, self._context), IGNORED, np.int64)
        for row in range(count):
            start = (first + row) * self._context
            length = max(0, min(self._context, self.tokens - start))
            tokens = self._stream.read(start, length + 1)
            _check_tokens(tokens, self._vocabulary)
            inputs[row, :length], targets[row, :length] = tokens[:length], tokens[1 : length + 1]
        return inputs, targets


def _check_tokens(tokens: Tokens, vocabulary: int) -> None:
    if tokens.size and tokens.max() >= vocabulary:
        raise ValueError(
            f"the shards hold token {tokens.max()}, but their vocabulary has {vocabulary} entries"
        )


ROUNDS = 6


def permute(index: int, count: int, *, key: tuple[int, int]) -> int:
    """Return where `index` goes in a pseudo-random permutation of range(count) that `key` chooses.

    A Feistel network over the smallest even number of bits that hold `count`, walked until it lands below
    `count` again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): no table, so that an
    epoch of a billion windows costs nothing to shuffle, and the order depends on no library's generator.
    """
    half = max(1, -(-(count - 1).bit_length() // 2))  # bits in each half
    mask = (1 << half) - 1
    keys = [_mix(_mix(key[0]) ^ _mix(key[1] + (round_ << 32))) for round_ in range(ROUNDS)]
    while True:
        left, right = index >> half, index & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        index = left << half | right
        if index < count:
            return index


def _mix(value: int) -> int:
    """Scramble 64 bits one to one: the finaliser of SplitMix64 (Steele et al. 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 31
