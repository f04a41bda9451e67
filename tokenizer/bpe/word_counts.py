"""Adds up word counts in constant memory: sorted runs on disk, merged block by block."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runner import storage

COUNTS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
BYTES_IN_MEMORY = 128 * 2**20
"""Words and counts held before they go to disk; adding them up takes as much again."""
ROWS_PER_BLOCK = 2**16


class WordCounts:
    """Adds up tables of counts. What outgrows memory is sorted and written as a run.

    Args:
        folder: where runs are written. They are removed when the total has been read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._runs: list[Path] = []

    def add(self, table: pa.Table) -> None:
        """Add one more table of counts."""
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes <= BYTES_IN_MEMORY:
            return
        self._tables = [_added_up(self._tables)]
        self._bytes = self._tables[0].nbytes
        if self._bytes > BYTES_IN_MEMORY // 2:  # else words repeat so often that more fit
            self._runs.append(self._folder / f"run_{len(self._runs):04d}.parquet")
            write_counts([self._tables[0].sort_by("word")], self._runs[-1])
            self._tables, self._bytes = [], 0

    def total(self) -> Iterator[pa.Table]:
        """Yield each distinct word once, sorted by its bytes, with its count; in tables one after another."""
        last = _added_up(self._tables).sort_by("word")
        self._tables = []
        if not self._runs:
            yield last
            return
        yield from merge_sorted([iter([last]), *(read_counts(str(run)) for run in self._runs)])
        for run in self._runs:
            run.unlink()


def merge_sorted(sources: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge sorted tables of counts, read block by block, into one such sequence; equal words add up.

    One block of each source is in memory. In every round the words up to the smallest of the blocks' last
    words are complete, so they are added up and yielded; that uses up at least one block.
    """
    blocks = [block for source in sources if (block := _Block.next_of(source)) is not None]
    while len(blocks) > 1:
        complete = min(block.last for block in blocks)
        yield _added_up([block.take(complete) for block in blocks]).sort_by("word")
        following = (block if block.rows else _Block.next_of(block.source) for block in blocks)
        blocks = [block for block in following if block is not None]
    for block in blocks:  # the last source needs no merging
        yield block.take(block.last)
        yield from block.source


def read_counts(address: str) -> Iterator[pa.Table]:
    """Yield a file of counts, a block of rows at a time."""
    with storage.open_read(address) as file:
        for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_BLOCK, columns=COUNTS.names):
            yield pa.Table.from_batches([batch.cast(COUNTS)])


def write_counts(tables: Iterable[pa.Table], path: Path) -> int:
    """Write tables of counts as one file, and return its number of words."""
    rows = 0
    with pq.ParquetWriter(path, COUNTS, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            rows += len(table)
    return rows


class CountedWords:
    """The words of sorted files of counts, in an order that does not depend on the number of files.

    It can be iterated more than once. Words that occur fewer than `at_least` times are left out.
    """

    def __init__(self, addresses: Sequence[str], at_least: int = 1) -> None:
        self._addresses = addresses
        self._at_least = at_least

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        for table in merge_sorted([read_counts(address) for address in self._addresses]):
            kept = table.filter(pc.greater_equal(table["count"], self._at_least))
            yield from zip(kept["word"].to_pylist(), kept["count"].to_pylist(), strict=True)


class _Block:
    """The part of one sorted source that is in memory."""

    def __init__(self, source: Iterator[pa.Table], table: pa.Table) -> None:
        self.source = source
        self._table = table
        self.last: bytes = table["word"][-1].as_py()

    @staticmethod
    def next_of(source: Iterator[pa.Table]) -> "_Block | None":
        """Read the next rows; None at the end."""
        table = next((table for table in source if len(table)), None)
        return None if table is None else _Block(source, table)

    @property
    def rows(self) -> int:
        """How many rows are left."""
        return len(self._table)

    def take(self, last: bytes) -> pa.Table:
        """Remove and return the words up to this one."""
        rows = self.rows if self.last <= last else _rows_up_to(self._table["word"], last)
        taken, self._table = self._table.slice(0, rows), self._table.slice(rows)
        return taken


def _rows_up_to(words: pa.ChunkedArray, last: bytes) -> int:
    """Count the leading rows of a sorted column that are not above `last`, by bisection."""
    low, high = 0, len(words)
    while low < high:
        middle = (low + high) // 2
        if words[middle].as_py() <= last:
            low = middle + 1
        else:
            high = middle
    return low


def _added_up(tables: Sequence[pa.Table]) -> pa.Table:
    """Return each distinct word of some tables once, in no order."""
    whole = pa.concat_tables([COUNTS.empty_table(), *tables])
    grouped = whole.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return grouped.select(["word", "count_sum"]).rename_columns(COUNTS.names).cast(COUNTS)
