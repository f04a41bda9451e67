"""Opens and checks files of evaluation sets; errors name the file and what was expected."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runner import storage

BLOCK_BYTES = 2**16
LONGEST_LINE_BYTES = 64 * 2**20
PACKED = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "Zstandard"}
PARQUET = b"PAR1"

Row = dict[str, Any]


def find(address: str, names: Sequence[str], *, what: str) -> str:
    """Return the file at an address, or in a folder the first of these names that exists.

    Raises:
        ValueError: there is nothing, or the folder has none of the names.
    """
    filesystem, path = storage.locate(address)
    if filesystem.isfile(path):
        return address
    if not filesystem.isdir(path):
        raise ValueError(f"{address} does not exist: expected {what}")
    if not names:
        raise ValueError(f"{address} is a folder: give the file itself, {what}")
    for name in names:
        candidate = storage.join(address, name)
        if storage.exists(candidate):
            return candidate
    raise ValueError(f"the folder {address} has none of {', '.join(names)}: expected {what}")


def opening_bytes(address: str, *, what: str) -> bytes:
    """Return a file's first bytes.

    Raises:
        ValueError: it is empty or compressed.
    """
    with storage.open_read(address) as file:
        start = file.read(4096)
    if not start:
        raise ValueError(f"{address} is empty: expected {what}")
    for magic, name in PACKED.items():
        if start.startswith(magic):
            raise ValueError(f"{address} is compressed ({name}): decompress it first; expected {what}")
    return start


def is_parquet(address: str, *, what: str) -> bool:
    """Return whether a file is Parquet, by its first bytes."""
    return opening_bytes(address, what=what).startswith(PARQUET)


def read_lines(address: str, *, what: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 text without line ends, one in memory at a time.

    Raises:
        ValueError: a line is not UTF-8, or longer than 64 MiB.
    """
    opening_bytes(address, what=what)
    with _buffered(address) as file:
        number = 0
        while line := file.readline(LONGEST_LINE_BYTES + 1):
            number += 1
            if len(line) > LONGEST_LINE_BYTES:
                raise ValueError(f"{address}, line {number}, is longer than 64 MiB: expected {what}")
            try:
                yield line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{address}, line {number}, is not UTF-8: expected {what}") from error


def read_blocks(address: str, *, start: int = 0) -> Iterator[bytes]:
    """Yield a file's bytes from `start` on, a block at a time."""
    with storage.open_read(address) as file:
        file.seek(start)
        while block := file.read(BLOCK_BYTES):
            yield block


def read_rows(address: str, columns: Sequence[str], *, what: str) -> Iterator[Row]:
    """Yield the rows of a Parquet or JSON Lines file, each of which must have these columns.

    Raises:
        ValueError: a line is not a JSON object, or a column is missing.
    """
    if is_parquet(address, what=what):
        yield from _parquet_rows(address, columns, what=what)
        return
    for number, line in enumerate(read_lines(address, what=what), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{address}, line {number}, is not JSON: expected {what}") from error
        missing = [name for name in columns if not isinstance(row, dict) or name not in row]
        if missing:
            raise ValueError(f"{address}, line {number}, has no {missing[0]!r}: expected {what}")
        yield row


def read_column(address: str, column: str, *, what: str) -> Iterator[str]:
    """Yield the texts of one column of such a file.

    Raises:
        ValueError: a value is not text.
    """
    for number, row in enumerate(read_rows(address, [column], what=what), 1):
        if not isinstance(row[column], str):
            raise ValueError(f"{address}, row {number}: {column!r} is not text; expected {what}")
        yield row[column]


def counted(address: str, items: Iterator[Any], check: Callable[[Any], Any], *, what: str) -> list[Any]:
    """Return `check` of every item; an error names the item.

    Raises:
        ValueError: `check` does, or there are no items.
    """
    found = []
    for number, item in enumerate(items, 1):
        try:
            found.append(check(item))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{address}, example {number}: {error}; expected {what}") from error
    if not found:
        raise ValueError(f"{address} has no examples: expected {what}")
    return found


def _parquet_rows(address: str, columns: Sequence[str], *, what: str) -> Iterator[Row]:
    with storage.open_read(address) as file:
        try:
            table = pq.ParquetFile(file)
            missing = [name for name in columns if name not in table.schema_arrow.names]
            if missing:
                raise ValueError(f"{address} has no column {missing[0]!r}: expected {what}")
            for batch in table.iter_batches(batch_size=1024, columns=list(columns)):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise ValueError(f"{address} is damaged: {error}; expected {what}") from error


def _buffered(address: str) -> io.BufferedReader:
    """Open a file with `readline` up to a limit, which not every file system's files support."""
    return io.BufferedReader(cast(io.RawIOBase, storage.open_read(address)), BLOCK_BYTES)
