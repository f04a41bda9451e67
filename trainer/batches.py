"""Which tokens of the shards come when.

Training order is a pure function of (seed, epoch, position): sequence number p of a run is the same
whatever the ranks, the micro-batches and the interruptions, so that to resume is to go on from an
integer. An epoch takes each window of the data exactly once, in an order of its own.
"""

import numpy as np
from numpy.typing import NDArray

from tokenizer.shards import TokenStream
from trainer.config import IGNORED

Tokens = NDArray[np.int64]


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
