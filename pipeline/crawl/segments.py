"""A crawl on disk: WARC files and their fetch logs, committed in segments that a kill cannot spoil.

A segment is `NAME.warc.gz` with `NAME.parquet`, one row a link. While it grows it is
`.NAME.warc.gz.partial` beside a journal, `.NAME.jsonl.partial`, with the rows so far; each row says
where the WARC ended once its page was in it. To commit is to rename the WARC, then the log made from
the journal, then to delete the journal. So a journal marks a segment whose commit did not finish, and
finishing it is the same work as committing: cut the WARC after the last row that is whole in both.
"""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline.runner import storage
from pipeline.runner.records import FETCHES, ROUTED
from pipeline.web.http_head import Response
from pipeline.web.warc import response_record, warcinfo_record

MAX_ROWS = 100_000
FIRST_S = 15.0  # age at which a crawl's first segment is committed; each later one may be twice as old
ROWS_AT_ONCE = 5_000  # of a log, in memory
FINGERPRINT_KEY = b"outbound.crawl_options"

LOG = FETCHES.append(ROUTED.field("carried"))
"""A fetch log; of a link that goes on in another crawl, what that one needs to know."""

Row = Mapping[str, Any]
"""One row of `LOG`, less `archive` and `offset`, which the segment knows."""


class SegmentOptions(Protocol):
    """When a segment is full, and what decides which links get a page."""

    @property
    def warc_bytes(self) -> int: ...
    @property
    def segment_s(self) -> float: ...
    def fingerprint(self) -> str: ...


class SegmentWriter:
    """Appends pages and rows to the current segment, and commits it when it is full or closed."""

    def __init__(self, folder: Path, options: SegmentOptions, warc_fields: Sequence[tuple[str, str]]) -> None:
        self._folder = folder
        self._options = options
        self._warc_fields = warc_fields
        self._number = self._committed = 0
        self._token = secrets.token_hex(4)
        self._segment: _Segment | None = None

    def add(self, row: Row, responses: Sequence[Response] = ()) -> None:
        """Append a link's row, and its redirects with, last, its page, unless the row says it has none."""
        self.add_records(row, [response_record(response) for response in responses])

    def add_records(self, row: Row, records: Sequence[bytes]) -> None:
        """Append a link's row and records that are gzip members already, the page's last."""
        if self._segment is None:
            self._segment = self._open()
        self._segment.add(row, records)
        if self._segment.position >= self._options.warc_bytes or self._segment.rows >= MAX_ROWS:
            self.close()

    def flush(self) -> None:
        """Hand what was added to the operating system, so that a kill cannot lose it; commit what is old."""
        if self._segment is None:
            return
        # The first ones are committed early, so that what comes after a crawl need not wait for it.
        oldest_s = min(self._options.segment_s, FIRST_S * 2.0 ** min(self._committed, 60))
        if time.monotonic() - self._segment.opened_at >= oldest_s:
            self.close()
        else:
            self._segment.flush()

    def close(self) -> None:
        """Commit the current segment, if there is one."""
        if self._segment is not None:
            self._segment.close()
            _commit(self._folder, self._segment.name)
            self._segment = None
            self._committed += 1

    def abandon(self) -> None:
        """Let go of the current segment as a kill would: what was flushed is finished next time."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _open(self) -> "_Segment":
        started = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        while True:
            place = f"outbound-{started}-{self._number:05d}"  # sorts the segments of a folder by age
            # Indexes of archives name files without their folders, and crawls begin at once.
            name = f"{place}-{self._token}"
            self._number += 1
            if not any(self._folder.glob(f"{place}*.parquet")):
                opening = warcinfo_record(f"{name}.warc.gz", self._warc_fields)
                return _Segment(self._folder, name, self._options.fingerprint(), opening)


class _Segment:
    """The files of one segment that is being written."""

    def __init__(self, folder: Path, name: str, fingerprint: str, opening: bytes) -> None:
        self.name = name
        self._archive = f"{name}.warc.gz"
        self.rows = 0
        self.position = 0
        self.opened_at = time.monotonic()
        self._warc = _partial_warc(folder, name).open("wb")
        self._journal = _journal(folder, name).open("wb")
        self._append([opening])
        self._note({"fingerprint": fingerprint, "end": self.position})
        self.flush()

    def add(self, row: Row, members: Sequence[bytes]) -> None:
        offset = self._append(members)
        archive, offset = ("", 0) if row["reason"] else (self._archive, offset)
        self._note({**row, "archive": archive, "offset": offset, "end": self.position})
        self.rows += 1

    def flush(self) -> None:
        self._warc.flush()  # first: the journal must never speak of what is not there
        self._journal.flush()

    def close(self) -> None:
        self._warc.close()
        self._journal.close()

    def _append(self, members: Sequence[bytes]) -> int:
        offset = 0
        for member in members:
            offset = self.position
            self._warc.write(member)
            self.position += len(member)
        return offset

    def _note(self, row: Row) -> None:
        self._journal.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _partial_warc(folder: Path, name: str) -> Path:
    return folder / f".{name}.warc.gz.partial"


def _journal(folder: Path, name: str) -> Path:
    return folder / f".{name}.jsonl.partial"


def finish_interrupted(folder: Path) -> None:
    """Commit what killed crawls left in a folder, as far as it is whole."""
    for journal in sorted(folder.glob(".*.jsonl.partial")):
        _commit(folder, journal.name.removeprefix(".").removesuffix(".jsonl.partial"))
    for leftover in folder.glob(".*.partial"):
        leftover.unlink()


def _commit(folder: Path, name: str) -> None:
    journal, log = _journal(folder, name), folder / f"{name}.parquet"
    if not log.exists():
        partial, warc = _partial_warc(folder, name), folder / f"{name}.warc.gz"
        written = partial if partial.exists() else warc
        unnamed_log = folder / f".{name}.parquet.partial"
        end = _write_log(unnamed_log, journal, written.stat().st_size if written.exists() else 0)
        if end:
            _cut_and_sync(written, end)
            written.rename(warc)
            unnamed_log.rename(log)
        else:
            written.unlink(missing_ok=True)
            unnamed_log.unlink(missing_ok=True)
    journal.unlink()


def _write_log(log: Path, journal: Path, warc_bytes: int) -> int:
    """Yield the first line of a journal, then each row that is whole, with its page whole in the WARC."""
    end = 0
    rows = _whole_rows(journal, warc_bytes)
    opening = next(rows, {"fingerprint": ""})
    schema = LOG.with_metadata({FINGERPRINT_KEY: opening["fingerprint"].encode()})
    with pq.ParquetWriter(log, schema, compression="zstd") as writer:
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            end = batch[-1]["end"]
            found = pa.array(batch, pa.struct(list(LOG)))
            writer.write_batch(pa.RecordBatch.from_struct_array(found).cast(schema))
    with log.open("rb") as file:
        os.fsync(file.fileno())
    return end


def _whole_rows(journal: Path, warc_bytes: int) -> Iterator[dict[str, Any]]:
    """Yield the journal's first line, then each row that is whole and whose page is whole in the WARC."""
    with journal.open("rb") as lines:
        for line in lines:
            try:
                row: dict[str, Any] = orjson.loads(line)
            except orjson.JSONDecodeError:
                return
            if row["end"] > warc_bytes or not line.endswith(b"\n"):
                return
            yield row


