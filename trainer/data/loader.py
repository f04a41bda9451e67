"""Reads a rank's batches a few steps ahead, in a thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import torch

from trainer.config.plan import TrainingPlan
from trainer.data.batches import Tokens, TrainingData
from trainer.model.gpt2 import Batch


@dataclass(frozen=True)
class StepBatches:
    """A rank's batches of one step."""

    batches: list[Batch]
    targets: int  # in the whole global batch, over all ranks


AHEAD = 2  # steps read ahead: 16 MiB for 524,288 tokens on one rank


def micro_batches(
    data: TrainingData, plan: TrainingPlan, *, rank: int, step: int
) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield a rank's share of a step's sequences: its part of each round over the ranks.

    If the batch does not divide evenly, the last parts have rows without targets.
    """
    first = step * plan.sequences_per_step
    for turn in range(plan.accumulation_steps):
        start = (turn * plan.world_size + rank) * plan.micro_batch
        count = max(0, min(plan.micro_batch, plan.sequences_per_step - start))
        yield data.sequences(first + start, count, rows=plan.micro_batch)


def as_tensors(batch: tuple[Tokens, Tokens], device: torch.device) -> Batch:
    """Return a batch as tensors on the CPU, pinned if the device is a GPU."""
    inputs, targets = (torch.from_numpy(tokens) for tokens in batch)
    return (inputs.pin_memory(), targets.pin_memory()) if device.type == "cuda" else (inputs, targets)


class Loader:
    """A rank's batches in order, from a given step."""

    def __init__(
        self,
        data: TrainingData,
        plan: TrainingPlan,
        *,
        rank: int,
        first_step: int,
        device: torch.device,
        check_data: Callable[[], None],
    ) -> None:
        """Read from `first_step`; before each step `check_data` raises if the data has changed."""
        self.error: str | None = None  # an error while reading; from then on batches are empty
        self._data, self._plan, self._rank, self._device = data, plan, rank, device
        self._check_data = check_data
        self._queue: queue.Queue[StepBatches | Exception] = queue.Queue(maxsize=AHEAD)
        self._closed = False
        self._thread = threading.Thread(target=self._read, args=(first_step,), name="loader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._data.close()
        while self._thread.is_alive():  # it may be waiting for a free place
            with suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(timeout=0.01)

    def step(self) -> StepBatches:
        """Return the batches of the next step.

        They are empty if they could not be read, and `error` says why: the other ranks are in the middle of a
        step as well, and learn of it at its end.
        """
        item = self._queue.get() if self.error is None else None
        if isinstance(item, StepBatches):
            return item
        if item is not None:
            self.error = str(item)
        empty = self._data.sequences(0, 0, rows=self._plan.micro_batch)
        batches = [as_tensors(empty, self._device)] * self._plan.accumulation_steps
        return StepBatches(batches, self._plan.tokens_per_step)

    def _read(self, first_step: int) -> None:
        """Read the run to its end, or until closed (in the thread)."""
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)  # or pinning would open the first GPU
            for step in range(first_step, self._plan.steps):
                if self._closed:
                    return
                self._check_data()
                self._queue.put(self._read_step(step))
        except Exception as error:
            self._queue.put(error)

    def _read_step(self, step: int) -> StepBatches:
        sequences = self._plan.sequences_per_step
        self._data.make_ready(step * sequences, sequences, turn=self._rank)
        parts = micro_batches(self._data, self._plan, rank=self._rank, step=step)
        batches = [as_tensors(part, self._device) for part in parts]
        return StepBatches(batches, self._data.targets(step * sequences, sequences))
