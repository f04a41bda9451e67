"""A crash wall: calls a function in a child process that may hang, crash or eat memory.

    this process ──▶ template: has everything imported, and does nothing but fork ──▶ child: answers calls

A call that misses its deadline or takes its child down costs itself only; the next one gets a fresh child
from the template, in milliseconds. An alarm within one process would not do: C code (libxml2 here) returns
to the interpreter for none, and a segmentation fault heeds none.

What a call gives must not depend on how busy the machine is, nor on the calls before it:

- The deadline counts the child's own processor time, by a timer of the kernel that ends the process
  whatever it is in the middle of. The limit on time by the clock is `WALL_FACTOR` times as long: only a
  call that waits for something gets there, or a machine with less than a tenth of a core for each child.
- The limit on memory is on what a child takes beyond what it was born with.
- A child that fails a call after having served others proves nothing, nor does one that was killed: a fresh
  one tries that call again, and its verdict stands. A child is replaced after so many bytes, since what
  parsers leak adds up.
- All children come from one template, with the same hash seed and after the same first call. A template that
  is killed, by somebody or for want of memory, is started again.

No process is left behind: the template reaps its children and ends, with its child, as soon as the socket
to this process closes, however this process ended; a child ends if its template is killed. A template may be
kept for a while after its sandbox, since its start takes a third of a second: a task of few pages takes less.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

BYTES_PER_CHILD = 64 * 2**20  # of arguments
WALL_FACTOR = 10
STARTS = 5  # of a template that is killed again and again
START_S = 120.0  # for the template's imports on a busy machine
_PR_SET_PDEATHSIG = 1  # prctl(2)
_WITH_TEMPLATE, _KILLED = "killed with its template", "killed by SIGKILL"
_FROM_OUTSIDE = frozenset({_WITH_TEMPLATE, _KILLED})  # the limits that are set here end a child otherwise

Tag = TypeVar("Tag")


@dataclass(frozen=True, slots=True)
class CallFailure:
    """What a call came to that gave no result: whether it ran out of time, and how it ended."""

    timed_out: bool
    detail: str


class Sandbox:
    """Calls one function in a child process. Use it in a `with`.

    Args:
        function: a function of an importable module; its arguments and result are pickled.
        warm_up: arguments of a first call, in the template: what it imports and compiles, all children have.
        deadline_s: seconds of processor time that one call may take.
        memory_bytes: address space that the child may take beyond its template's.
        kept_s: seconds that the template waits, after the `with`, for the next sandbox like this one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        warm_up: tuple[object, ...],
        *,
        deadline_s: float,
        memory_bytes: int,
        kept_s: float = 0.0,
    ) -> None:
        self._kept_s = kept_s
        self._setting = (function.__module__, function.__qualname__, warm_up, deadline_s, memory_bytes)
        self._deadline_s = deadline_s
        self._template: _Template | None = None
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_child()
        template, self._template = self._template, None
        if template is not None and self._kept_s and error is None:
            _idle.keep(self._setting, template, self._kept_s)
        elif template is not None:
            template.close()

    def map(self, calls: Iterable[tuple[Tag, tuple[object, ...]]]) -> Iterator[tuple[Tag, Any | CallFailure]]:
        """Yield each call's tag with what the function returned, or with the failure; in the calls' order.

        While the child works on one call, the next is taken from `calls`: so pages are read ahead.
        """
        pending: tuple[Tag, bytes] | None = None
        try:
            for tag, arguments in calls:
                message = pickle.dumps(arguments, pickle.HIGHEST_PROTOCOL)
                done = (pending[0], self._finish(pending[1])) if pending else None
                self._begin(message)
                pending = tag, message
                if done:
                    yield done
            if pending:
                done, pending = (pending[0], self._finish(pending[1])), None
                yield done
        finally:
            if pending:  # the caller leaves in the middle
                self._drop_child()

    def _begin(self, message: bytes) -> None:
        if self._child is not None and self._child.bytes_served >= BYTES_PER_CHILD:
            self._drop_child()
        if self._child is None:
            self._child = self._fork()
        self._child.begin(message)

    def _finish(self, message: bytes) -> Any | CallFailure:
        """Wait for the call that was begun, and decide it in a fresh child if a used one failed."""
        assert self._child is not None
        was_used = self._child.calls > 1
        outcome = self._outcome()
        if isinstance(outcome, CallFailure) and (was_used or outcome.detail in _FROM_OUTSIDE):
            self._begin(message)
            outcome = self._outcome()
        return outcome

    def _outcome(self) -> Any | CallFailure:
        assert self._child is not None
        try:
            if self._child.connection.poll(WALL_FACTOR * self._deadline_s):
                succeeded, result = self._child.connection.recv()
            else:
                succeeded, result = (
                    False,
                    CallFailure(True, f"no answer in {WALL_FACTOR * self._deadline_s:g} s"),
                )
        except (EOFError, OSError):
            return self._ending(self._drop_child())
        if not succeeded:
            self._drop_child()
        return result

    def _ending(self, status: int | None) -> CallFailure:
        """Say what a child's wait status, None where it is unknown, tells of the call it died of."""
        if status is None:
            return CallFailure(False, _WITH_TEMPLATE)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGPROF:
            return CallFailure(True, f"more than {self._deadline_s:g} s of processor time")
        return CallFailure(
            False, f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        )

    def _fork(self) -> "_Child":
        for _ in range(STARTS):
            with contextlib.suppress(OSError, EOFError):  # somebody killed it
                if self._template is None:
                    self._template = _idle.take(self._setting) or _Template(self._setting)
                return self._template.fork()
            if self._template is not None:
                self._template.close()
                self._template = None
        name = f"{self._setting[0]}.{self._setting[1]}"
        raise RuntimeError(f"the sandbox of {name} does not start: it was killed {STARTS} times")

    def _drop_child(self) -> int | None:
        child, self._child = self._child, None
        if child is None or self._template is None:
            return None
        child.connection.close()
        with contextlib.suppress(OSError, EOFError):
            return self._template.reap()
        return None


