"""Scores texts with a model: each token is predicted once, in windows, in batches distributed over the ranks.

Batch `k` does not depend on the number of ranks; rank `k mod ranks` takes it. Losses are added exactly, as
fractions, so neither the order nor the number of ranks changes a sum.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.config.model_config import IGNORED
from trainer.distributed.ranks import Ranks, all_gather
from trainer.model.gpt2 import GPT2
from trainer.model.loss import linear_cross_entropy

Ids = NDArray[np.uint32]
Item = TypeVar("Item")

BATCHES_BETWEEN_MEETINGS = 16


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Token ids of which all but the first `given` are to be predicted, each from those before it."""

    tokens: Iterable[Ids]  # in pieces; taken once
    given: int  # at least one
    key: int = 0  # what its loss is added to


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a sequence that fits the context, and how many of its last tokens it predicts."""

    tokens: Ids  # at most context + 1, of which the first is never predicted
    predicted: int
    key: int


@dataclass
class Total:
    """The loss of some tokens in nats, and their number."""

    loss: Fraction = Fraction(0)
    tokens: int = 0

    def add(self, loss: Fraction, tokens: int) -> None:
        """Add more tokens."""
        self.loss, self.tokens = self.loss + loss, self.tokens + tokens


@dataclass
class Words:
    """How well words were predicted; `filtered`: with stop words excluded from predictions."""

    words: int = 0
    tokens: int = 0
    loss: Fraction = Fraction(0)
    words_right: int = 0  # every token is the most likely one
    last_right: int = 0  # the last token is
    possible: int = 0  # words that are not stop words
    filtered_loss: Fraction = Fraction(0)  # of those
    words_right_filtered: int = 0
    last_right_filtered: int = 0

    def add(self, other: "Words") -> None:
        """Add other words."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def windows(sequence: Sequence, *, context: int, stride: int) -> Iterator[Window]:
    """Cut a sequence into windows that together predict each of its tokens once.

    The first window predicts as much as fits the context. Each later one moves on by `stride` tokens and
    predicts them from the context - stride before them, or more; the last predicts what is left, from as many
    as fit. With stride = context these are the windows of lm-evaluation-harness's rolling log-likelihood.
    """
    assert sequence.given >= 1 <= stride <= context
    held = np.empty(0, np.uint32)  # the tokens that windows still want, of which the first stands at `start`
    start, predicted = 0, sequence.given
    end = max(context + 1, predicted + stride)  # of the next window
    for piece in sequence.tokens:
        held = np.concatenate((held, piece))
        while start + len(held) >= end:
            tokens = held[max(0, end - context - 1 - start) : end - start]
            yield Window(tokens=tokens, predicted=end - predicted, key=sequence.key)
            predicted, end = end, end + stride
        forgotten = max(0, len(held) - context - 1)
        held, start = held[forgotten:], start + forgotten
    if (left := start + len(held) - predicted) > 0:
        yield Window(tokens=held, predicted=left, key=sequence.key)


