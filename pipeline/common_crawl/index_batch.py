"""What every kind of index gives: rows in batches, their SURTs first, the rest only of those wanted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.common_crawl.sought import ANYTHING
from pipeline.runner import storage

RETRIES = 4
BACKOFF_S = 0.5
TEMPORARY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

Answer = TypeVar("Answer")
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class IndexBatch:
    """Some consecutive rows of an index."""

    surts: pa.Array
    load: Callable[[Rows], pa.Table]
    """Give `CAPTURE_COLUMNS` of some of its rows, by ascending numbers."""

    @cached_property
    def is_sorted(self) -> bool:
        """Whether its SURTs ascend, as those of most indexes do."""
        return pc.all(pc.less_equal(self.surts[:-1], self.surts[1:])).as_py() is not False

    def bounds(self) -> tuple[str, str]:
        """Return the least and the greatest SURT; the widest bounds where those are no UTF-8."""
        try:
            if self.is_sorted and len(self.surts):
                return self.surts[0].as_py(), self.surts[-1].as_py()
            found = pc.min_max(self.surts).as_py()
            return found["min"], found["max"]
        except UnicodeDecodeError:
            return "", ANYTHING


@dataclass
class IndexTally:
    """How much of an index was read."""

    files: int = 0
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
        text = f"{self.rows_looked_at:,} rows looked at"
        text += f" of {self.rows:,}" if self.rows >= self.rows_looked_at else ""
        text += f", {self.groups_read:,} of {self.groups:,} row groups or blocks" if self.groups else ""
        return f"{text}, {self.bytes_read / 1e6:,.1f} of {self.bytes / 1e6:,.1f} MB read"


class UnreadableIndexError(ValueError):
    """An index file cannot be read: the message says why.

    `temporary` is True where its server may give it another time.
    """

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Return what an archive answers, which is asked again where that may help.

    Raises:
        UnreadableIndexError: it says that there is nothing, or nothing now.
        OSError: it does not answer.
    """
    for attempt in range(RETRIES + 1):
        try:
            return ask()
        except Exception as caught:
            cause = caught.__cause__  # the client for HTTP calls every failure to open a file "not found"
            is_http = cause is not None and type(cause).__module__.startswith("aiohttp")
            error = cause if cause is not None and is_http else caught
            if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
                said = "forbidden" if isinstance(error, PermissionError) else "not found"
                raise UnreadableIndexError(said) from caught
            if not isinstance(error, OSError) and not storage.is_unreachable(error):
                raise
            status = getattr(error, "status", None)
            passes = status is None or status in TEMPORARY_STATUSES
            if status is not None and (not passes or attempt == RETRIES):
                said = {401: "forbidden", 403: "forbidden", 404: "not found"}.get(status, f"status {status}")
                raise UnreadableIndexError(said, temporary=passes) from caught
            if attempt == RETRIES:
                raise
        time.sleep(BACKOFF_S * 2**attempt)
    raise AssertionError("unreachable")


@contextmanager
def open_index(address: str, tally: IndexTally, *, in_parts: bool) -> Iterator["CountedFile"]:
    """Open an index file, of which parts are read, or all from its beginning on.

    Raises:
        UnreadableIndexError, OSError: as `patiently` does.
    """
    opening = storage.open_range_read if in_parts else storage.open_read
    file = CountedFile(patiently(lambda: opening(address)), tally)
    try:
        yield file
    finally:
        file.close()


class CountedFile:
    """A file open for reading that counts the bytes read from it."""

    def __init__(self, file: IO[bytes], tally: IndexTally) -> None:
        self._file = file
        self._tally = tally
        self.closed = False

    def _read(self, place: int, size: int) -> bytes:
        self._file.seek(place)  # a read that failed may have moved it
        return self._file.read(size)

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        place = self._file.tell()
        data = patiently(lambda: self._read(place, size))
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
