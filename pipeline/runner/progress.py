"""How far a stage is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

from pipeline.runner.terminal import say

WINDOW_S = 30.0  # over which the rate is taken
LINE_EVERY_S = 30.0


class Progress:
    """Tells how many partitions and records are done, how fast, and how long the rest will take.

    Use it in a `with`.

    Args:
        stage: what the bar is called.
        partitions: how many this run has to do.
        expected: records in them, if known. Without it the rest is estimated from the partitions done.
        clock: seconds, from whenever.
    """

    def __init__(
        self,
        stage: str,
        partitions: int,
        expected: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._partitions, self._expected, self._clock = stage, partitions, expected, clock
        self._started = self._told = clock()
        self._samples = deque([(self._started, 0)])  # when so many records had been read
        self._done = 0
        self._bar = tqdm(
            total=partitions,
            desc=f"{stage:<12}",
            bar_format="{desc} {bar:20} {postfix}",
            leave=False,
            disable=None,  # where there is no terminal
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, done: int, records: int) -> None:
        """Take note of what is done by now: whole partitions, and records of any."""
        now = self._clock()
        self._samples.append((now, max(records, self._samples[-1][1])))
        while now - self._samples[0][0] > WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()
        self._done = done
        if not self._bar.disable:
            self._bar.n = done
            self._bar.set_postfix_str(str(self))
        elif now - self._told >= LINE_EVERY_S:
            self._told = now
            say(f"{self._stage}: {self}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        (first, before), (now, records) = self._samples[0], self._samples[-1]
        rate = (records - before) / (now - first) if now > first else 0.0
        left = self._seconds_left(now, records, rate)
        text = f"{self._done:,} of {self._partitions:,} partitions, {records:,} records, {rate:,.0f}/s"
        return text if left is None else f"{text}, {tqdm.format_interval(left)} left"

    def _seconds_left(self, now: float, records: int, rate: float) -> float | None:
        if self._expected is not None and rate:
            return max(0, self._expected - records) / rate
        if self._done:
            return (now - self._started) * (self._partitions - self._done) / self._done
        return None
