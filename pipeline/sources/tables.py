"""Documents in tables: Parquet, and the Arrow files of Hugging Face's `datasets`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runner import storage
from pipeline.runner.tables import check_unique
from pipeline.sources.batches import (
    DOCUMENTS_PER_BATCH,
    NO_TEXT,
    TEXT_BYTES_PER_BATCH,
    DocumentBatch,
    Row,
    Values,
    batch_of,
    row_of,
)
from pipeline.sources.options import Reading

ID: Final = "id"


def read_parquet(address: str, reading: Reading) -> Iterator[DocumentBatch]:
    """Yield the documents of a Parquet file in order.

    Raises:
        ValueError: the file is damaged, or has no such column of text.
    """
    with storage.open_read(address) as file:
        try:
            table = pq.ParquetFile(file, buffer_size=2**20)  # not a whole row group at once
            columns = check_columns(table.schema_arrow, reading.text_column)
            columns += [name for name in _there(table.schema_arrow, reading) if name not in columns]
            # Sizes of a footer whose parts contradict each other end the process; to read a row raises.
            next(table.iter_batches(1, columns=[reading.text_column], use_threads=False), None)
            rows = _rows_at_once(text_bytes(table.metadata, reading.text_column), table.metadata.num_rows)
            for batch in table.iter_batches(rows, columns=columns, use_threads=False):
                yield _documents(batch, reading)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise ValueError(f"cannot read {address}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{address}: {error}") from error


def read_arrow(address: str, reading: Reading) -> Iterator[DocumentBatch]:
    """Yield the documents of an Arrow file in order, from its stream or file format.

    Raises:
        ValueError: the file is damaged, or has no such column of text.
    """
    with storage.open_read(
        address
    ) as file:  # not mapped: the whole file would count as this process's memory
        try:
            for batch in _record_batches(file, reading):
                rows = _rows_at_once(batch.nbytes, batch.num_rows)
                for first in range(0, batch.num_rows, rows):
                    yield _documents(batch.slice(first, rows), reading)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise ValueError(f"cannot read {address}: {error}") from error
        except MemoryError as error:  # a damaged size may be any
            raise ValueError(
                f"cannot read {address}: a part of it says that it does not fit in memory"
            ) from error
        except ValueError as error:
            raise ValueError(f"{address}: {error}") from error


def measure_parquet(address: str, text_column: str) -> tuple[int, int, bool]:
    """Check a Parquet file's columns; return its rows, the bytes of its texts, and whether it has ids.

    Raises:
        ValueError: the file is damaged, or has no such column of text.
    """
    try:
        with storage.open_read(address) as file:
            table = pq.ParquetFile(file)
            columns = check_columns(table.schema_arrow, text_column)
            return table.metadata.num_rows, text_bytes(table.metadata, text_column), ID in columns
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"cannot read {address}: {error}") from error


def check_columns(schema: pa.Schema, text_column: str) -> list[str]:
    """Return the columns to read: the text, and the id if there is one.

    Raises:
        ValueError: there is no such column, there are several, or one has a type that holds no text.
    """
    check_unique(schema.names, (ID, text_column))
    if text_column not in schema.names:
        raise ValueError(
            f"no column {text_column!r} among {', '.join(schema.names)}: name it by --text-column"
        )
    columns = [ID, text_column] if ID in schema.names and text_column != ID else [text_column]
    for name in columns:
        kind = schema.field(name).type
        if not _holds_text(kind) and not (name == ID and pa.types.is_null(kind)):
            raise ValueError(f"column {name!r} has type {kind}")
    return columns


def text_bytes(footer: pq.FileMetaData, text_column: str) -> int:
    """Return the size of a file's texts, as they are encoded in it and before compression."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    places = [place for place in range(len(footer.schema)) if footer.schema.column(place).path == text_column]
    return sum(group.column(place).total_uncompressed_size for group in groups for place in places)


def _record_batches(file: IO[bytes], reading: Reading) -> Iterator[pa.RecordBatch]:
    try:
        stream = pa.ipc.open_stream(file)
    except pa.ArrowInvalid:  # `datasets` writes streams, others (Feather) files
        file.seek(0)
        reader = pa.ipc.open_file(file)
        columns = _top_columns(reader.schema, reading)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).select(columns)
        return
    columns = _top_columns(stream.schema, reading)
    for batch in stream:
        yield batch.select(columns)