class Scorer:
    """Runs one model, on every rank with a part of the questions.

    Every method is collective: all ranks call it with the same sequences and get the same result.

    Args:
        context: tokens before the one that is predicted, at most; the model's own or fewer.
        batch: windows that go through the model at once.
    """

    def __init__(
        self,
        model: GPT2,
        ranks: Ranks,
        *,
        context: int,
        stride: int,
        batch: int,
    ) -> None:
        self._model, self._ranks = model, ranks
        self._context, self._stride, self._batch = context, stride, batch
        self._device = next(model.parameters()).device

    def losses(self, sequences: Iterable[Sequence]) -> dict[int, Total]:
        """Return the loss of all predicted tokens of the sequences of each key."""
        mine: dict[int, Total] = {}
        all_windows = (
            window
            for sequence in sequences
            for window in windows(sequence, context=self._context, stride=self._stride)
        )
        for batch in self._share(all_windows, self._batch):
            inputs, targets = self._tensors(batch)
            predicted = targets != IGNORED  # [B, T]; of N positions
            with torch.inference_mode():
                losses = linear_cross_entropy(
                    self._model.features(inputs)[predicted],  # [B, T] -> [B, T, C] -> [N, C]
                    self._model.wte.weight,
                    targets[predicted],
                    vocabulary=self._model.config.vocabulary,
                    reduction="none",
                )  # -> [N], window after window
            remaining = iter(losses.tolist())
            for window in batch:
                loss = math.fsum(islice(remaining, window.predicted))
                mine.setdefault(window.key, Total()).add(_exact(loss), window.predicted)
        totals: dict[int, Total] = {}
        for part in self.gather(mine):
            for key, total in part.items():
                totals.setdefault(key, Total()).add(total.loss, total.tokens)
        return totals

    def words(self, sequences: Iterable[Sequence], stop_tokens: list[int]) -> Words:
        """Return how well the predicted tokens of each sequence, which are one word, were predicted greedily.

        The filter gives the tokens in `stop_tokens` no probability, so a word with one cannot be right.

        Raises:
            ValueError: a word has more tokens than the context.
        """
        stopped = torch.zeros(self._model.config.vocabulary, dtype=torch.bool, device=self._device)
        stopped[stop_tokens] = True
        mine = Words()
        for batch in self._share(map(self._only_window, sequences), self._batch):
            inputs, targets = self._tensors(batch)
            with torch.inference_mode():
                features = self._model.features(inputs)  # [B, T] -> [B, T, C]
                for row, wanted in zip(features, targets, strict=True):
                    is_word = wanted != IGNORED
                    logits = F.linear(row[is_word], self._model.wte.weight)  # [n, C] -> [n, V padded]
                    mine.add(_guess(logits[:, : len(stopped)].float(), wanted[is_word], stopped))
        total = Words()
        for part in self.gather(mine):
            total.add(part)
        return total

    def _only_window(self, sequence: Sequence) -> Window:
        found = list(windows(sequence, context=self._context, stride=self._context))
        if len(found) != 1:
            raise ValueError(
                f"a last word of more than {self._context} tokens (the context) cannot be predicted"
            )
        return found[0]

    def _share(self, items: Iterable[Window], size: int) -> Iterator[list[Window]]:
        """Yield this rank's batches of windows.

        The ranks synchronize every few batches, so that none waits for another until a timeout.
        """
        iterator = iter(items)
        number = 0
        while batch := list(islice(iterator, size)):
            if number % self._ranks.size == self._ranks.rank:
                yield batch
            number += 1
            if number % (BATCHES_BETWEEN_MEETINGS * self._ranks.size) == 0:
                self.gather(None)

    def _tensors(self, batch: list[Window]) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [B, T]; what is not predicted, or lies beyond a window, is ignored."""
        length = max(len(window.tokens) for window in batch) - 1
        inputs = torch.zeros(len(batch), length, dtype=torch.int64)
        targets = torch.full((len(batch), length), IGNORED)
        for row, window in enumerate(batch):
            tokens = torch.from_numpy(window.tokens.astype(np.int64))
            last = len(tokens) - 1
            inputs[row, :last] = tokens[:-1]
            targets[row, last - window.predicted : last] = tokens[len(tokens) - window.predicted :]
        return inputs.to(self._device), targets.to(self._device)

    def gather(self, mine: Item) -> list[Item]:
        """Return what every rank has, by rank."""
        return all_gather(mine) if self._ranks.size > 1 else [mine]


def _guess(logits: Tensor, targets: Tensor, stopped: Tensor) -> Words:
    """Say how a word of n tokens was guessed, from logits [n, V] and the stop words' mask [V]."""
    right = logits.argmax(dim=-1) == targets  # [n]
    filtered = logits.masked_fill(stopped, -math.inf)
    right_filtered = filtered.argmax(dim=-1) == targets
    possible = not bool(stopped[targets].any())
    return Words(
        words=1,
        tokens=len(targets),
        loss=_exact(_loss(logits, targets)),
        words_right=int(right.all()),
        last_right=int(right[-1]),
        possible=int(possible),
        filtered_loss=_exact(_loss(filtered, targets)) if possible else Fraction(0),
        words_right_filtered=int(right_filtered.all()),
        last_right_filtered=int(right_filtered[-1]),
    )


def _loss(logits: Tensor, targets: Tensor) -> float:
    losses = F.cross_entropy(logits, targets, reduction="none")  # [n, V] -> [n]
    return float(losses.double().sum())


def _exact(loss: float) -> Fraction:
    if not math.isfinite(loss):
        raise ValueError("the model's loss is NaN or Inf: its weights are damaged, or bf16 is too coarse")
    return Fraction(loss)
