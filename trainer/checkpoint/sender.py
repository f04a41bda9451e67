"""Sends a run's files to a store in the background, a checkpoint's marker last.

Each rank has a sender for the files that it wrote, so it does not matter which ranks share a disk. It leaves
a receipt beside them; the first rank waits for all receipts of the same attempt before it writes the marker.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.runner import storage
from pipeline.runner.names import bare
from pipeline.runner.terminal import say
from pipeline.runner.transfer import FIRST_WAIT_S, LONGEST_WAIT_S, quiet_lost_connections, reason, send
from trainer.checkpoint.folder import MARKER, FileRecord
from trainer.checkpoint.store import RunStore, wait_for_texts

LOOK_S: Final = 0.5  # between looks for receipts
CLOSE_S: Final = 5.0  # longest wait for the thread of a run that has failed


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A checkpoint to be sent, as one rank sees it."""

    name: str  # of the checkpoint
    attempt: str  # unlike any other's, and the same on all ranks
    files: Sequence[str]  # that this rank sends
    records: Mapping[str, FileRecord]  # of the files of all ranks
    texts: Mapping[str, str]  # state.json and the marker, which the first rank sends
    senders: Sequence[int]  # ranks that have files
    is_moved: bool  # whether the files are to be gone from this machine after that


class _GivenUpError(Exception):
    """The parcel is not to be sent any more."""