def _top_columns(schema: pa.Schema, reading: Reading) -> list[str]:
    """Return the columns to read, whole: text, id and those that were asked for, as far as they are there."""
    columns = check_columns(schema, reading.text_column)
    tops = [name if name in schema.names else _top(name) for name in _there(schema, reading)]
    return [*columns, *(name for name in dict.fromkeys(tops) if name not in columns)]


def _there(schema: pa.Schema, reading: Reading) -> list[str]:
    """Return those of the further columns that a file has; `a.b` is a field of a struct.

    Raises:
        ValueError: there are several of one name.
    """
    check_unique(schema.names, [name if name in schema.names else _top(name) for name in reading.columns])
    return [name for name in reading.columns if name in schema.names or _inner(schema, name)]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _inner(schema: pa.Schema, name: str) -> list[str]:
    """Return the way to a field of a struct, by its parts; empty if there is none."""
    top, *parts = name.split(".")
    kind = schema.field(top).type if top in schema.names else None
    for part in parts:
        if kind is None or not pa.types.is_struct(kind):
            return []
        check_unique([field.name for field in kind], [part])
        if kind.get_field_index(part) < 0:
            return []
        kind = kind.field(part).type
    return parts


def _values(batch: pa.RecordBatch, name: str) -> list[str]:
    """Return a further column as text: dates and numbers too; empty where there is none."""
    if name in batch.schema.names:
        column = batch[name]
    elif parts := _inner(batch.schema, name):
        column = pc.struct_field(batch[_top(name)], parts)
    else:
        return [""] * len(batch)
    if _holds_text(column.type):
        return [(value or b"").decode(errors="replace") for value in _as_bytes(column)]
    try:
        return [value or "" for value in column.cast(pa.string()).to_pylist()]
    except pa.ArrowException:  # a list, say
        return [""] * len(batch)


def _rows_at_once(size_bytes: int, rows: int) -> int:
    """Return how many rows to read at once, so that they do not fill the memory."""
    row_bytes = size_bytes / max(1, rows)
    return max(1, min(DOCUMENTS_PER_BATCH, int(TEXT_BYTES_PER_BATCH / max(1, row_bytes))))


def _documents(batch: pa.RecordBatch, reading: Reading) -> DocumentBatch:
    """Return the documents among some rows."""
    texts = _as_bytes(batch[reading.text_column])
    has_ids = ID in batch.schema.names and reading.text_column != ID
    ids = _as_bytes(batch[ID]) if has_ids else [None] * len(texts)
    rows, left_out = list[Row](), Counter[str]()
    further = zip(*(_values(batch, name) for name in reading.columns), strict=True)
    values: Iterable[Values] = further if reading.columns else [()] * len(texts)
    for document_id, text, known in zip(ids, texts, values, strict=True):
        row = row_of(document_id, text, known) if text else NO_TEXT
        if isinstance(row, str):
            left_out[row] += 1
        else:
            rows.append(row)
    return batch_of(rows, left_out, reading)


def _as_bytes(column: pa.Array) -> list[Any]:
    """Return a column's values as bytes, which need not be UTF-8; None where there is none."""
    if pa.types.is_dictionary(column.type):
        column = pa.DictionaryArray.from_arrays(column.indices, _as_binary(column.dictionary))
        column.validate(full=True)
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return [None] * len(column)
    column = _as_binary(column)
    column.validate(full=True)  # readers trust the offsets in a file
    values: list[Any] = column.to_pylist()
    return values


def _as_binary(column: pa.Array) -> pa.Array:
    """Return the same values as bytes, without a copy: strings would be checked for UTF-8 all together."""
    for is_kind, binary in _BINARY:
        if is_kind(column.type):
            return column.cast(binary)
    return column


_BINARY = (
    (pa.types.is_string, pa.binary()),
    (pa.types.is_large_string, pa.large_binary()),
    (pa.types.is_string_view, pa.binary_view()),
)


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in (*checks, pa.types.is_binary, pa.types.is_large_binary))
