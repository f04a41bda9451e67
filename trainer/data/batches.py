"""Which tokens of the shards come in which step.

Training order is a pure function of (seed, epoch, position): sequence number p of a run does not
depend on ranks, micro-batches or interruptions, so resuming needs only an integer. An epoch takes each window
of the data exactly once, in its own order, and so each token but the first exactly once as a target.
"""

import numpy as np
from numpy.typing import NDArray

from tokenizer.shards.folder import TokenStream, check_tokens
from trainer.config.model_config import IGNORED

Tokens = NDArray[np.int64]


class Windows:
    """The first targets of a split, cut into windows of `context`; the last window may be shorter."""

    def __init__(self, stream: TokenStream, *, context: int, vocabulary: int, most_tokens: int) -> None:
        self._stream = stream
        self._context = context
        self._vocabulary = vocabulary
        # Each token but the very first, which nothing precedes, is the target of exactly one window.
        self.tokens = max(0, min(len(stream) - 1, most_tokens))
        self.windows = -(-self.tokens // context)

    def read(self, windows: list[int], *, rows: int) -> tuple[Tokens, Tokens]:
        """Return inputs and targets [rows, context] of some windows.

        Beyond the last token and in rows beyond the windows, inputs are 0 and targets `IGNORED`, so every
        batch has the same shape.

        Raises:
            ValueError: a token lies outside the vocabulary.
        """
        tokens = np.zeros((rows, self._context + 1), np.int64)
        starts = [window * self._context for window in windows]
        tokens[: len(windows)] = self._stream.read_rows(starts, self._context + 1)
        check_tokens(tokens, self._vocabulary)
        inputs, targets = tokens[:, :-1], tokens[:, 1:].copy()
        targets[len(windows) :] = IGNORED
        for row, start in enumerate(starts):
            length = self.tokens - start
            if length < self._context:
                inputs[row, max(0, length) :], targets[row, max(0, length) :] = 0, IGNORED
        return inputs, targets

    def counted(self, windows: list[int]) -> int:
        """Return how many targets some windows have."""
        short = sum(window == self.windows - 1 for window in windows)
        return len(windows) * self._context - short * (self.windows * self._context - self.tokens)


ORDERED = 4096  # positions whose windows are found at once: one by one, that takes longer than reading


class TrainingData:
    """A split of which each epoch takes every window once, in its own order."""

    def __init__(self, stream: TokenStream, *, context: int, vocabulary: int, seed: int) -> None:
        self._all = Windows(stream, context=context, vocabulary=vocabulary, most_tokens=len(stream))
        self._seed = seed
        self._ordered: tuple[tuple[int, int], list[int]] = ((-1, 0), [])  # epoch and first index; windows
        self.tokens, self.windows = self._all.tokens, self._all.windows

    def sequences(self, first: int, count: int, *, rows: int | None = None) -> tuple[Tokens, Tokens]:
        """Return inputs and targets [rows, context] of the sequences at positions `first` and on.

        Rows beyond `count` have no targets; like `Windows.read`.
        """
        return self._all.read(self.order(first, count), rows=count if rows is None else rows)

    def targets(self, first: int, count: int) -> int:
        """Return how many targets these sequences have."""
        return self._all.counted(self.order(first, count))

    def order(self, first: int, count: int) -> list[int]:
        """Return which windows the sequences at positions `first` and on are."""
        windows: list[int] = []
        while len(windows) < count:
            epoch, index = divmod(first + len(windows), self.windows)
            start = index % ORDERED
            if self._ordered[0] != (epoch, index - start):
                self._ordered = ((epoch, index - start), self._order_from(epoch, index - start))
            windows += self._ordered[1][start : start + count - len(windows)]
        return windows

    def _order_from(self, epoch: int, first: int) -> list[int]:
        indices = np.arange(first, min(first + ORDERED, self.windows), dtype=np.uint64)
        windows: list[int] = permute(indices, self.windows, key=(self._seed, epoch)).tolist()
        return windows


class ValidationData(Windows):
    """The first tokens of a split in their own order: each but the very first is a target exactly once."""

    def sequences(self, first: int, count: int) -> tuple[Tokens, Tokens]:
        """Return inputs and targets [count, context] of windows `first` and on, some beyond the last."""
        return self.read(list(range(first, min(first + count, self.windows))), rows=count)

    def bytes_of(self, lengths: NDArray[np.int64]) -> int:
        """Return of how many bytes the targets are, given the bytes of each entry of the vocabulary."""
        counts = np.bincount(self._stream.read(1, self.tokens), minlength=len(lengths))
        return int(counts @ lengths)


ROUNDS = 6


def permute(indices: NDArray[np.uint64], count: int, *, key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return where each index goes in a pseudo-random permutation of range(count) that `key` chooses.

    A Feistel network over the smallest even number of bits that hold `count`, walked until it lands below
    `count` again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): no table, so that an
    epoch of a billion windows costs nothing to shuffle, and the order depends on no library's generator.
    """
    half = np.uint64(max(1, -(-(count - 1).bit_length() // 2)))  # bits in each half
    mask = (np.uint64(1) << half) - np.uint64(1)
    rounds = np.array([key[1] + (number << 32) for number in range(ROUNDS)], np.uint64)
    keys = _mix(_mix(np.array([key[0] % 2**64], np.uint64)) ^ _mix(rounds))
    places = indices.copy()
    outside = np.ones(len(places), bool)
    while outside.any():
        left, right = places[outside] >> half, places[outside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        places[outside] = left << half | right
        outside = places >= count
    return places


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits one to one: the finaliser of SplitMix64 (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
