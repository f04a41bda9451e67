"""Extraction that begins while pages are still being fetched: of each WARC file, as soon as it is committed.

What comes of a page depends on nothing but the page and the options. So results can be made early, a few
hundred pages at a time, and the extracting stage takes those that are there and makes the others itself. Its
output is the same either way.
"""

import contextlib
import hashlib
import json
import re
import sqlite3
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipeline.extract.extraction import Extraction
from pipeline.extract.pages import FAILED, TIMED_OUT, PageExtractor, PageOptions
from pipeline.runner import storage
from pipeline.runner.drops import Drop
from pipeline.runner.names import file_name
from pipeline.runner.stages import SideTask
from pipeline.runner.tables import read_rows
from pipeline.web.warc import read_coded_page

PAGES_A_TASK: Final = 1_000
LEAST_PAGES: Final = 50  # that are worth the second or two in which a task gets ready
LOCAL_S: Final = 3.0  # between two looks for files that are new
REMOTE_S: Final = 30.0
_RESULTS: Final = "results.sqlite"
_COLUMNS: Final = ("reason", "detail", "text", "title", "date", "canonical")


def early_folder(place: str, options: PageOptions, version: Mapping[str, int | str]) -> str:
    """Return where results lie that were made with these options, for this version of the stage's output."""
    deciding = json.dumps([asdict(options), version], sort_keys=True)
    return storage.join(place, hashlib.sha256(deciding.encode()).hexdigest()[:16])


class EarlyExtraction:
    """Finds the WARC files that the tasks of a fetching stage have committed, and makes tasks of them.

    Args:
        store: the folder of the stage's stores, in which each partition has one.
        folder: where the results go.
        options: how to extract.
    """

    def __init__(self, store: str, folder: str, options: PageOptions) -> None:
        self._store, self._folder, self._options = store, folder, options
        self._every_s = REMOTE_S if storage.local_path(store) is None else LOCAL_S
        self._looked_at = -self._every_s
        self._logs = set[str]()  # those whose tasks are made
        self._there: set[str] | None = None
        self._waiting = deque[SideTask]()

    def next_task(self, partitions: Collection[str]) -> SideTask | None:
        """Return work that can be done now for one of the partitions, or None."""
        if not self._waiting and time.monotonic() - self._looked_at >= self._every_s:
            self._look(partitions)
            self._looked_at = time.monotonic()
        return self._waiting.popleft() if self._waiting else None

    def _look(self, partitions: Collection[str]) -> None:
        if self._there is None:  # of a run that was killed
            self._there = _whole_parts(self._folder)
        for partition in sorted(partitions):
            for log in storage.list_files(storage.join(self._store, partition), ".parquet"):
                if log in self._logs:
                    continue
                self._logs.add(log)
                archive = log.removesuffix(".parquet") + ".warc.gz"
                rows = read_rows(log, ["reason", "offset"])
                offsets = sorted(row["offset"] for row in rows if not row["reason"])
                for start in range(0, len(offsets), PAGES_A_TASK):
                    part = offsets[start : start + PAGES_A_TASK]
                    name = _name(archive, part)
                    if name not in self._there and len(part) >= LEAST_PAGES:
                        place = storage.join(self._folder, name)
                        self._waiting.append(SideTask(extract_early, (archive, part, place, self._options)))


def _name(archive: str, offsets: Sequence[int]) -> str:
    return f"{file_name(archive).removesuffix('.warc.gz')}-{offsets[0]}-{offsets[-1]}"


def _whole_parts(folder: str) -> set[str]:
    """Return the names of the parts that are there; a kill leaves unfinished ones, under other names."""
    names = {name.partition("/")[0] for name in storage.file_sizes(folder)}
    return {name for name in names if re.fullmatch(r".+-\d+-\d+", name)}


def extract_early(archive: str, offsets: Sequence[int], folder: str, options: PageOptions) -> None:
    """Extract the pages at these offsets of a WARC file, and write what comes of them.

    What fails here is tried again by the stage.
    """
    with (
        PageExtractor(options) as extractor,
        storage.open_read(archive) as file,
        storage.new_folder(folder) as local,
        contextlib.closing(sqlite3.connect(local / _RESULTS)) as results,
    ):
        results.execute(f"CREATE TABLE results (offset INTEGER PRIMARY KEY, {', '.join(_COLUMNS)})")
        pages = ((str(offset), read_coded_page(file, offset)) for offset in offsets)
        for offset, found in extractor.extract(pages):
            if isinstance(found, Drop) and found.reason in (TIMED_OUT, FAILED):
                continue
            values = asdict(found) if isinstance(found, Extraction) else _of_drop(found)
            row = (int(offset), *(values.get(name) for name in _COLUMNS))
            results.execute(f"INSERT INTO results VALUES ({', '.join('?' * len(row))})", row)
        results.commit()


def _of_drop(drop: Drop) -> dict[str, str]:
    return {"reason": drop.reason, "detail": drop.detail}


class EarlyResults:
    """What was extracted early, by WARC file and offset. Use it in a `with`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._parts = defaultdict[str, list[tuple[int, int, str]]](list)  # first and last offset, and name
        for name in _whole_parts(folder):
            stem, first, last = name.rsplit("-", 2)
            self._parts[stem].append((int(first), int(last), name))
        for parts in self._parts.values():
            parts.sort()

    def __enter__(self) -> "EarlyResults":
        self._stack = contextlib.ExitStack()
        self._copies = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, archive: str, offsets: Sequence[int]) -> Iterator[tuple[int, Extraction | Drop]]:
        """Yield what is known of the pages at these offsets of a WARC file; of a damaged result, nothing."""
        parts = self._parts.get(file_name(archive).removesuffix(".warc.gz"), [])
        asked = defaultdict[str, list[int]](list)
        for offset in offsets:
            place = bisect_right(parts, (offset, float("inf"), "")) - 1
            if place >= 0 and offset <= parts[place][1]:
                asked[parts[place][2]].append(offset)
        for name, there in asked.items():
            with contextlib.suppress(sqlite3.Error):
                yield from self._read(name, there)

    def _read(self, name: str, offsets: Sequence[int]) -> Iterator[tuple[int, Extraction | Drop]]:
        # Opened anew each time: a partition may have hundreds of these files.
        address = f"file:{self._local(name)}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as results:
            query = f"SELECT {', '.join(_COLUMNS)} FROM results WHERE offset = ?"
            for offset in offsets:
                for row in results.execute(query, (offset,)):
                    yield offset, _result(dict(zip(_COLUMNS, row, strict=True)))

    def _local(self, name: str) -> Path:
        address = storage.join(self._folder, name, _RESULTS)
        local = storage.local_path(address)
        if local is not None:
            return local
        copy = self._copies / f"{name}.sqlite"
        if not copy.exists():
            filesystem, path = storage.locate(address)
            filesystem.get_file(path, str(copy))
        return copy


def _result(row: dict[str, Any]) -> Extraction | Drop:
    if row["reason"] is not None:
        return Drop(row["reason"], detail=row["detail"])
    return Extraction(row["text"], row["title"], row["date"], row["canonical"])
