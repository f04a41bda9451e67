"""How far a stage is: a bar on a terminal, a line now and then in a log, and figures for whoever watches."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tqdm import tqdm

from pipeline.runner.terminal import say

WINDOW_S = 30.0  # over which the rate is taken
LINE_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """How far a stage is. Records are those that this run has read; drops and domains, of all partitions."""

    stage: str
    partitions: int = 0
    done: int = 0
    records: int = 0
    records_per_s: float = 0.0
    seconds: float = 0.0
    """Since the stage began."""
    seconds_left: float | None = None
    dropped: Mapping[str, int] = field(default_factory=Counter)
    """How many records were dropped so far, by reason."""
    domains: Mapping[str, int] = field(default_factory=Counter)
    """Records kept in the partitions that are done, of their largest domains."""


Watcher = Callable[[StageProgress], None]


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

    def update(self, done: int, records: int) -> StageProgress:
        """Take note of what is done by now: whole partitions, and records of any. Return where that is."""
        now = self._clock()
        self._samples.append((now, max(records, self._samples[-1][1])))
        while now - self._samples[0][0] > WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()
        self._done = done
        progress = self._progress()
        if not self._bar.disable:
            self._bar.n = done
            self._bar.set_postfix_str(_line(progress))
        elif now - self._told >= LINE_EVERY_S:
            self._told = now
            say(f"{self._stage}: {_line(progress)}", file=sys.stderr, flush=True)
        return progress

    def __str__(self) -> str:
        return _line(self._progress())

    def _progress(self) -> StageProgress:
        (first, before), (now, records) = self._samples[0], self._samples[-1]
        rate = (records - before) / (now - first) if now > first else 0.0
        return StageProgress(
            stage=self._stage,
            partitions=self._partitions,
            done=self._done,
            records=records,
            records_per_s=rate,
            seconds=now - self._started,
            seconds_left=self._seconds_left(now, records, rate),
        )

    def _seconds_left(self, now: float, records: int, rate: float) -> float | None:
        if self._expected is not None and rate:
            return max(0, self._expected - records) / rate
        if self._done:
            return (now - self._started) * (self._partitions - self._done) / self._done
        return None


def _line(at: StageProgress) -> str:
    text = f"{at.done:,} of {at.partitions:,} partitions, {at.records:,} records, {at.records_per_s:,.0f}/s"
    left = at.seconds_left
    return text if left is None else f"{text}, {tqdm.format_interval(left)} left"
