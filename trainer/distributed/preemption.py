"""Stop requests: signals, and a launcher that has exited."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

# EX_TEMPFAIL of sysexits.h: not finished, the same command resumes. The Slurm script requeues on it.
STOPPED = 75
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# One request often comes as several signals: from a terminal or Slurm to every process, and again from
# DeepSpeed's launcher to its ranks. A later one is another person's, or another's patience at its end.
SAME_REQUEST_S = 3.0


class StopRequests:
    """Whether this process has been asked to stop after the step it is in."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.finished = False
        self._launcher = _launcher()
        self._launchers_parent = self._launcher.ppid() if self._launcher else 0

    def __bool__(self) -> bool:
        """Say whether a signal has come, or the launcher or who started it is gone.

        The `deepspeed` command dies of a SIGTERM without a word to its ranks, which would train on unseen.
        """
        return self._first is not None or self._is_orphan()

    def finish(self) -> None:
        """Ignore signals from now on: everything is saved, and a signal would hide this rank's exit code.

        A launcher ends the other ranks when the first one exits.
        """
        self.finished = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Record a signal; on a second request, die from it."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        if now - self._first < SAME_REQUEST_S:
            return
        sys.stderr.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _is_orphan(self) -> bool:
        if self._launcher is None:
            return False
        try:
            ancestors = os.getppid(), self._launcher.ppid()
        except psutil.NoSuchProcess:
            return True
        return ancestors != (self._launcher.pid, self._launchers_parent)


def _launcher() -> psutil.Process | None:
    """Return DeepSpeed's launcher of this machine's ranks, their parent, if that is what started this one."""
    return psutil.Process(os.getppid()) if "CROSS_SIZE" in os.environ else None


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Record signals that request a stop, instead of dying from them."""
    requests = StopRequests()
    before = [signal.signal(number, requests.on_signal) for number in SIGNALS]
    try:
        yield requests
    finally:
        if not requests.finished:
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)
