"""An index in Parquet: Common Crawl's table, or one of one's own with its columns.

Row groups in whose range of SURTs nothing is looked for are not read. Of the others the SURTs are read, and
the rest of the columns only where one of them may match.
"""

import io
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.common_crawl.captures import CAPTURE_COLUMNS
from pipeline.common_crawl.index_batch import (
    CountedFile,
    IndexBatch,
    IndexTally,
    Rows,
    UnreadableIndexError,
    open_index,
)
from pipeline.common_crawl.sought import Sought, bounds_of
from pipeline.runner.records import UTC_SECONDS
from pipeline.runner.tables import check_unique

ROWS_PER_BATCH = 262_144
NEEDED = ("url", "fetch_time", "fetch_status", "warc_filename", "warc_record_offset", "warc_record_length")
REPEATED = ["content_mime_type", "content_mime_detected", "content_languages", "warc_filename"]
"""Columns with few values, which are read as such."""


def read_parquet(address: str, sought: Sought, tally: IndexTally) -> Iterator[IndexBatch]:
    """Yield the rows of a file whose SURTs may be looked for; take note of what was read.

    Raises:
        UnreadableIndexError: it is no Parquet, is damaged, or lacks a column or has it twice.
        OSError: its store does not answer.
    """
    try:
        with open_index(address, tally, in_parts=True) as file:
            tally.bytes += file.seek(0, io.SEEK_END)
            yield from _batches(_open(file), sought, tally)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError) as error:
        raise UnreadableIndexError(str(error)) from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # Arrow's word for data that make no sense
            raise UnreadableIndexError(str(error)) from error
        raise


def _open(file: CountedFile) -> pq.ParquetFile:
    source = pa.PythonFile(file, mode="r")
    metadata = pq.ParquetFile(source).metadata
    repeated = [name for name in REPEATED if name in metadata.schema.names]
    return pq.ParquetFile(source, metadata=metadata, read_dictionary=repeated)


def _batches(parquet: pq.ParquetFile, sought: Sought, tally: IndexTally) -> Iterator[IndexBatch]:
    columns = _columns(parquet)
    place = parquet.schema_arrow.get_field_index("url_surtkey")
    tally.rows += parquet.metadata.num_rows
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        tally.groups += 1
        if not group.num_rows or not sought.has_any(*bounds_of(group.column(place))):
            continue
        tally.groups_read += 1
        tally.rows_looked_at += group.num_rows
        rest = _Rest(parquet, number, columns)
        surts = _columns_in_batches(parquet, number, ["url_surtkey"])
        for place_in_group, batch in enumerate(surts):
            surt = batch.column(0)
            surt = surt.cast(pa.string()) if surt.type != pa.string() else surt
            if surt.null_count:
                surt = surt.fill_null("")
            yield IndexBatch(surt, rest.loader(place_in_group))


def _columns_in_batches(parquet: pq.ParquetFile, number: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Read some columns of a row group, in one thread: a task has one core."""
    found: Iterator[pa.RecordBatch] = parquet.iter_batches(
        ROWS_PER_BATCH, row_groups=[number], columns=names, use_threads=False
    )
    return found


def _columns(parquet: pq.ParquetFile) -> list[str]:
    names = parquet.schema_arrow.names
    missing = [name for name in ("url_surtkey", *NEEDED) if name not in names]
    if missing:
        raise UnreadableIndexError(f"no column {', '.join(missing)}")
    try:
        check_unique(names, ("url_surtkey", *CAPTURE_COLUMNS))
    except ValueError as error:
        raise UnreadableIndexError(str(error)) from error
    return [name for name in CAPTURE_COLUMNS if name in names]


class _Rest:
    """The other columns of a row group, read as far as they are asked for."""

    def __init__(self, parquet: pq.ParquetFile, number: int, columns: list[str]) -> None:
        self._parquet, self._number, self._columns = parquet, number, columns
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._place = -1
        self._batch: pa.RecordBatch | None = None

    def loader(self, place: int) -> Callable[[Rows], pa.Table]:
        """Return a function that gives some rows of the batch at this place."""
        return lambda rows: self._rows(place, rows)

    def _rows(self, place: int, rows: Rows) -> pa.Table:
        if self._batches is None:
            self._batches = _columns_in_batches(self._parquet, self._number, self._columns)
        while self._place < place:
            self._batch = next(self._batches)
            self._place += 1
        assert self._batch is not None and self._place == place
        return as_captures(pa.Table.from_batches([self._batch.take(pa.array(rows))]))


def as_captures(table: pa.Table) -> pa.Table:
    """Bring columns to the types of `CAPTURE_COLUMNS`; what is not there is null."""
    columns = {}
    for name, kind in CAPTURE_COLUMNS.items():
        if name not in table.column_names:
            columns[name] = pa.nulls(len(table), kind)
            continue
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
        # Fractions of a second are cut; Spark has written nanoseconds.
        columns[name] = column.cast(kind, safe=kind != UTC_SECONDS)
    return pa.table(columns)
