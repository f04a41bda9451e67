"""A run's folder on a store: what of it is complete, brought here, sent there, and removed.

It holds the same files as a run's folder on a disk (see `folder`). A store puts a file in place as a whole,
but has no folders and no renaming: a checkpoint is there once its marker is, which is written last. What the
marker lists is checked by whoever fetches it.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as, parse_json
from pipeline.runner.lock import locked
from pipeline.runner.names import bare
from pipeline.runner.terminal import say
from pipeline.runner.transfer import DamagedError, fetch, one_at_a_time, patiently
from trainer.checkpoint.folder import (
    MARKER,
    FileRecord,
    Marker,
    finished_checkpoints,
    is_whole,
    kept_checkpoints,
    read_options,
)

RUN_FILES: Final = (
    "options.json",
    "tokenizer.json",
    "metrics.jsonl",
    "samples.jsonl",
    "wandb.txt",
)  # to go on
DAMAGED: Final = "damaged"
MAY_GROW: Final = frozenset({"steps", "decay_steps"})  # of a run, as it goes on
AT_ONCE: Final = 4  # files fetched at a time


@dataclass(frozen=True)
class RunStore:
    """The folder of a run at an address.

    Every method raises `OSError` if the store is out of reach for minutes.
    """

    address: str

    def at(self, *parts: str) -> str:
        """Return the address of something in it."""
        return storage.join(self.address, *parts)

    def sizes(self) -> Mapping[str, int]:
        """Return the size of each file, by its name from here."""
        return patiently(lambda: storage.file_sizes(self.address), what=self.address)

    def complete(self, sizes: Mapping[str, int] | None = None) -> list[str]:
        """Return the names of the complete checkpoints, oldest first."""
        names = self.sizes() if sizes is None else sizes
        return sorted(name.removesuffix(f"/{MARKER}") for name in names if _is_marker(name))

    def marker(self, name: str) -> str | None:
        """Return what the marker of a checkpoint says; None where there is none, nothing if it is no text."""
        try:
            return patiently(lambda: storage.read_text(self.at(name, MARKER)), what=self.address)
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            return ""

    def records(self, name: str) -> Mapping[str, FileRecord]:
        """Return the files of a complete checkpoint, as its marker names them.

        Raises:
            DamagedError: that is no marker.
        """
        try:
            files: Mapping[str, FileRecord] = parse_as(Marker, parse_json(self.marker(name) or "")).files
        except ValueError as error:
            raise DamagedError(f"its marker is not one: {error}") from error
        if "state.json" not in files:
            raise DamagedError("its marker names no state.json")
        return files

    def fetch_newest(self, run: Path, *, exclusive: bool) -> None:
        """Bring a run's folder on this machine up to date, if the store has a newer checkpoint.

        Damaged checkpoints are passed over. Processes of a machine may all call it: one fetches.

        Args:
            exclusive: refuse if a run has the folder. The run itself has it.

        Raises:
            ValueError: there are only damaged ones, there and here; or a run has the folder.
        """
        with one_at_a_time(run), locked(str(run)) if exclusive else nullcontext():
            names = self.complete()
            finished = [folder.name for folder in finished_checkpoints(run)]
            if finished and (not names or names[-1] < finished[-1]):
                self._check_same_run(run)
            damaged = []
            for name in reversed(names):
                if finished and name < finished[-1]:
                    return
                if name in finished and (run / name / MARKER).read_text() == self.marker(name):
                    return
                self._fetch_run_files(run)  # first: they may go on beyond the checkpoint
                try:
                    self._fetch_checkpoint(name, run / name)
                except DamagedError as error:
                    say(f"{bare(self.at(name))} is passed over: {error}", file=sys.stderr, flush=True)
                    damaged.append(name)
                    continue
                return
            if damaged and not finished:
                raise ValueError(
                    f"every checkpoint in {bare(self.address)} is damaged: choose another --output to "
                    "start over"
                )
            if not (run / "options.json").is_file():
                self._fetch_run_files(run)

    def _check_same_run(self, run: Path) -> None:
        """Check that a folder that goes further than the store holds the same run.

        Raises:
            ValueError: it does not, and neither may take the other's place.
        """
        try:
            text = patiently(lambda: storage.read_text(self.at("options.json")), what=self.address)
            content = parse_json(text)
        except FileNotFoundError:
            return
        except ValueError as error:
            raise ValueError(f"cannot read {bare(self.at('options.json'))}: {error}") from error
        identity = content.get("identity") if isinstance(content, dict) else None
        there = identity if isinstance(identity, dict) else {}
        here = (read_options(run) or {}).get("identity", {})
        if any(here.get(key) != value for key, value in there.items() if key in here and key not in MAY_GROW):
            raise ValueError(
                f"{run} on this machine holds another run than {bare(self.address)}: remove the one that "
                "you do not want, or choose another --output"
            )

    def _fetch_checkpoint(self, name: str, folder: Path) -> None:
        """Fetch what of a checkpoint is not here yet; its marker comes last."""
        records = self.records(name)
        text = self.marker(name)
        (folder / MARKER).unlink(missing_ok=True)
        self.fetch_files(name, folder, records)
        fetch(self.at(name, MARKER), folder / MARKER, is_whole=lambda path: path.read_text() == text)

    def fetch_files(self, name: str, folder: Path, records: Mapping[str, FileRecord]) -> None:
        """Fetch files of a checkpoint, several at a time; those that are here are checked only.

        Raises:
            DamagedError: one is not what the marker says.
        """

        def bring(file: str) -> None:
            if Path(file).name != file:
                raise DamagedError(f"its marker names {file!r}, which is not a file name")
            record = records[file]
            if not is_whole(folder / file, record):
                try:
                    fetch(self.at(name, file), folder / file, is_whole=lambda path: is_whole(path, record))
                except FileNotFoundError as error:
                    raise DamagedError(f"{file} is missing") from error

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="checkpoint") as pool:
            for _ in pool.map(bring, records):
                pass

    def _fetch_run_files(self, run: Path) -> None:
        names = self.sizes()
        for name in RUN_FILES:
            if name in names:
                fetch(self.at(name), run / name)

    def set_aside_after(self, newest: str) -> None:
        """Mark every checkpoint after this one as damaged; the run will save others in their place."""
        for name in self.complete():
            if name > newest:
                patiently(lambda name=name: self._set_aside(name), what=self.address)  # type: ignore[misc]

    def _set_aside(self, name: str) -> None:
        storage.write_text(self.at(name, DAMAGED), "")
        storage.remove(self.at(name, MARKER))

    def check_sent(self, name: str, records: Mapping[str, FileRecord]) -> None:
        """Check that the store lists all files of a checkpoint, with their sizes.

        Raises:
            OSError: one is not there.
        """
        sizes = storage.file_sizes(self.at(name))
        for file, record in records.items():
            if sizes.get(file) != record.size_bytes:
                raise OSError(f"{file} is not on the store, though it was sent")

    def prune(self, *, keep_newest: int, keep_every: int) -> None:
        """Remove checkpoints as `folder.prune` does: never the newest complete one."""
        sizes = storage.file_sizes(self.address)
        finished = self.complete(sizes)
        if not finished:
            return
        kept = kept_checkpoints(finished, keep_newest=keep_newest, keep_every=keep_every)
        for name in sorted({name.partition("/")[0] for name in sizes if name.startswith("step_")}):
            if name < finished[-1] and name not in kept:
                storage.remove(self.at(name, MARKER))
                storage.remove(self.at(name))


def wait_for_texts(
    addresses: Collection[str], expected: str, *, pause: Callable[[], object], is_over: Callable[[], bool]
) -> bool:
    """Wait until all of these files say what is expected; say whether they do, before it is over."""
    left = set(addresses)
    while True:
        left = {address for address in left if _remote_text(address) != expected}
        if not left or is_over():
            return not left
        pause()


def _remote_text(address: str) -> str | None:
    try:
        return storage.read_text(address)
    except FileNotFoundError:
        return None


def _is_marker(name: str) -> bool:
    return re.fullmatch(rf"step_\d+/{MARKER}", name) is not None
