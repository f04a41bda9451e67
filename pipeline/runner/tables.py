"""Parquet in flat memory: rows written in groups as they come, read back in batches.

The same rows give the same bytes: groups are cut by number of rows, never by time or memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runner import storage
from pipeline.runner.records import DROPS, Drop
from pipeline.runner.stages import Counts

ROWS_PER_GROUP = 10_000
BYTES_PER_GROUP = 32 * 2**20  # of text: long documents make shorter groups


class TableWriter:
    """A Parquet file that takes one row at a time. Use it in a `with`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._file = pq.ParquetWriter(path, schema, compression="zstd")
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._text_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; it must have exactly the schema's columns."""
        assert row.keys() == self._columns.keys(), f"columns {sorted(row)} for {self.schema.names}"
        for name, value in row.items():
            self._columns[name].append(value)
        self.rows += 1
        self._text_bytes += len(row.get("text", ""))
        if len(self._columns[self.schema.names[0]]) >= ROWS_PER_GROUP or self._text_bytes >= BYTES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._columns[self.schema.names[0]]:
            self._file.write_table(pa.table(self._columns, schema=self.schema))
        self._columns = {name: [] for name in self.schema.names}
        self._text_bytes = 0


def check_unique(there: Sequence[str], wanted: Iterable[str]) -> None:
    """Check that none of these names is there more than once: nobody could say which of them is meant.

    Raises:
        ValueError: one is.
    """
    for name in wanted:
        if (number := there.count(name)) > 1:
            raise ValueError(f"{number} columns are named {name!r}")


def read_rows(address: str, columns: Sequence[str] | pa.Schema | None = None) -> Iterator[dict[str, Any]]:
    """Yield a Parquet file's rows, a batch of them in memory at a time.

    Args:
        columns: to read, by their names. A schema says of what type they must be, or become without loss.

    Raises:
        ValueError: the file is not Parquet, is cut or damaged, or one of `columns` is missing, there twice or
            of another type.
    """
    schema = columns if isinstance(columns, pa.Schema) else None
    names = schema.names if schema is not None else columns
    with storage.open_read(address) as file:
        try:
            # Reading ahead takes a buffer for each row group, and the allocator keeps more and more of them.
            table = pq.ParquetFile(file, pre_buffer=False)
            there = table.schema_arrow.names
            missing = set(names or ()) - set(there)
            if missing:
                raise ValueError(f"no column {', '.join(sorted(missing))}")
            check_unique(there, there if names is None else names)
            for batch in table.iter_batches(batch_size=1_000, columns=names):
                yield from (batch if schema is None else _cast(batch, schema)).to_pylist()
        except (pa.ArrowException, ValueError, OSError) as error:
            raise ValueError(f"cannot read {address}: {error}") from error


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of a schema in its types; the error names the column that is none of it."""
    columns = []
    for field in schema:
        try:
            column = batch[field.name].cast(field.type)
        except pa.ArrowException as error:
            raise ValueError(f"column {field.name!r}: {error}") from error
        if column.null_count and not field.nullable:
            raise ValueError(f"column {field.name!r} has rows without a value")
        columns.append(column)
    return pa.record_batch(columns, schema)


def row_count(address: str) -> int:
    """Return how many rows a Parquet file has, from its footer."""
    with storage.open_read(address) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def largest_domains(folder: Path, most: int = 100) -> dict[str, int]:
    """Return the domains with the most rows in the files of a partition's folder, the largest first.

    Of files with a text column `domain`, the first by name counts, so that no row counts twice.
    """
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if "domain" not in schema.names or schema.field("domain").type != pa.string():
                continue
            counts = Counter[str]()
            for batch in file.iter_batches(batch_size=100_000, columns=["domain"]):
                found = pc.value_counts(batch.column(0))
                counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
            return dict(counts.most_common(most))
    return {}


def read_tables(addresses: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Return several Parquet files as one table; an empty one of the schema where there are none."""
    tables = []
    for address in addresses:
        with storage.open_read(address) as file:
            # Parquet has no seconds: they come back as milliseconds
            tables.append(pq.read_table(file, columns=schema.names).cast(schema))
    return pa.concat_tables([schema.empty_table(), *tables])


class FilterWriter:
    """Two files of a partition: what is kept, and what is dropped and why. Use it in a `with`."""

    def __init__(self, folder: Path, kept: str, schema: pa.Schema) -> None:
        self._kept = TableWriter(folder / kept, schema)
        self._drops = TableWriter(folder / "drops.parquet", DROPS)
        self._dropped: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.__exit__(kind, error, trace)
        self._drops.__exit__(kind, error, trace)

    def put(self, result: Mapping[str, Any] | Drop) -> None:
        """Write a row where it belongs, and count it."""
        if isinstance(result, Drop):
            self._dropped[result.reason] = self._dropped.get(result.reason, 0) + 1
            self._drops.write({"url": result.url, "reason": result.reason, "detail": result.detail})
        else:
            self._kept.write(result)

    @property
    def counts(self) -> Counts:
        """How many rows came, stayed and went."""
        dropped = dict(sorted(self._dropped.items()))
        return Counts(self._kept.rows + sum(dropped.values()), self._kept.rows, dropped)


def counts_of(kept: int, drops: pa.Table) -> Counts:
    """Count the rows that were kept, and those of a table of drops by their reasons."""
    reasons = Counter(drops["reason"].to_pylist())
    return Counts(kept + len(drops), kept, dict(sorted(reasons.items())))
