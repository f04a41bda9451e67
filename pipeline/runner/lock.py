"""One run at a time writes to a folder, on this machine's disk, a network's, or an object store.

Where the file system has locks (`flock`), the lock goes with the process, however that ends. Object stores
have none, nor have some network file systems (Lustre without `-o flock`, NFS without its lock service). There
a lease is kept: a file that its holder writes anew every ten seconds. A holder that is gone does so no more,
and after a minute the next run takes the folder. Nobody's clock is trusted for that: whoever waits looks
whether the file changes.
"""

import _thread
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psutil

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as, parse_json
from pipeline.runner.names import bare
from pipeline.runner.terminal import say

LOCK, LEASE = ".lock", ".lease"  # hidden, so that no reader of the folder takes them for its own
RENEW_S = 10.0
EXPIRE_S = 60.0  # a lease that does not change for so long has no holder
LOOK_S = 1.0  # between looks at another's lease
SETTLE_S = 3.0  # in which two runs that wrote a lease at the same time both see which one is there
CLOCK_S = 5.0  # the system's clock may be set while a process runs, and with it the time of its start


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The run that has a folder, as its lock says."""

    run: str  # unlike any other's
    host: str
    machine: str  # decides whether its process can be seen from here
    process: int
    process_started: float
    started: str  # the run, in UTC

    @classmethod
    def here(cls) -> "Holder":
        """Describe a new run of this process."""
        return cls(
            run=uuid.uuid4().hex,
            host=socket.gethostname(),
            machine=_machine(),
            process=os.getpid(),
            process_started=psutil.Process().create_time(),
            started=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        )

    @classmethod
    def read(cls, text: str) -> "Holder | None":
        """Return the holder that a lock names, None where it names none."""
        try:
            return parse_as(cls, parse_json(text))
        except ValueError:  # a lock that has just been made, or somebody else's file
            return None

    @property
    def lives(self) -> bool | None:
        """Whether its process is there; None for one that cannot be seen from here."""
        if self.machine != _machine():
            return None
        try:
            there = psutil.Process(self.process)
            if abs(there.create_time() - self.process_started) > CLOCK_S:
                return False  # another process has got its number
        except psutil.NoSuchProcess:
            return False
        return self.process != os.getpid() or self.run in _held

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.started}"


_held: set[str] = set()  # runs of this process that have a folder


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keep other runs out of a folder, which is made where it is local.

    A run that loses its lease (it was asleep or out of reach for a minute, and another has taken the folder)
    is interrupted.

    Raises:
        ValueError: another run has it, or has taken it.
        OSError: the folder cannot be written to.
    """
    holder = Holder.here()
    path = storage.local_path(folder)
    if path is None:
        with _leased(folder, holder):
            yield
        return
    path.mkdir(parents=True, exist_ok=True)
    file = _flocked(path / LOCK, folder)
    if file is None:
        with _leased(folder, holder):
            yield
        return
    with file:
        file.truncate(0)
        file.write(json.dumps(asdict(holder)))
        file.flush()
        try:
            yield
        finally:
            (path / LOCK).unlink(missing_ok=True)  # before it can be another's


