"""How long ranks wait for each other: less in a step, once it is known how long steps take."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainer.distributed.ranks import set_timeout

FIRST_STEPS = 2  # which compile, and open what is read
TIMED_STEPS = 3
TIMES_A_STEP = 20
LEAST_S = 30.0


class Patience:
    """The timeout of a run's collectives.

    A rank that is gone without a word (its machine lost power or network) is noticed by the others'
    timeout only. Ten minutes suit a checkpoint on a slow disk, and are long for a step of a second.
    """

    def __init__(self, longest_s: float, *, shortened: bool = True) -> None:
        """Wait that long, or less in a step if `shortened`."""
        self._longest_s, self._shortened = longest_s, shortened
        self._steps = 0
        self._slowest_s = 0.0

    @property
    def step_s(self) -> float:
        """The timeout in a step."""
        if not self._shortened or self._steps < FIRST_STEPS + TIMED_STEPS:
            return self._longest_s
        return min(self._longest_s, max(LEAST_S, TIMES_A_STEP * self._slowest_s))

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Wait as long as suits a step inside, and as long as anything may take outside."""
        if self.step_s == self._longest_s:
            yield
            return
        set_timeout(self.step_s)
        try:
            yield
        finally:  # after running out of memory the ranks start again in this process
            set_timeout(self._longest_s)

    def took(self, seconds: float) -> None:
        """Take note of a step's time."""
        self._steps += 1
        if self._steps > FIRST_STEPS:
            self._slowest_s = max(self._slowest_s, seconds)
