"""A call that hangs, crashes or eats memory costs itself alone, and no process outlives its sandbox."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.extract import sandbox as sandboxes
from pipeline.extract.sandbox import CallFailure, Sandbox

MISBEHAVE = """
import ctypes, os, pickle, re, signal, sys, time

calls = []

def misbehave(how):
    calls.append(how)
    if how == "sleep":
        time.sleep(600)
    if how == "loop":
        while True:
            pass
    if how == "loop in C":
        re.match("(a*)*b", "a" * 100)
    if how == "work":
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "eat":
        bytearray(4 * 2**30)
    if how == "eat on and on":
        kept = []
        while True:
            kept.append(" " * 2**20)
    if how == "overflow the stack":
        nested = []
        for _ in range(10**6):
            nested = [nested]
        sys.setrecursionlimit(10**9)
        pickle.dumps(nested)
    if how == "raise":
        raise RuntimeError(f"bad page {object()}")
    if how == "exit":
        sys.exit(3)
    if how == "print":
        print("noise on standard output")
        os.write(1, b"noise")
    if how == "calls":
        return len(calls)
    if how.startswith("be killed"):  # so many times, counted in a file
        _, times, file = how.split(":")
        with open(file, "a+") as deaths:
            deaths.write("x")
            deaths.seek(0)
            if len(deaths.read()) <= int(times):
                deaths.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    if how == "second call":
        os.kill(os.getpid(), signal.SIGSEGV if len(calls) > 2 else 0)
    if how == "pid":
        return os.getpid()
    return how
