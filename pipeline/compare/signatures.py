"""The files of a task's signatures: bare arrays, since their length is known only when all is written."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.runner import storage

KEYS: Final = "keys.u64"
SKETCHES: Final = "sketches.u8"
KEY_COLUMNS: Final = 3
EXACT, PLACE, COUNTED_WORDS = range(KEY_COLUMNS)
"""Columns of the keys: a hash of all words; one of the address; the number of words."""


def bands_file(task: int) -> str:
    """The file of band keys that one task of the matching reads."""
    return f"bands-{task:02d}.u64"


def mapped(address: str, scratch: Path, kind: type, columns: int) -> npt.NDArray[Any]:
    """Map an array [documents, columns] from the disk, where it is copied first if it lies elsewhere."""
    path = storage.local_path(address)
    if path is None:
        path = scratch / f"{len(list(scratch.iterdir()))}.bin"
        with storage.open_read(address) as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy, 2**20)
    rows = path.stat().st_size // (np.dtype(kind).itemsize * columns)
    if rows == 0:  # nothing that could be mapped
        return np.empty((0, columns), kind)
    return np.memmap(path, kind, "r", shape=(rows, columns))


@dataclass(frozen=True, kw_only=True)
class TwoSides:
    """Documents of both corpora, numbered: those of the first from 0, then those of the other.

    Numbers follow the order of the files, and live no longer than a run.
    """

    sizes: Sequence[int]  # documents of each partition, those of the first corpus before those of the other
    first_partitions: int  # how many of them belong to the first

    @property
    def first(self) -> int:
        """How many documents the first corpus has: the number at which the other begins."""
        return sum(self.sizes[: self.first_partitions])

    @property
    def total(self) -> int:
        """All documents."""
        return sum(self.sizes)

    def place(self, document: int) -> tuple[int, int]:
        """Return the partition of a document, and its row there."""
        ends = np.cumsum(self.sizes)
        partition = int(np.searchsorted(ends, document, side="right"))
        return partition, int(document - (ends[partition] - self.sizes[partition]))
