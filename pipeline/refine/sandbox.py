"""A deadline and a crash wall: calls a function in a child process that may hang, crash or eat memory.

The child is started once and serves many calls. A call that misses its deadline, or takes the child
down, costs that child only: the next call gets a new one. A signal-based alarm would not do, since C
code (libxml2 here) does not return to the interpreter for it.
"""

import os
import pickle
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Self

CALLS_PER_CHILD = 2_000  # extractors leak; a new child now and then keeps memory flat
START_S = 60.0  # for the child's imports on a busy machine
_LENGTH = struct.Struct("<Q")


class SandboxTimeoutError(Exception):
    """The call took longer than its deadline."""


class SandboxCrashError(Exception):
    """The call took the child process down; the message says how."""


class Sandbox:
    """Calls one function in a child process. Use it in a `with`.

    Args:
        function: a function of an importable module; its arguments and result are pickled.
        deadline_s: seconds that one call may take.
        memory_bytes: address space that the child may take.
    """

    def __init__(self, function: Callable[..., Any], *, deadline_s: float, memory_bytes: int) -> None:
        self._function = f"{function.__module__}:{function.__qualname__}"
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def call(self, *arguments: object, **keywords: object) -> Any:
        """Call the function and return what it returned.

        Raises:
            SandboxTimeoutError: it did not answer in time.
            SandboxCrashError: the child died, ran out of memory, or the function raised.
        """
        if self._calls >= CALLS_PER_CHILD:
            self._stop()
        child = self._child or self._start()
        self._calls += 1
        try:
            _write(child.stdin, pickle.dumps((arguments, keywords)))
            succeeded, result = pickle.loads(_read(child.stdout, time.monotonic() + self._deadline_s))
        except TimeoutError:
            self._stop()
            raise SandboxTimeoutError(f"no answer within {self._deadline_s:g} s") from None
        except (EOFError, BrokenPipeError):
            code = child.wait()
            self._stop()
            raise SandboxCrashError(
                f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            ) from None
        if not succeeded:
            raise SandboxCrashError(result)
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipeline.refine.sandbox", self._function, str(self._memory_bytes)]
        # The parent's import path goes along: it may have been set by Ray, not by the environment.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._calls = 0
        try:
            _read(self._child.stdout, time.monotonic() + START_S)
        except (EOFError, TimeoutError) as error:
            self._stop()
            raise RuntimeError(f"the sandbox of {self._function} does not start") from error
        return self._child

    def _stop(self) -> None:
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def _write(pipe: Any, message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _read(pipe: Any, deadline: float) -> bytes:
    """Read one message, or raise `TimeoutError` at the deadline and `EOFError` at the child's end."""
    (length,) = _LENGTH.unpack(_read_exactly(pipe, _LENGTH.size, deadline))
    return _read_exactly(pipe, length, deadline)


def _read_exactly(pipe: Any, size: int, deadline: float) -> bytes:
    chunks, left = [], size
    while left:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(pipe.fileno(), min(left, 2**20))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _serve(function: Callable[..., Any], calls: BinaryIO, answers: BinaryIO) -> None:
    """Answer calls until the parent goes away."""
    _write(answers, b"ready")
    while header := calls.read(_LENGTH.size):
        arguments, keywords = pickle.loads(calls.read(_LENGTH.unpack(header)[0]))
        try:
            answer = (True, function(*arguments, **keywords))
        except MemoryError:
            answer = (False, "out of memory")
        except Exception as error:  # whatever the function raises on a hostile page is that page's fault
            answer = (False, f"{type(error).__name__}: {error}"[:500])
        _write(answers, pickle.dumps(answer))


def _main() -> None:
    name, memory_bytes = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    module_name, function_name = name.split(":")
    module = __import__(module_name, fromlist=[function_name])
    _serve(getattr(module, function_name), sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
