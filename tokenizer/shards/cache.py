"""Shards of a store in a folder of this machine: fetched whole when they are needed, within a bound.

<scratch>/shards/<name>-<digest of the address>/<fingerprint of the index>/train_000000.bin …

A file that has its name has been checked against the index of that folder, since it is put in place after
that. All processes of a machine share the folder. Files that were not used for longest go first when space is
needed; one that is mapped into memory may go too, since it stays as long as it is mapped.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

from pipeline.runner import storage
from pipeline.runner.names import bare
from pipeline.runner.terminal import say
from pipeline.runner.transfer import fetch, one_at_a_time, patiently, scratch_folder
from tokenizer.shards import formats
from tokenizer.shards.formats import FormatName
from tokenizer.shards.index import INDEX, Shard

GB: Final = 10**9
SHARE_OF_DISK: Final = 0.9  # that shards may fill, where nobody says how much
AT_ONCE: Final = 4  # files fetched at a time


class ShardCache:
    """The files of one folder of shards on a store, as far as they are needed here."""

    def __init__(
        self, address: str, *, scratch: str | None, fingerprint: str, form: FormatName, most_gb: float | None
    ) -> None:
        """Look at what is on the store; nothing is fetched yet.

        Raises:
            OSError: the store cannot be reached.
        """
        self.address = address
        self.folder = scratch_folder(scratch, "shards", address) / fingerprint[:16]
        self._root = self.folder.parents[1]
        self.form = form
        self._sizes = patiently(lambda: storage.file_sizes(address), what=address)
        self._kept: set[Path] = set()  # in use by this process, or soon
        self.folder.mkdir(parents=True, exist_ok=True)
        self.most_bytes = self._share_of_disk() if most_gb is None else int(most_gb * GB)

    def size_bytes(self, shards: Collection[Shard]) -> int:
        """Return how much space shards take.

        Raises:
            ValueError: one is not on the store.
        """
        names = [name for shard in shards for name, _ in self._files(shard)]
        if missing := [name for name in names if name not in self._sizes]:
            raise ValueError(f"{bare(storage.join(self.address, missing[0]))} is missing")
        return sum(self._sizes[name] for name in names)

    def check_size(self, shard: Shard, expected: int) -> None:
        """Check that a shard's file of tokens has a size, by the store's listing.

        Raises:
            ValueError: it has another, or is missing.
        """
        self.size_bytes([shard])
        if (found := self._sizes[shard.file]) != expected:
            place = bare(storage.join(self.address, shard.file))
            raise ValueError(f"{place} is damaged: {found:,} bytes, but {INDEX} says {expected:,}")

    def check_fits(self, needed: int, hint: str) -> None:
        """Check that so many bytes may lie here at a time.

        Raises:
            ValueError: they may not; with the hint.
        """
        if needed > self.most_bytes:
            raise ValueError(
                f"{bare(self.address)}: {needed / GB:,.2f} GB of shards are needed at a time, but "
                f"{self._root} may take {self.most_bytes / GB:,.2f} GB: {hint}"
            )

    def keep(self, shards: Collection[Shard]) -> None:
        """Do not remove these, rather than others, when space is needed."""
        self._kept = {self.folder / name for shard in shards for name, _ in self._files(shard)}

    @contextmanager
    def at_hand(self, shard: Shard, pause: Callable[[float], bool | None] = time.sleep) -> Iterator[None]:
        """Have a shard's files here, fetched and checked; inside nobody removes them.

        Args:
            pause: waits before another try, as of `patiently`.

        Raises:
            ValueError: what the store gives is damaged.
            OSError: the store is out of reach, or the disk is full.
        """
        path = self.folder / shard.file
        with one_at_a_time(path):
            for name, checksum in self._files(shard):
                self._bring(name, checksum, pause)
            yield

    def fetch_all(
        self, shards: Sequence[Shard], *, first: int = 0, tell: bool = False, stop: Event | None = None
    ) -> None:
        """Fetch shards, several at a time; like `at_hand`.

        Args:
            first: where to begin, so that the processes of a machine each begin elsewhere.
            tell: whether to print what is being waited for.
            stop: once it is set, no further shard and no further try is begun.
        """
        missing = [shard for shard in shards if not (self.folder / shard.file).is_file()]
        if tell and missing:
            size = self.size_bytes(missing) / GB
            say(
                f"fetching {len(missing):,} shards, {size:,.2f} GB, from {bare(self.address)}",
                file=sys.stderr,
                flush=True,
            )
        turned = [*shards[first % len(shards) :], *shards[: first % len(shards)]] if shards else []
        over = stop or Event()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="shards") as pool:
            for _ in pool.map(lambda shard: self._touch(shard, over), turned):
                pass

    def fetch_beside(self, name: str) -> None:
        """Fetch a small file that lies beside the shards, if there is one."""
        path = self.folder / name
        if name in self._sizes:
            with one_at_a_time(path):
                if not path.is_file():
                    fetch(storage.join(self.address, name), path, is_whole=self._test(name, None))

    def _touch(self, shard: Shard, over: Event) -> None:
        if not over.is_set():
            with self.at_hand(shard, over.wait):
                pass

    def _files(self, shard: Shard) -> list[tuple[str, str | None]]:
        """Return the names and checksums of a shard's files."""
        index = formats.index_name(self.form, shard.file)
        return [(shard.file, shard.sha256), *([(index, shard.idx_sha256)] if index else [])]

    def _bring(self, name: str, checksum: str | None, pause: Callable[[float], bool | None]) -> None:
        path = self.folder / name
        try:
            os.utime(path)  # used now
        except FileNotFoundError:
            if name not in self._sizes:
                raise ValueError(f"{bare(storage.join(self.address, name))} is missing") from None
            self._make_room(self._sizes[name])
            fetch(storage.join(self.address, name), path, is_whole=self._test(name, checksum), pause=pause)

    def _test(self, name: str, checksum: str | None) -> Callable[[Path], bool]:
        def is_whole(path: Path) -> bool:
            if checksum is None:  # another tool's: there is only its size
                return path.stat().st_size == self._sizes[name]
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == checksum

        return is_whole

    def _make_room(self, needed: int) -> None:
        """Remove what was not used for longest, of any shards here, until so many bytes more may come."""
        with one_at_a_time(self._root / "room"):
            files = {path: path.stat() for path in self._root.glob("*/*/*") if _is_shard(path)}
            total = sum(stat.st_size for stat in files.values())
            for path in sorted(files, key=lambda path: files[path].st_mtime_ns):
                if total + needed <= self.most_bytes:
                    return
                if path not in self._kept and _remove_unless_used(path):
                    total -= files[path].st_size

    def _share_of_disk(self) -> int:
        here = sum(path.stat().st_size for path in self._root.glob("*/*/*") if _is_shard(path))
        return int(SHARE_OF_DISK * (shutil.disk_usage(self._root).free + here))


def _is_shard(path: Path) -> bool:
    return path.suffix in (".bin", ".idx") and not path.name.startswith(".") and path.is_file()


def _remove_unless_used(path: Path) -> bool:
    """Remove a file unless a process is about to open it; say whether it is gone."""
    bin_path = path.with_suffix(".bin")  # by which a Megatron pair is locked
    with bin_path.with_name(f".{bin_path.name}.lock").open("a") as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    return False