def _cut_and_sync(path: Path, size_bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size_bytes)
        os.fsync(file.fileno())


def committed_logs(folder: Path) -> list[Path]:
    """Return the fetch logs of a folder's committed segments, oldest first."""
    return sorted(folder.glob("outbound-*.parquet"))


def fetch_log(folder: str | Path) -> pa.Table:
    """Return the fetch log of a crawl, one row a link: its page, or its last failure; sorted by address."""
    # A log of an earlier version lacks the columns that are new.
    tables = [pq.read_table(log, schema=LOG) for log in committed_logs(Path(folder))]
    table = pa.concat_tables(tables) if tables else LOG.empty_table()
    has_page = pc.equal(table["reason"], "")
    age = pa.array(np.arange(table.num_rows))
    ranked = table.append_column("has_page", has_page).append_column("age", age)
    ranked = ranked.sort_by([("url", "ascending"), ("has_page", "descending"), ("age", "descending")])
    urls = ranked["url"].combine_chunks()
    first = np.ones(len(urls), dtype=bool)
    if len(urls):
        first[1:] = pc.not_equal(urls[1:], urls[:-1]).to_numpy(zero_copy_only=False)
    return ranked.filter(pa.array(first)).select(LOG.names)


class FinishedLinks:
    """The links that need no fetching: those with a page, and those that failed under the same options.

    Eight bytes a link: the chance that any of a million links is taken for another is below 10⁻⁷.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        hashes = [np.empty(0, dtype=np.uint64)]
        for log in committed_logs(folder):
            table = pq.read_table(log, columns=["url", "reason"])
            same = (table.schema.metadata or {}).get(FINGERPRINT_KEY) == fingerprint.encode()
            if not same:
                table = table.filter(pc.equal(table["reason"], ""))
            urls = table["url"].to_pylist()
            hashes.append(np.array([xxhash.xxh3_64_intdigest(url.encode()) for url in urls], dtype=np.uint64))
        self._hashes = np.unique(np.concatenate(hashes))

    def __contains__(self, url: str) -> bool:
        wanted = np.uint64(xxhash.xxh3_64_intdigest(url.encode()))
        position = np.searchsorted(self._hashes, wanted)
        return bool(position < len(self._hashes) and self._hashes[position] == wanted)

    def __len__(self) -> int:
        """Return how many links are finished."""
        return len(self._hashes)


@contextlib.contextmanager
def local_store(store: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give the local folder of a crawl, and a function that takes its committed segments to the store.

    On a local disk the store is that folder. An object store gets each segment when it is committed, the
    fetch log after its archive; its logs are fetched first, so that the crawl knows what is there.
    """
    local = storage.local_path(store)
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        yield local, lambda: None
        return
    filesystem, path = storage.locate(store)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        there = {address.rsplit("/", 1)[-1] for address in storage.list_files(store)}
        for log in there:
            if log.endswith(".parquet"):
                filesystem.get_file(f"{path}/{log}", str(folder / log))

        def push() -> None:
            for log in sorted(folder.glob("*.parquet")):
                for file in (log.with_suffix(".warc.gz"), log):
                    if file.exists() and file.name not in there:
                        filesystem.put_file(str(file), f"{path}/{file.name}")
                        there.add(file.name)

        yield folder, push