class Sender:
    """A thread that sends one checkpoint at a time, and on the first rank a run's other files.

    Whatever fails is tried again, after one second, two, four … and at last every minute.
    """

    def __init__(self, store: RunStore, run: Path, *, rank: int, keep_newest: int, keep_every: int) -> None:
        """Start the thread.

        Args:
            keep_newest: complete checkpoints that stay on the store.
            keep_every: those whose step is a multiple of this stay, too; 0: none.
        """
        self._store, self._run, self._rank = store, run, rank
        self._keep = {"keep_newest": keep_newest, "keep_every": keep_every}
        self._changed = threading.Condition()
        self._parcel: Parcel | None = None
        self._files_due = self._closed = False
        self._is_sending = False
        self._given_up = threading.Event()
        self._failing_since: float | None = None
        self.trouble = ""  # the last error, while it lasts
        self.unsent = ""  # why the last checkpoint is not there, if it was given up
        self._sent: dict[Path, tuple[int, int]] = {}  # size and time of the run's files as they were sent
        quiet_lost_connections()
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether something is still to be sent."""
        with self._changed:
            return self._parcel is not None or self._files_due or self._is_sending

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint is still to be sent."""
        with self._changed:
            return self._parcel is not None

    @property
    def failing_s(self) -> float:
        """For how long it has failed, if it is failing now."""
        since = self._failing_since
        return 0.0 if since is None else time.monotonic() - since

    def send_checkpoint(self, parcel: Parcel) -> None:
        """Begin to send a checkpoint; the one before it has been sent or given up."""
        with self._changed:
            assert self._parcel is None, "one checkpoint at a time"
            self._given_up.clear()
            self._parcel = parcel
            self._changed.notify()

    def send_files(self) -> None:
        """Begin to send those of the run's other files that have changed (on the first rank)."""
        if self._rank == 0:
            with self._changed:
                self._files_due = True
                self._changed.notify()

    def give_up(self) -> None:
        """Stop sending what is being sent, as soon as the store lets go."""
        self._given_up.set()

    def close(self) -> None:
        """End the thread; what has not been sent is not."""
        with self._changed:
            self._closed = True
            self._given_up.set()
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parcel or self._files_due or self._closed)
                if self._closed:
                    return
                parcel, self._is_sending = self._parcel, True
                self._files_due = self._files_due and parcel is not None
            try:
                if parcel is not None:
                    self._send(parcel)
                    self.unsent = ""
                else:
                    self._given_up.clear()
                    self._send_run_files()
            except _GivenUpError:
                self.unsent = self.trouble or "given up"
                if parcel is not None:
                    with suppress(OSError):
                        self._clear(parcel)
            except Exception as error:  # a defect of ours, which must not pass for success
                self.unsent = f"{type(error).__name__}: {reason(error)}"
            finally:
                with self._changed:
                    self._is_sending = False
                    self._failing_since, self.trouble = None, ""
                    if parcel is not None:
                        self._parcel = None

    def _send(self, parcel: Parcel) -> None:
        store, folder = self._store, self._run / parcel.name
        for file in parcel.files:
            self._try(lambda file=file: send(folder / file, store.at(parcel.name, file)))  # type: ignore[misc]
        if self._rank != 0:
            if parcel.files:
                receipt = _receipt(store, parcel, self._rank)
                self._try(lambda: storage.write_text(receipt, parcel.attempt))
            self._clear(parcel)
            return
        receipts = [_receipt(store, parcel, rank) for rank in parcel.senders if rank != 0]
        state, marker = ({name: parcel.texts[name]} for name in ("state.json", MARKER))
        self._try(lambda: _send_texts(store, parcel.name, state))
        if not self._try(lambda: self._all_have_sent(receipts, parcel.attempt)):
            raise _GivenUpError
        self._try(lambda: store.check_sent(parcel.name, parcel.records))
        self._send_run_files()  # the figures up to this step, before somebody goes on from it
        self._try(lambda: _send_texts(store, parcel.name, marker))
        say(f"sent {bare(store.at(parcel.name))}", flush=True)
        self._clear(parcel)
        self._try(lambda: _remove_all(receipts))
        self._try(lambda: store.prune(**self._keep))

    def _all_have_sent(self, receipts: Sequence[str], attempt: str) -> bool:
        return wait_for_texts(
            receipts,
            attempt,
            pause=lambda: self._given_up.wait(LOOK_S),
            is_over=self._given_up.is_set,
        )

    def _clear(self, parcel: Parcel) -> None:
        """Remove this rank's files, if they were only to get to the store: they are there, or given up."""
        if not parcel.is_moved:
            return
        folder = self._run / parcel.name
        for file in parcel.files:
            (folder / file).unlink(missing_ok=True)
        with suppress(OSError):  # another rank's are still there, or it was faster
            folder.rmdir()

    def _send_run_files(self) -> None:
        for path in _run_files(self._run):
            try:
                status = path.stat()
            except FileNotFoundError:  # it was there a moment ago
                continue
            seen = status.st_size, status.st_mtime_ns
            if self._sent.get(path) != seen:
                address = self._store.at(path.relative_to(self._run).as_posix())
                self._try(lambda path=path, address=address: send(path, address))  # type: ignore[misc]
                self._sent[path] = seen

    def _try(self, act: Callable[[], bool | None]) -> bool | None:
        """Do something until it succeeds or is given up."""
        wait_s = FIRST_WAIT_S
        while not self._given_up.is_set():
            try:
                result = act()
                self._failing_since, self.trouble = None, ""
                return result
            except Exception as error:  # also what a client library raises, of whatever class
                self.trouble = reason(error)
                self._failing_since = self._failing_since or time.monotonic()
                line = f"rank {self._rank} cannot send to {bare(self._store.address)}: {self.trouble}"
                say(f"{line}: trying again in {wait_s:.0f} s", file=sys.stderr, flush=True)
            self._given_up.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise _GivenUpError


def _receipt(store: RunStore, parcel: Parcel, rank: int) -> str:
    return store.at(parcel.name, f".sent-{rank}")


def _remove_all(addresses: Sequence[str]) -> None:
    for address in addresses:
        storage.remove(address)


def _send_texts(store: RunStore, name: str, texts: Mapping[str, str]) -> None:
    for file, text in texts.items():
        storage.write_text(store.at(name, file), text)


def _run_files(run: Path) -> list[Path]:
    """Return everything in a run's folder but checkpoints, what is hidden, and W&B's own copies."""
    found = list[Path]()
    for top in sorted(run.iterdir()):
        if top.name.startswith(("step_", ".")) or top.name == "wandb":  # others write and remove there
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            is_hidden = any(part.startswith(".") for part in path.relative_to(run).parts)
            if not is_hidden and path.is_file():
                found.append(path)
    return found
