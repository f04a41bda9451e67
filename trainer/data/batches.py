"""Which tokens of the shards come in which step.

Training order is a pure function of (seed, epoch, position): sequence number p of a run does not
depend on ranks, micro-batches or interruptions, so resuming needs only an integer. An epoch takes each window
of the data exactly once, in its own order, and so each token but the first exactly once as a target.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.shards.folder import StreamedTokens, TokenStream, check_tokens
from trainer.config.model_config import IGNORED
from trainer.data.groups import Groups
from trainer.data.permutation import permute

Tokens = NDArray[np.int64]


class Windows:
    """The first targets of a split, cut into windows of `context`; the last window may be shorter."""

    def __init__(self, stream: TokenStream, *, context: int, vocabulary: int, most_tokens: int) -> None:
        self._stream = stream
        self.context = context
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
        tokens = np.zeros((rows, self.context + 1), np.int64)
        starts = [window * self.context for window in windows]
        tokens[: len(windows)] = self._stream.read_rows(starts, self.context + 1)
        check_tokens(tokens, self._vocabulary)
        inputs, targets = tokens[:, :-1], tokens[:, 1:].copy()
        targets[len(windows) :] = IGNORED
        for row, start in enumerate(starts):
            length = self.tokens - start
            if length < self.context:
                inputs[row, max(0, length) :], targets[row, max(0, length) :] = 0, IGNORED
        return inputs, targets

    def counted(self, windows: list[int]) -> int:
        """Return how many targets some windows have."""
        short = sum(window == self.windows - 1 for window in windows)
        return len(windows) * self.context - short * (self.windows * self.context - self.tokens)


ORDERED = 4096  # positions whose windows are found at once: one by one, that takes longer than reading


class TrainingData:
    """A split of which each epoch takes every window once, in its own order."""

    def __init__(
        self, stream: TokenStream, *, context: int, vocabulary: int, seed: int, shuffle_shards: int = 0
    ) -> None:
        """Order the windows of a split.

        Args:
            shuffle_shards: shuffle the windows of so many consecutive shards, and these groups; 0: of all.
        """
        self._all = Windows(stream, context=context, vocabulary=vocabulary, most_tokens=len(stream))
        self._seed, self._stream = seed, stream
        self._groups = (
            Groups(stream.ends, context, self._all.windows, shuffle_shards) if shuffle_shards else None
        )
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

    def make_ready(self, first: int, count: int, *, turn: int = 0) -> None:
        """Have fetched what these sequences are read from, and what comes next, if it is on a store.

        Args:
            turn: where this rank begins, so that each begins elsewhere.
        """
        if isinstance(self._stream, StreamedTokens):
            now, later = self.shards_of(first, count)
            self._stream.need(now, later, first=turn)

    def close(self) -> None:
        """Fetch nothing ahead any more."""
        if isinstance(self._stream, StreamedTokens):
            self._stream.close()

    def most_at_once(self, sizes: Sequence[int], count: int, *, shuffle_shards: int | None = None) -> int:
        """Return the most that must be at hand at a time, if the shards are of these sizes.

        Args:
            count: sequences that are read at a time.
            shuffle_shards: if windows were shuffled so. Default: as they are.
        """
        groups = self._groups
        if shuffle_shards is not None:
            groups = Groups(self._stream.ends, self._all.context, self._all.windows, shuffle_shards)
        return sum(sizes) if groups is None else min(sum(sizes), groups.most_at_once(sizes, count))

    def shards_of(self, first: int, count: int) -> tuple[list[int], list[int]]:
        """Return which shards the sequences at positions `first` and on are in, and which come next."""
        if self._groups is None:
            return list(range(len(self._stream.ends))), []
        epoch, index = divmod(first, self.windows)
        return self._groups.shards_of(self._seed, epoch, index, count)

    def _order_from(self, epoch: int, first: int) -> list[int]:
        if self._groups is not None:
            return self._groups.order(self._seed, epoch, first, ORDERED)
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
