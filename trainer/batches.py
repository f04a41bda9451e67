"""Token shards, and which of their tokens come when.

Training order is a pure function of (seed, epoch, position): sequence number p of a run is the same
whatever the ranks, the micro-batches and the interruptions, so that to resume is to go on from an
integer. An epoch takes each window of the data exactly once, in an order of its own.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.storage import local_path
from tokenizer import shards
from trainer.config import IGNORED

Tokens = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A folder of token shards on this machine, and what its index says."""

    folder: Path
    index: shards.ShardIndex
    fingerprint: str  # SHA-256 of shards.json, which in turn holds that of every file

    def open(self, split: str) -> "TokenStream":
        """Return all tokens of a split as one stream.

        Raises:
            ValueError: a shard is missing, truncated, not a shard, or not the one that the index names.
        """
        described = self.index.splits[split].shards if split in self.index.splits else ()
        opened = []
        for shard in described:
            path = self.folder / shard.file
            tokens = shards.open_shard(path)
            if len(tokens) != shard.tokens:
                raise ValueError(f"{path} has {len(tokens):,} tokens, and shards.json says {shard.tokens:,}")
            opened.append(tokens)
        return TokenStream(opened)


def read_shards(address: str) -> Shards:
    """Read and check the index of a folder of shards.

    Raises:
        ValueError: there is none, or it is not what `tokenizer/write_shards.py` writes.
    """
    folder = local_path(address)
    if folder is None:
        raise ValueError(
            f"{address}: token shards are read by memory map, so copy them to a local disk first"
        )
    index = shards.load_index(address)
    text = (folder / shards.INDEX).read_bytes()
    return Shards(folder=folder, index=index, fingerprint=hashlib.sha256(text).hexdigest())


class TokenStream:
    """The tokens of a split, shard after shard, as one sequence."""

    def __init__(self, shards: Sequence[NDArray[np.uint16]]) -> None:
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