def _flocked(path: Path, folder: str) -> IO[str] | None:
    """Return the file with the file system's lock on it; None where there are no locks."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="utf-8"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _refusal(folder, Holder.read(file.read())) from error
        except OSError as error:
            if error.errno not in storage.NO_LOCKS:
                raise
            path.unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                stack.pop_all()
                return file
    return _flocked(path, folder)  # its last holder removed the file after we had opened it


def _refusal(folder: str, holder: Holder | None, advice: str = "") -> ValueError:
    who = f" ({holder})" if holder else ""
    return ValueError(
        f"another run{who} is writing to {bare(folder)}: "
        f"wait for it or stop it, or give another --output{advice}"
    )


@contextmanager
def _leased(folder: str, holder: Holder) -> Iterator[None]:
    lease = _Lease(folder, holder)
    _held.add(holder.run)  # before it can be seen by another thread of this process
    try:
        lease.take()
        renewing = threading.Thread(target=lease.renew_until_released, name="lease", daemon=True)
        renewing.start()
        try:
            yield
        except KeyboardInterrupt:
            if not lease.taken_by:
                raise
        finally:
            lease.released.set()
            renewing.join()  # or it would write the lease once more
            lease.release()
    finally:
        _held.discard(holder.run)
    if lease.taken_by:
        raise ValueError(
            f"another run ({lease.taken_by}) has taken {bare(folder)}, since this one did not renew its "
            f"lease for {EXPIRE_S:.0f} s: it was suspended, or could not reach the store"
        )


class _Lease:
    """A file in the folder that names its holder, and changes while that lives."""

    def __init__(self, folder: str, holder: Holder) -> None:
        self._folder, self._holder = folder, holder
        self._address = storage.join(folder, LEASE)
        self._renewals = 0
        self.released = threading.Event()
        self.taken_by: Holder | str = ""

    def take(self) -> None:
        """Write the lease, once there is none or its holder is gone.

        Raises:
            ValueError: its holder lives.
        """
        while True:
            found = self._read()  # first, since a store may ignore a condition
            if found is None:
                if not self._create() and not self._is_ours(self._read()):
                    continue  # another was faster
                if not self._create():  # refused now, so it was the condition that gave us the first
                    return
            elif self._expires(found, Holder.read(found)):
                storage.write_text(self._address, self._text())
            else:
                continue
            time.sleep(SETTLE_S)
            if self._is_ours(found := self._read()):
                return
            raise _refusal(self._folder, Holder.read(found or ""))

    def _expires(self, found: str, holder: Holder | None) -> bool:
        """Wait until it is known whether the holder is gone; say False if the lease has been given up."""
        advice = f". The lease of a run that is gone ends within {EXPIRE_S:.0f} s"
        if holder and holder.lives is not None:
            if holder.lives:
                raise _refusal(self._folder, holder)
            return True
        say(
            f"{bare(self._folder)} was in use ({holder or 'unknown'}): "
            f"looking for up to {EXPIRE_S:.0f} s whether that run still lives",
            file=sys.stderr,
        )
        deadline = time.monotonic() + EXPIRE_S
        while time.monotonic() < deadline:
            time.sleep(LOOK_S)
            now = self._read()
            if now is None:
                return False
            if now != found:
                raise _refusal(self._folder, Holder.read(now), advice)
        return True

    def renew_until_released(self) -> None:
        """Write the lease anew from time to time; interrupt the run if another has written its own."""
        while not self.released.wait(RENEW_S):
            with suppress(Exception):  # the store is out of reach for a while: the run itself will report it
                found = self._read()
                if found is not None and not self._is_ours(found):
                    self.taken_by = Holder.read(found) or "unknown"
                    _thread.interrupt_main()
                    return
                self._renewals += 1
                storage.write_text(self._address, self._text())

    def release(self) -> None:
        """Remove the lease, if it is still this run's."""
        with suppress(Exception):  # out of reach: it expires
            if self._is_ours(self._read()):
                storage.remove(self._address)

    def _create(self) -> bool:
        """Write the lease unless there is one; say whether it was written."""
        path = storage.local_path(self._address)
        if path is not None:
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(self._text())
            except FileExistsError:
                return False
            return True
        filesystem, where = storage.locate(self._address)
        try:
            filesystem.pipe_file(where, self._text().encode(), mode="create")
        except FileExistsError:
            return False
        except (
            OSError,
            NotImplementedError,
            TypeError,
        ):  # there is one, in other words; or no such condition
            if filesystem.exists(where):
                return False
            storage.write_text(self._address, self._text())
        return True

    def _read(self) -> str | None:
        """Return what the lease says, None where there is none."""
        try:
            return storage.read_text(self._address)
        except FileNotFoundError:
            return None

    def _is_ours(self, text: str | None) -> bool:
        holder = Holder.read(text or "")
        return holder is not None and holder.run == self._holder.run

    def _text(self) -> str:
        return json.dumps({**asdict(self._holder), "renewals": self._renewals})


def _machine() -> str:
    """Name what shares this process's numbering of processes: a boot of a machine, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()
