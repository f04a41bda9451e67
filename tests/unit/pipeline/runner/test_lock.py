"""Tests of the lock: on file systems that have locks, on such as have none, and on stores of objects."""

import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.runner import lock, storage
from pipeline.runner.lock import Holder, locked

QUICK = {"RENEW_S": 0.1, "EXPIRE_S": 0.5, "LOOK_S": 0.05, "SETTLE_S": 0.2}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in QUICK.items():
        monkeypatch.setattr(lock, name, seconds)


def no_locks(number: int) -> Callable[..., None]:
    def flock(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=["a disk", "a disk without locks", "a store", "a store that ignores conditions"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param.startswith("a disk"):
        if "without" in request.param:
            monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOSYS))
        yield str(tmp_path / "output")
        return
    store = fsspec.filesystem("memory")
    if "ignores" in request.param:
        write = type(store).pipe_file
        monkeypatch.setattr(type(store), "pipe_file", lambda self, path, value, **_: write(self, path, value))
    name = f"memory://{tmp_path.name}"
    yield name
    if store.exists(name):
        store.rm(name, recursive=True)


def lease_of(folder: str) -> Holder:
    holder = Holder.read(storage.read_text(storage.join(folder, lock.LEASE)))
    assert holder
    return holder


def leave_a_lease(folder: str, **other: object) -> Holder:
    """Leave behind what a run leaves that is killed; it is this one, but for what is given."""
    holder = dataclasses.replace(Holder.here(), **other)  # type: ignore[arg-type]
    storage.write_text(storage.join(folder, lock.LEASE), json.dumps(dataclasses.asdict(holder)))
    return holder


def test_second_run_is_refused_while_the_first_lasts_and_told_who_that_is(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "EXPIRE_S", 30.0)
    who = rf"another run \(process {os.getpid()} on .+, since 20\d\d-.+ UTC\) is writing to "
    started = time.monotonic()
    with (
        locked(folder),
        pytest.raises(ValueError, match=who + re.escape(folder)),
        locked(folder),
    ):
        pass
    assert time.monotonic() - started < 30, "it waited, though it could see the other run"
    with locked(folder):
        pass


def test_nothing_is_left_of_a_lock_once_its_run_has_ended(folder: str) -> None:
    with locked(folder):
        assert storage.file_sizes(folder)
    assert not storage.file_sizes(folder)


def test_a_lock_whose_file_is_removed_while_it_is_asked_for_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = fcntl.flock, []

    def flock(file: object, operation: int) -> None:
        if not asked:  # the holder ends between our opening its file and our asking for the lock
            (tmp_path / lock.LOCK).unlink()
        asked.append(file)
        real(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(str(tmp_path)):
        assert len(asked) == 2
        assert (tmp_path / lock.LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, 524])
def test_where_a_file_system_has_no_locks_a_lease_is_kept(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(number))
    with locked(str(tmp_path)):
        assert lease_of(str(tmp_path)).process == os.getpid()


def test_another_error_of_the_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), locked(str(tmp_path)):
        pass


BY_LEASE = pytest.mark.parametrize(
    "folder", ["a disk without locks", "a store", "a store that ignores conditions"], indirect=True
)


@BY_LEASE
def test_the_lease_of_a_killed_process_of_this_machine_is_taken_at_once(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "EXPIRE_S", 30.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for gone in (
        {"process": ended.pid},
        {"process": 1, "process_started": 1.0},  # there is another process of that number
        {"run": "an earlier one of this very process"},
    ):
        leave_a_lease(folder, **gone)
        started = time.monotonic()
        with locked(folder):
            assert lease_of(folder).run != "an earlier one of this very process"
        assert time.monotonic() - started < 30


@BY_LEASE
def test_the_lease_of_another_machine_is_taken_when_it_has_not_changed_for_its_time(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_a_lease(folder, machine="another", host="n07", process=4711)
    started = time.monotonic()
    with locked(folder):
        assert time.monotonic() - started >= QUICK["EXPIRE_S"]
        assert lease_of(folder).host == Holder.here().host
    assert "was in use (process 4711 on n07, since 20" in capsys.readouterr().err


@BY_LEASE
def test_a_run_on_another_machine_that_lives_is_not_disturbed(folder: str) -> None:
    holder = leave_a_lease(folder, machine="another", host="n07")
    storage.remove(storage.join(folder, lock.LEASE))
    with lock._leased(folder, holder):
        with (
            pytest.raises(ValueError, match=r"on n07, since .* lease of a run that is gone ends"),
            locked(folder),
        ):
            pass
        assert lease_of(folder).run == holder.run


@BY_LEASE
def test_a_lease_that_somebody_cut_is_another_machines(folder: str) -> None:
    storage.write_text(storage.join(folder, lock.LEASE), '{"run": 1}')
    with locked(folder):
        assert lease_of(folder).process == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}', "[" * 100_000])
def test_what_names_no_holder_is_read_as_none(text: str) -> None:
    assert Holder.read(text) is None


@BY_LEASE
def test_a_run_whose_lease_was_taken_is_interrupted_and_says_by_whom(folder: str) -> None:
    is_over = threading.Event()

    def steal() -> None:
        """Again and again: a lease that is written between a renewal's look and its write is lost."""
        while not is_over.wait(0.2):
            leave_a_lease(folder, machine="another", host="n07")

    thief = threading.Thread(target=steal)
    try:
        with (
            pytest.raises(ValueError, match=r"another run \(process .* on n07, .* has taken"),
            locked(folder),
        ):
            thief.start()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                time.sleep(0.01)
            pytest.fail("it was not interrupted")
    finally:
        is_over.set()
        thief.join()
    assert lease_of(folder).host == "n07", "the other run's lease was removed"


@BY_LEASE
def test_an_interrupt_stays_one(folder: str) -> None:
    with pytest.raises(KeyboardInterrupt), locked(folder):
        signal.raise_signal(signal.SIGINT)
    assert not storage.exists(storage.join(folder, lock.LEASE))


@BY_LEASE
def test_a_lease_that_was_removed_in_mid_run_comes_back(folder: str) -> None:
    with locked(folder):
        run = lease_of(folder).run
        storage.remove(storage.join(folder, lock.LEASE))
        deadline = time.monotonic() + 20
        while not storage.exists(storage.join(folder, lock.LEASE)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert lease_of(folder).run == run


def try_it(folder: str, begin: object, results: object) -> None:
    """Be one of several runs that begin at the same moment on a disk without locks."""
    fcntl.flock = no_locks(errno.ENOLCK)
    lock.EXPIRE_S, lock.LOOK_S, lock.SETTLE_S = 1.0, 0.05, 1.0
    begin.wait()  # type: ignore[attr-defined]
    try:
        with locked(folder):
            results.put("has it")  # type: ignore[attr-defined]
            time.sleep(2 * lock.SETTLE_S + lock.EXPIRE_S)
    except ValueError as error:
        results.put("refused" if "another run" in str(error) else str(error))  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("left", [False, True])
def test_of_runs_that_begin_at_once_one_has_the_folder(tmp_path: Path, left: bool) -> None:
    if left:  # all of them find that its holder is gone
        leave_a_lease(str(tmp_path), machine="another")
    processes = multiprocessing.get_context("fork")
    begin, results = processes.Barrier(4), processes.Queue()
    runs = [processes.Process(target=try_it, args=(str(tmp_path), begin, results)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(30)
    assert sorted(results.get(timeout=1) for _ in runs) == ["has it", "refused", "refused", "refused"]
