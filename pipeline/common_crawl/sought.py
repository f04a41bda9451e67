"""The addresses that are looked for, sorted by SURT as the indexes are: files read as one, in slices."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.common_crawl.surt import around, surt_of
from pipeline.runner import storage
from pipeline.runner.records import UTC_SECONDS

SOUGHT = pa.schema(
    [
        ("surt", pa.string()),
        ("key", pa.string()),  # of the address that is looked for: the link's, or that of its last redirect
        ("link", pa.string()),  # canonical address of the link
        ("first_seen", UTC_SECONDS),
    ]
)
SOUGHT_FILE = "sought.parquet"
ROWS_PER_GROUP = 4_000
ROWS_PER_SLICE = 100_000  # about 20 MB
ROWS_KEPT = 100_000  # of row groups read lately
LONGEST_SURT = 3_000  # bytes
LONGEST_STEM = 1_000  # characters of a SURT whose beginnings may be links
ANYTHING = chr(0x10FFFF)  # sorts behind every SURT


def sought_table(links: pa.Table) -> pa.Table:
    """Return what to look for (`SOUGHT`) of links on their way (`ROUTED`), sorted by SURT.

    An address too long for Parquet's statistics is left out; no crawler of the web takes such.
    """
    at = [hops[-1] if hops else url for url, hops in _columns(links, "url", "hops")]
    keys = [url.partition("://")[2] for url in at]
    columns = {
        "surt": pa.array(map(surt_of, keys), pa.string()),
        "key": pa.array(keys, pa.string()),
        "link": links["url"],
        "first_seen": links["first_seen"],
    }
    table = pa.table(columns, schema=SOUGHT)
    table = table.filter(pc.less_equal(pc.binary_length(table["surt"]), LONGEST_SURT))
    return table.sort_by([("surt", "ascending"), ("link", "ascending")])


def _columns(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


@dataclass(frozen=True)
class Slice:
    """Some of the addresses, sorted by SURT, and which file each is from: all whose SURT is in its range."""

    table: pa.Table  # SOUGHT, and `bucket`
    low: str
    high: str

    def cut(self, low: str, high: str) -> "Slice":
        """Return the part whose SURTs are `low` to `high`."""
        surts = self.table["surt"].combine_chunks()
        first = pc.search_sorted(surts, pa.scalar(low), side="left").as_py()
        end = pc.search_sorted(surts, pa.scalar(high), side="right").as_py()
        return Slice(self.table.slice(first, max(0, end - first)), low, high)


@dataclass(frozen=True)
class _Group:
    """A row group of one of the files, by its statistics."""

    low: str
    high: str
    rows: int
    bucket: int
    number: int


class Sought:
    """Files of `SOUGHT`, each sorted; the place of a file among them is its bucket."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._metadata = []
        self._files: list[list[_Group]] = []  # of each file, in its order
        self._kept: OrderedDict[_Group, pa.Table] = OrderedDict()
        self._kept_rows = 0
        self._last: Slice | None = None
        for bucket, address in enumerate(addresses):
            with storage.open_read(address) as file:
                metadata = pq.ParquetFile(file).metadata
            self._metadata.append(metadata)
            groups = []
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                low, high = bounds_of(group.column(0))
                groups.append(_Group(low, high, group.num_rows, bucket, number))
            self._files.append(groups)

    def has_any(self, low: str, high: str) -> bool:
        """Say whether an index's rows of `low` to `high` may be captures of anything that is looked for."""
        return any(True for _ in self.candidates(low, high))

    def candidates(self, low: str, high: str) -> Iterator[Slice]:
        """Yield what an index's rows with SURTs of `low` to `high` may be captures of, a slice at a time.

        That is what has such a SURT, or one with fewer parameters or no session: see `around`. In the order
        of SURTs many rows may lie between that of a link and one that has a parameter more (`/a`, `/a/1` …,
        `/a?utm_source=x`); so whatever the least SURT begins with may be a link as well.
        """
        low_link, high_link = around(low, high)
        yield from self.slices(low_link, high_link)
        begins = [low_link[:end] for end in range(low_link.find(")") + 1, min(len(low_link), LONGEST_STEM))]
        if not begins:
            return
        near = [group for groups in self._files for group in _at(groups, begins[0], begins[-1])]
        near = [group for group in near if _has_one(begins, group.low, group.high)]
        if not near:
            return
        ordered = sorted(near, key=lambda group: (group.low, group.bucket))
        wanted = pa.array(begins, pa.string())
        parts = [table.filter(pc.is_in(table["surt"], wanted)) for table in map(self._read, ordered)]
        found = _sorted(parts)
        if len(found):
            yield Slice(found, found["surt"][0].as_py(), found["surt"][-1].as_py())

    def slices(self, low: str, high: str) -> Iterator[Slice]:
        """Yield what has a SURT of `low` to `high`, `ROWS_PER_SLICE` rows at a time, in ascending order."""
        last = self._last
        if last is not None and last.low <= low and high <= last.high:
            found = last.cut(low, high)
            if len(found.table):
                yield found
            return
        groups = [group for groups in self._files for group in _at(groups, low, high)]
        groups.sort(key=lambda group: (group.low, group.bucket))
        if (
            sum(group.rows for group in groups) <= ROWS_PER_SLICE
        ):  # what is asked for next lies within, mostly
            parts = [Slice(self._read(group), low, high).cut(low, high).table for group in groups]
            self._last = Slice(_sorted(parts), low, high)
            yield from self.slices(low, high)
            return
        yield from self._long(groups, low, high)

    def _long(self, groups: Sequence[_Group], low: str, high: str) -> Iterator[Slice]:
        waiting, size = _sorted([]), 0
        parts = [waiting]
        for group, after in zip(groups, [*groups[1:], None], strict=True):
            parts.append(self._read(group))
            size += group.rows
            if after is not None and size < ROWS_PER_SLICE:
                continue
            found = Slice(_sorted([waiting, *parts]), low, high).cut(low, high).table
            end = len(found)
            if after is not None:  # what lies below the next group's beginning is complete
                end = pc.search_sorted(found["surt"].combine_chunks(), pa.scalar(after.low)).as_py()
            waiting, parts, size = found.slice(end), [], len(found) - end
            if end:
                yield Slice(found.slice(0, end), low, high)

    def _read(self, group: _Group) -> pa.Table:
        """Read a row group; those read lately are kept, for the next row group of an index wants them too."""
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        with storage.open_read(self._addresses[group.bucket]) as file:
            parquet = pq.ParquetFile(file, metadata=self._metadata[group.bucket])
            table = parquet.read_row_group(group.number).cast(SOUGHT)
        bucket = pa.array(np.full(len(table), group.bucket, np.int32))
        self._kept[group] = table = table.append_column("bucket", bucket)
        self._kept_rows += group.rows
        while self._kept_rows > ROWS_KEPT and len(self._kept) > 1:
            oldest, _ = self._kept.popitem(last=False)
            self._kept_rows -= oldest.rows
        return table


def _at(groups: Sequence[_Group], low: str, high: str) -> Sequence[_Group]:
    """Return the groups of a file in which something with a SURT of `low` to `high` may be."""
    first = bisect_left(groups, low, key=lambda group: group.high)
    end = bisect_right(groups, high, lo=first, key=lambda group: group.low)
    return groups[first:end]


def _has_one(ordered: Sequence[str], low: str, high: str) -> bool:
    """Say whether one of some strings in order lies from `low` to `high`."""
    return bisect_left(ordered, low) < bisect_right(ordered, high)


def bounds_of(column: pq.ColumnChunkMetaData) -> tuple[str, str]:
    """Return the least and the greatest string in a column chunk; any, where the file names none."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return "", ANYTHING
    try:
        low, high = statistics.min, statistics.max
        return (low.decode(), high.decode()) if isinstance(low, bytes) else (low, high)
    except UnicodeDecodeError:
        return "", ANYTHING


def _sorted(parts: Sequence[pa.Table]) -> pa.Table:
    empty = SOUGHT.append(pa.field("bucket", pa.int32())).empty_table()
    table = pa.concat_tables([empty, *parts])
    return table.sort_by([("surt", "ascending"), ("link", "ascending")]).combine_chunks()
