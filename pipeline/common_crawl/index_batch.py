"""What every kind of index gives: rows in batches, their SURTs first, the rest only of those wanted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class IndexBatch:
    """Some consecutive rows of an index."""

    surts: pa.Array
    load: Callable[[Rows], pa.Table]
    """Give `CAPTURE_COLUMNS` of some of its rows, by ascending numbers."""

    def bounds(self) -> tuple[str, str]:
        """Return the least and the greatest SURT."""
        found = pc.min_max(self.surts).as_py()
        return found["min"], found["max"]


@dataclass
class IndexTally:
    """How much of an index was read."""

    rows: int = 0  # in it, where it says so
    rows_looked_at: int = 0
    groups: int = 0  # row groups of Parquet, blocks of ZipNum
    groups_read: int = 0
    bytes: int = 0  # of its files
    bytes_read: int = 0

    def add(self, other: "IndexTally") -> None:
        """Count what another one counted."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        told = f"{self.rows_looked_at:,} rows looked at"
        told += f" of {self.rows:,}" if self.rows >= self.rows_looked_at else ""
        told += f", {self.groups_read:,} of {self.groups:,} row groups or blocks" if self.groups else ""
        return f"{told}, {self.bytes_read / 1e6:,.1f} of {self.bytes / 1e6:,.1f} MB read"


class CountedFile:
    """A file open for reading that tells how many bytes were read of it."""

    def __init__(self, file: IO[bytes], tally: IndexTally) -> None:
        self._file = file
        self._tally = tally
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        data = self._file.read(size)
        self._tally.bytes_read += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Say where it is."""
        return self._file.tell()

    def close(self) -> None:
        """Close it."""
        self.closed = True
        self._file.close()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read from anywhere."""
        return True

    def writable(self) -> bool:
        """Say that it cannot be written."""
        return False