"""

FATES = {
    "loop": (True, "1 s of processor time"),
    "loop in C": (True, "1 s of processor time"),
    "segfault": (False, "SIGSEGV"),
    "abort": (False, "SIGABRT"),
    "eat": (False, "out of memory"),
    "eat on and on": (False, "out of memory"),
    "overflow the stack": (False, ""),  # SIGSEGV, or an error where the interpreter counts
    "raise": (False, "RuntimeError: bad page <object object at 0x…>"),
    "exit": (False, "exit code"),
}


@pytest.fixture
def misbehave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """The function above, in a module that the template finds on this process's import path."""
    (tmp_path / "misbehaving.py").write_text(MISBEHAVE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import misbehaving

    yield misbehaving.misbehave
    del sys.modules["misbehaving"]


def open_sandbox(function: Callable[[str], Any], deadline_s: float = 1.0) -> Sandbox:
    return Sandbox(function, ("well",), deadline_s=deadline_s, memory_bytes=2**28)


def outcomes(sandbox: Sandbox, *hows: str) -> list[Any]:
    found = list(sandbox.map((how, (how,)) for how in hows))
    assert [tag for tag, _ in found] == list(hows)
    return [outcome for _, outcome in found]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    patience = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < patience, what
        time.sleep(0.01)


def test_each_misdeed_costs_its_own_call_and_no_other(misbehave: Callable[[str], Any]) -> None:
    hows = [how for misdeed in FATES for how in ("print", misdeed)] + ["well"]
    with open_sandbox(misbehave) as sandbox:
        for how, outcome in zip(hows, outcomes(sandbox, *hows), strict=True):
            if how not in FATES:
                assert outcome == how
                continue
            timed_out, detail = FATES[how]
            assert isinstance(outcome, CallFailure), how
            assert outcome.timed_out == timed_out, how
            assert detail in outcome.detail


def test_call_that_waits_for_ever_meets_the_limit_by_the_clock(
    misbehave: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "WALL_FACTOR", 2)
    with open_sandbox(misbehave, deadline_s=0.5) as sandbox:
        assert outcomes(sandbox, "sleep", "well") == [CallFailure(True, "no answer in 1 s"), "well"]


def test_deadline_counts_no_time_in_which_the_machine_does_other_things(
    misbehave: Callable[[str], Any],
) -> None:
    def stopped_in_the_middle() -> Iterator[tuple[str, tuple[str]]]:
        yield "pid", ("pid",)
        yield "work", ("work",)
        child = psutil.Process(found["pid"])
        started = time.monotonic()
        child.suspend()
        wait_until(lambda: time.monotonic() > started + 1.0, "time stands still")
        assert child.cpu_times().user < 0.5
        child.resume()

    found: dict[str, Any] = {}
    with open_sandbox(misbehave, deadline_s=0.5) as sandbox:
        for tag, outcome in sandbox.map(stopped_in_the_middle()):
            found[tag] = outcome
    assert found["work"] == "work"


def test_what_fails_in_a_used_child_is_decided_by_a_fresh_one(misbehave: Callable[[str], Any]) -> None:
    with open_sandbox(misbehave) as sandbox:
        assert outcomes(sandbox, "well", "second call", "calls") == ["well", "second call", 3]


def test_child_is_replaced_after_so_many_bytes(
    misbehave: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "BYTES_PER_CHILD", 1)
    with open_sandbox(misbehave) as sandbox:
        assert outcomes(sandbox, "calls", "calls", "calls") == [2, 2, 2]  # the template's, and this one


def test_next_call_is_made_ready_while_the_child_works(misbehave: Callable[[str], Any]) -> None:
    taken = []

    def calls() -> Iterator[tuple[str, tuple[str]]]:
        for how in ("one", "two", "three"):
            taken.append(how)
            yield how, (how,)

    with open_sandbox(misbehave) as sandbox:
        results = sandbox.map(calls())
        assert next(results) == ("one", "one")
        assert taken == ["one", "two"]
        results.close()
        assert outcomes(sandbox, "well") == ["well"]  # not the answer to "two"


def test_template_that_was_killed_is_started_anew(misbehave: Callable[[str], Any]) -> None:
    with open_sandbox(misbehave) as sandbox:
        (child,) = outcomes(sandbox, "pid")
        psutil.Process(child).parent().kill()
        wait_until(lambda: not psutil.pid_exists(child) or _is_zombie(child), "a child outlived its template")
        assert outcomes(sandbox, "well") == ["well"]


def test_template_that_is_killed_while_it_starts_is_started_again(
    misbehave: Callable[[str], Any], tmp_path: Path
) -> None:
    often = sandboxes.STARTS - 1
    warm_up = (f"be killed:{often}:{tmp_path / 'deaths'}",)
    with Sandbox(misbehave, warm_up, deadline_s=1.0, memory_bytes=2**28) as sandbox:
        assert outcomes(sandbox, "well") == ["well"]
    warm_up = (f"be killed:{often + 1}:{tmp_path / 'more'}",)
    sandbox = Sandbox(misbehave, warm_up, deadline_s=1.0, memory_bytes=2**28)
    with sandbox, pytest.raises(RuntimeError, match="misbehave does not start: it was killed 5 times"):
        outcomes(sandbox, "well")


def test_call_whose_child_is_killed_is_made_once_more(
    misbehave: Callable[[str], Any], tmp_path: Path
) -> None:
    calls = [f"be killed:{times}:{tmp_path / str(times)}" for times in (1, 2)]
    with open_sandbox(misbehave) as sandbox:
        assert outcomes(sandbox, calls[0], calls[1]) == [calls[0], CallFailure(False, "killed by SIGKILL")]


def test_function_that_cannot_be_called_is_named_at_the_start(misbehave: Callable[[str], Any]) -> None:
    sandbox = Sandbox(misbehave, ("raise",), deadline_s=1.0, memory_bytes=2**28)
    with sandbox, pytest.raises(RuntimeError, match="misbehave does not start: RuntimeError: bad page"):
        outcomes(sandbox, "well")


def test_no_process_is_left_when_the_sandbox_ends_or_raises(misbehave: Callable[[str], Any]) -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    with pytest.raises(KeyError), open_sandbox(misbehave, deadline_s=60.0) as sandbox:
        outcomes(sandbox, "well")
        assert len(set(me.children(recursive=True)) - before) == 2
        for _ in sandbox.map((how, (how,)) for how in ("well", "sleep")):
            raise KeyError
    assert set(me.children(recursive=True)) <= before


KILLED = """
import sys
from pipeline.extract.sandbox import Sandbox
from misbehaving import misbehave

def calls():
    yield "pid", ("pid",)
    yield "loop", ("loop",)
    yield "well", ("well",)

with Sandbox(misbehave, ("well",), deadline_s=600.0, memory_bytes=2**28) as sandbox:
    for _, outcome in sandbox.map(calls()):
        print(outcome, flush=True)
"""


def test_a_template_serves_the_next_sandbox_like_its_own_and_goes_when_there_is_none(
    misbehave: Callable[[str], Any],
) -> None:
    me = psutil.Process()
    before = set(me.children())

    def templates_of(memory_bytes: int, kept_s: float) -> set[psutil.Process]:
        sandbox = Sandbox(misbehave, ("well",), deadline_s=1.0, memory_bytes=memory_bytes, kept_s=kept_s)
        with sandbox:
            assert list(sandbox.map([(1, ("well",))])) == [(1, "well")]
            return set(me.children()) - before

    (first,) = templates_of(2**28, 60.0)
    assert templates_of(2**28, 60.0) == {first}
    (other,) = templates_of(2**27, 0.1) - {first}
    wait_until(lambda: other not in me.children(), "a template that nobody wanted did not go")
    first.kill()
    (second,) = templates_of(2**28, 0.1) - {first}
    wait_until(lambda: second not in me.children(), "a template was left")
    assert second != first


def test_busy_child_dies_with_a_killed_worker(misbehave: Callable[[str], Any]) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=environment
    ) as worker:
        assert worker.stdout is not None
        child = psutil.Process(int(worker.stdout.readline()))
        template = child.parent()
        wait_until(lambda: child.cpu_times().user > 0.05, "the child never began to loop")
        worker.send_signal(signal.SIGKILL)
    for process in (child, template):
        wait_until(lambda process=process: not process.is_running() or _is_zombie(process.pid), "left behind")


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
