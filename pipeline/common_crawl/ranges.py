"""Ranges of bytes out of archives: neighbours in one request, many at once, again if need be."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.common_crawl.http_ranges import HttpReader
from pipeline.common_crawl.range_errors import STATUS_REASONS, UNAVAILABLE, RangeError
from pipeline.runner import storage
from pipeline.web.http_head import retry_after_s

GAP_BYTES = 64 * 1024  # between two records of one request: to read past them costs less than to ask twice
RANGE_BYTES = 2 * 2**20  # of one request, unless a single record is larger
LONGEST_WAIT_S = 120.0


class Place(NamedTuple):
    """Where a record lies; `number` is the caller's, for what it asked about."""

    file: str
    offset: int
    size_bytes: int
    number: int

    @property
    def end(self) -> int:
        return self.offset + self.size_bytes


class Request(NamedTuple):
    """A range of a file, and the records in it."""

    file: str
    begin: int
    end: int
    places: Sequence[Place]


def requests_for(places: Iterable[Place], gap: int = GAP_BYTES, most: int = RANGE_BYTES) -> Iterator[Request]:
    """Gather records that lie near each other in one file; they come sorted by file and offset."""
    gathered: list[Place] = []
    end = 0
    for place in places:
        if gathered:
            near = place.file == gathered[0].file and gathered[-1].offset <= place.offset <= end + gap
            if not near or place.end - gathered[0].offset > most:
                yield Request(gathered[0].file, gathered[0].offset, end, gathered)
                gathered = []
        end = max(end, place.end) if gathered else place.end
        gathered.append(place)
    if gathered:
        yield Request(gathered[0].file, gathered[0].offset, end, gathered)


class Reader(Protocol):
    """Reads ranges of the files of one archive."""

    async def read(self, file: str, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` to before `end`, fewer at the file's end.

        Raises:
            RangeError: they cannot be had.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


def reader_of(root: str, connections: int) -> Reader:
    """Return what reads the files of an archive at `root`: a folder, https://… or an fsspec address."""
    if root.startswith(("http://", "https://")):
        return HttpReader(root, connections)
    if storage.local_path(root) is not None:
        return _LocalReader(root)
    return _StoreReader(root)


@dataclass
class Pace:
    """Lets so many requests a second begin, evenly; 0: as many as come."""

    per_second: float
    _next: float = field(default=0.0, init=False)

    async def wait(self) -> None:
        """Wait for one's turn."""
        if not self.per_second:
            return
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now) + 1 / self.per_second
        await asyncio.sleep(self._next - 1 / self.per_second - now)


async def read_patiently(
    reader: Reader, request: Request, pace: Pace, *, retries: int, backoff_s: float
) -> bytes:
    """Read a range, again after what passes.

    Raises:
        RangeError: it cannot be had, now or at all.
    """
    attempt = 0
    while True:
        await pace.wait()
        try:
            return await reader.read(request.file, request.begin, request.end)
        except RangeError as error:
            if not error.temporary or attempt >= retries:
                raise
            wait_s = retry_after_s(error.retry_after, datetime.now(UTC))
            wait_s = backoff_s * 2**attempt if wait_s is None else wait_s
            attempt += 1
        await asyncio.sleep(min(wait_s, LONGEST_WAIT_S))


class _LocalReader:
    def __init__(self, root: str) -> None:
        path = storage.local_path(root)
        assert path is not None
        self._root = path.absolute()

    async def read(self, file: str, begin: int, end: int) -> bytes:
        return await asyncio.to_thread(self._read, file, begin, end)

    def _read(self, file: str, begin: int, end: int) -> bytes:
        path = self._root / file
        if not _is_below(path, self._root):
            raise RangeError("archive forbidden", "outside the archive's folder")
        try:
            with path.open("rb") as opened:
                opened.seek(begin)
                return opened.read(end - begin)
        except FileNotFoundError as error:
            raise RangeError(STATUS_REASONS[404], file) from error
        except OSError as error:
            raise RangeError(UNAVAILABLE, f"{type(error).__name__}: {error}", temporary=True) from error

    async def close(self) -> None:
        pass


def _is_below(path: Path, folder: Path) -> bool:
    """Say whether an index may name a file: one does not leave the folder by `..` or a link of its own."""
    return Path(path).resolve().is_relative_to(folder.resolve())


class _StoreReader:
    """An object store, by its fsspec client."""

    def __init__(self, root: str) -> None:
        self._filesystem, self._path = storage.locate(root)

    async def read(self, file: str, begin: int, end: int) -> bytes:
        path = storage.join(self._path, file)
        try:
            found: Any = await asyncio.to_thread(self._filesystem.cat_file, path, start=begin, end=end)
        except FileNotFoundError as error:
            raise RangeError(STATUS_REASONS[404], file) from error
        except PermissionError as error:
            raise RangeError(STATUS_REASONS[403], file) from error
        except Exception as error:
            if not isinstance(error, OSError) and not storage.is_unreachable(error):
                raise
            outside = "InvalidRange" in str(error) or "range is not satisfiable" in str(error)
            if outside:
                raise RangeError(STATUS_REASONS[416], str(error)) from error
            raise RangeError(UNAVAILABLE, f"{type(error).__name__}: {error}", temporary=True) from error
        return bytes(found)

    async def close(self) -> None:
        pass
