"""Numbers by key, added up in constant memory: sorted runs on disk, merged block by block.

A table of such numbers has the key (bytes) as its first column, and each other one is a sum: the counts of a
word, or the documents and words of a domain.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runner import storage

BYTES_IN_MEMORY = 128 * 2**20
"""Keys and numbers held before they go to disk; adding them up takes as much again."""
ROWS_PER_BLOCK = 2**16


class Sums:
    """Adds up tables of numbers. What outgrows memory is sorted and written as a run.

    Args:
        folder: where runs are written. They are removed when the total has been read.
        schema: of the tables: a key, and sums.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._runs: list[Path] = []
        self._name = uuid.uuid4().hex  # others may have the same folder

    def add(self, table: pa.Table) -> None:
        """Add one more table; a key may be in it more than once."""
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes <= BYTES_IN_MEMORY:
            return
        self._tables = [self._added_up()]
        self._bytes = self._tables[0].nbytes
        if self._bytes > BYTES_IN_MEMORY // 2:  # else keys repeat so often that more fit
            self._runs.append(self._folder / f"run_{self._name}_{len(self._runs):04d}.parquet")
            write_sums([_in_order(self._tables[0])], self._runs[-1], self._schema)
            self._tables, self._bytes = [], 0

    def total(self) -> Iterator[pa.Table]:
        """Yield each distinct key once, sorted by its bytes, with its sums; in tables one after another."""
        last = _in_order(self._added_up())
        self._tables = []
        if not self._runs:
            yield last
            return
        yield from merge_sorted([iter([last]), *(read_sums(str(run), self._schema) for run in self._runs)])
        for run in self._runs:
            run.unlink()

    def _added_up(self) -> pa.Table:
        return _added_up([self._schema.empty_table(), *self._tables])


def merge_sorted(sources: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge sorted tables of sums, read block by block, into one such sequence; equal keys add up.

    One block of each source is in memory. In every round the keys up to the smallest of the blocks' last
    keys are complete, so they are added up and yielded; that uses up at least one block.
    """
    blocks = [block for source in sources if (block := _Block.next_of(source)) is not None]
    while len(blocks) > 1:
        complete = min(block.last for block in blocks)
        yield _in_order(_added_up([block.take(complete) for block in blocks]))
        following = (block if block.rows else _Block.next_of(block.source) for block in blocks)
        blocks = [block for block in following if block is not None]
    for block in blocks:  # the last source needs no merging
        yield block.take(block.last)
        yield from block.source


def read_sums(address: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield a file of sums, a block of rows at a time."""
    with storage.open_read(address) as file:
        for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_BLOCK, columns=schema.names):
            yield pa.Table.from_batches([batch.cast(schema)])


def write_sums(tables: Iterable[pa.Table], path: Path, schema: pa.Schema) -> int:
    """Write tables of sums as one file, and return its number of keys."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            rows += len(table)
    return rows


class _Block:
    """The part of one sorted source that is in memory."""

    def __init__(self, source: Iterator[pa.Table], table: pa.Table) -> None:
        self.source = source
        self._table = table
        self.last: bytes = table[0][-1].as_py()

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
        """Remove and return the keys up to this one."""
        rows = self.rows if self.last <= last else _rows_up_to(self._table[0], last)
        taken, self._table = self._table.slice(0, rows), self._table.slice(rows)
        return taken


def _rows_up_to(keys: pa.ChunkedArray, last: bytes) -> int:
    """Count the leading rows of a sorted column that are not above `last`, by bisection."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle].as_py() <= last:
            low = middle + 1
        else:
            high = middle
    return low


def _in_order(table: pa.Table) -> pa.Table:
    return table.sort_by(table.schema.names[0])


def _added_up(tables: Sequence[pa.Table]) -> pa.Table:
    """Return each distinct key of some tables (at least one) once, in no order."""
    schema = tables[0].schema
    key, *numbers = schema.names
    grouped = pa.concat_tables(tables).group_by(key, use_threads=False)
    summed = grouped.aggregate([(name, "sum") for name in numbers])
    return (
        summed.select([key, *(f"{name}_sum" for name in numbers)]).rename_columns(schema.names).cast(schema)
    )
