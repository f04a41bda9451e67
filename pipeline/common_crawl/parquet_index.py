"""An index in Parquet: Common Crawl's table, or one of one's own with its columns.

Row groups in whose range of SURTs nothing is looked for are not read. Of the others the SURTs are read, and
the rest of the columns only where one of them may match.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest

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
from pipeline.common_crawl.unpacked_strings import unpacked_column
from pipeline.runner.records import UTC_SECONDS
from pipeline.runner.tables import check_unique

ROWS_PER_BATCH = 262_144
NEEDED = ("url", "fetch_time", "fetch_status", "warc_filename", "warc_record_offset", "warc_record_length")
REPEATED = ["content_mime_type", "content_mime_detected", "content_languages", "warc_filename"]
"""Columns with few values, which are read as such."""
TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
LONG = ("url_surtkey", "url", "content_digest")
"""Columns that are most of an index: to unpack them is nearly all that reading it costs."""


def read_parquet(address: str, sought: Sought, tally: IndexTally) -> Iterator[IndexBatch]:
    """Yield the rows of a file whose SURTs may be looked for; take note of what was read.

    Raises:
        UnreadableIndexError: it is no Parquet, is damaged, or lacks a column or has it twice.
        OSError: its store does not answer.
    """
    tally.files += 1
    with _plainly(), open_index(address, tally, in_parts=True) as file:
        tally.bytes += file.seek(0, io.SEEK_END)
        yield from _batches(file, _open(file), sought, tally)


@contextmanager
def _plainly() -> Iterator[None]:
    """Say of what Arrow cannot read that it is unreadable."""
    try:
        yield
    except (pa.ArrowException, UnicodeError) as error:
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


def _batches(
    file: CountedFile, parquet: pq.ParquetFile, sought: Sought, tally: IndexTally
) -> Iterator[IndexBatch]:
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
        rest = _Rest(partial(_in_batches, file, parquet, number, columns))
        surts = _in_batches(file, parquet, number, ["url_surtkey"])
        for place_in_group, batch in enumerate(surts):
            surt = batch.column(0)
            surt = surt if surt.type == pa.string() else _text(surt)
            if surt.null_count:
                surt = surt.fill_null("")
            yield IndexBatch(surt, rest.loader(place_in_group))


def _in_batches(
    file: CountedFile, parquet: pq.ParquetFile, number: int, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a row group, read in one thread: a task has one core."""
    readers = []
    for name in LONG:
        content = unpacked_column(file, parquet, number, name) if name in names else None
        if content is not None:
            reader = pq.ParquetFile(pa.BufferReader(content))
            readers.append((reader.iter_batches(ROWS_PER_BATCH, use_threads=False), [name]))
    others = [name for name in names if not any(name in read for _, read in readers)]
    if others:
        batches = parquet.iter_batches(ROWS_PER_BATCH, row_groups=[number], columns=others, use_threads=False)
        readers.append((batches, others))
    for parts in zip_longest(*(batches for batches, _ in readers)):
        if any(part is None for part in parts):
            raise UnreadableIndexError("columns of different lengths")
        yield pa.RecordBatch.from_arrays(
            [column for part in parts for column in part.columns],
            names=[name for part in parts for name in part.schema.names],
        )


def _columns(parquet: pq.ParquetFile) -> list[str]:
    names = parquet.schema_arrow.names
    missing = [name for name in ("url_surtkey", *NEEDED) if name not in names]
    if missing:
        raise UnreadableIndexError(f"no column {', '.join(missing)}")
    try:
        check_unique(names, ("url_surtkey", *CAPTURE_COLUMNS))
    except ValueError as error:
        raise UnreadableIndexError(str(error)) from error
    kind = parquet.schema_arrow.field("url_surtkey").type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_text(kind) for is_text in TEXT):
        raise UnreadableIndexError(f"column url_surtkey has type {kind}")
    return [name for name in CAPTURE_COLUMNS if name in names]


class _Rest:
    """The other columns of a row group, read as far as they are asked for."""

    def __init__(self, read: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self._read = read
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._place = -1
        self._batch: pa.RecordBatch | None = None

    def loader(self, place: int) -> Callable[[Rows], pa.Table]:
        """Return a function that gives some rows of the batch at this place."""
        return lambda rows: self._rows(place, rows)

    def _rows(self, place: int, rows: Rows) -> pa.Table:
        if self._batches is None:
            self._batches = self._read()
        with _plainly():
            while self._place < place:
                self._batch = next(self._batches, None)
                self._place += 1
            if self._batch is None:
                raise UnreadableIndexError("columns of different lengths")
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
        columns[name] = _text(column) if kind == pa.string() else column.cast(kind, safe=kind != UTC_SECONDS)
    return pa.table(columns)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column as text. Arrow does not look whether it is UTF-8; what is not spoils its row alone."""
    values = column.cast(pa.binary())
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        texts = [value if value is None else value.decode("utf-8", "replace") for value in values.to_pylist()]
        return pa.array(texts, pa.string())