class _Child:
    """The end of a child that calls it."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self.calls = 0
        self.bytes_served = 0

    def begin(self, message: bytes) -> None:
        self.calls += 1
        self.bytes_served += len(message)
        with contextlib.suppress(OSError):  # it has died: `recv` reports it
            self.connection.send_bytes(message)


class _Template:
    """The process that children are forked from, one at a time.

    Raises:
        OSError, EOFError: it was killed while it started.
        RuntimeError: it does not start.
    """

    def __init__(self, setting: tuple[object, ...]) -> None:
        self._control, theirs = socket.socketpair()
        # The import path goes along: it may have been set by Ray, not by the environment. A hash seed of
        # one's own would change the order of sets; threads of NumPy's would not survive a fork.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        fixed = {
            "PYTHONPATH": path,
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | fixed,
            )
        self._talk = Connection(os.dup(self._control.fileno()))
        try:
            self._talk.send(setting)
            error = self._talk.recv() if self._talk.poll(START_S) else f"not ready after {START_S:g} s"
        except (EOFError, OSError):
            self.close()
            if self._process.returncode == -signal.SIGKILL:
                raise
            error = f"it ended at once, code {self._process.returncode}"
        if error:
            self._process.kill()
            self.close()
            raise RuntimeError(f"the sandbox of {setting[0]}.{setting[1]} does not start: {error}")

    def fork(self) -> _Child:
        """Start a child. Raises `OSError` or `EOFError` if the template is gone."""
        ours, theirs = Pipe()
        with theirs:
            socket.send_fds(self._control, [b"f"], [theirs.fileno()])
            self._talk.recv()
        return _Child(ours)

    def reap(self) -> int:
        """End the child, if it has not ended itself, and return its wait status."""
        socket.send_fds(self._control, [b"r"], [])
        return int(self._talk.recv())

    def close(self) -> None:
        """End the template, which ends its child."""
        self._talk.close()
        self._control.close()
        self._process.wait()


class _Idle:
    """Templates that wait for the next sandbox, one for each setting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._templates: dict[bytes, tuple[_Template, threading.Timer]] = {}

    def keep(self, setting: tuple[object, ...], template: _Template, seconds: float) -> None:
        """Keep a template for so long; of two alike the later one."""
        key = pickle.dumps(setting)
        timer = threading.Timer(seconds, lambda: self._end(key, template))
        timer.daemon = True
        with self._lock:
            before, self._templates[key] = self._templates.get(key), (template, timer)
            timer.start()
        if before is not None:
            before[1].cancel()
            before[0].close()

    def take(self, setting: tuple[object, ...]) -> _Template | None:
        """Return a template that was kept, which is then the caller's."""
        with self._lock:
            found = self._templates.pop(pickle.dumps(setting), None)
        if found is None:
            return None
        found[1].cancel()
        return found[0]

    def _end(self, key: bytes, template: _Template) -> None:
        with self._lock:
            if key not in self._templates or self._templates[key][0] is not template:
                return
            del self._templates[key]
        template.close()


_idle = _Idle()


def serve(control_fd: int) -> None:
    """Be a template: fork a child or reap it, as the socket says, until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process at the other end
    control = socket.socket(fileno=control_fd)
    talk = Connection(os.dup(control_fd))
    module, name, warm_up, deadline_s, memory_bytes = talk.recv()
    try:
        function = getattr(importlib.import_module(module), name)
        function(*warm_up)
    except Exception as error:
        talk.send(f"{type(error).__name__}: {error}")
        return
    libc = ctypes.CDLL(None)
    gc.collect()
    gc.freeze()  # so that children share these pages
    talk.send("")
    template, child = os.getpid(), 0
    while True:
        command, fds, _, _ = socket.recv_fds(control, 1, 1)
        if command == b"f":
            child = os.fork()
            if child == 0:
                control.close()
                talk.close()
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == template:  # or it was killed before the line above
                    _answer_calls(function, Connection(fds[0]), deadline_s, memory_bytes)
            os.close(fds[0])
            talk.send(child)
            continue
        status = _end(child)
        child = 0
        if command != b"r":
            return
        talk.send(status)


def _end(child: int) -> int:
    if not child:
        return 0
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _answer_calls(
    function: Callable[..., Any], connection: "Connection[Any, Any]", deadline_s: float, memory_bytes: int
) -> NoReturn:
    """Be a child: answer calls until the other end goes away."""
    try:
        _limit_itself(memory_bytes)
        while True:
            arguments = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, deadline_s)
            try:
                answer = True, function(*arguments)
            except MemoryError:
                answer = False, CallFailure(False, "out of memory")
            except Exception as error:  # whatever the function raises on a hostile page is that page's fault
                answer = False, CallFailure(False, _description(error))
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(answer)
    finally:
        os._exit(1)  # nothing of the template's is to be cleaned up here


def _limit_itself(memory_bytes: int) -> None:
    born_with = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit, hard = born_with + memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # if the machine runs out of memory, this process is to go first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _description(error: Exception) -> str:
    """Return an error's type and message; addresses in memory would differ from run to run."""
    return re.sub(r"0x[0-9a-f]+", "0x…", f"{type(error).__name__}: {error}")[:500]
