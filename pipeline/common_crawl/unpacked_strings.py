"""String columns of gzip-compressed Parquet, unpacked by ISA-L in half of the time that Arrow's zlib takes.

Nearly all that reading an index costs is unpacking its addresses and digests. Arrow can decode their pages,
but has no place for another's unpacking. So the pages of one column of a row group are unpacked here and put
into a Parquet file in memory that is not compressed, which Arrow then reads. What is not as usual stays with
Arrow, which reads it or says what is wrong with it.

https://parquet.apache.org/docs/file-format/, with headers in Thrift's compact protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

import pyarrow.parquet as pq
from isal import igzip_lib

from pipeline.common_crawl.index_batch import CountedFile

MAX_BYTES = 128 * 2**20  # of a column of a row group, unpacked; Spark writes row groups of no more

MAGIC = b"PAR1"
BYTE_ARRAY, UTF8, UNCOMPRESSED = 6, 0, 0
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PAGE_HEADERS = {DATA_PAGE: (5, 4), DICTIONARY_PAGE: (7, 2), DATA_PAGE_V2: (8, 6)}
"""Which field of a page's header is about its kind, and how many numbers that begins with."""

TRUE, FALSE, I32, I64, BYTES, LIST, STRUCT = 1, 2, 5, 6, 8, 9, 12
MAX_DEPTH = 4


class _UnusualError(ValueError):
    """Something that Arrow may understand, or may explain."""


def unpacked_column(file: CountedFile, parquet: pq.ParquetFile, group: int, name: str) -> bytes | None:
    """Return a Parquet file, not compressed, with one string column of a row group; None: leave it to Arrow.

    Raises:
        OSError, UnreadableIndexError: as reading `file` does.
    """
    paths = [parquet.schema.column(place).path for place in range(len(parquet.schema.names))]
    if name not in paths:
        return None
    place = paths.index(name)
    column, kind = parquet.metadata.row_group(group).column(place), parquet.schema.column(place)
    is_flat = kind.max_repetition_level == 0 and kind.max_definition_level <= 1
    is_packed = column.physical_type == "BYTE_ARRAY" and column.compression == "GZIP"
    sizes = column.total_uncompressed_size, column.total_compressed_size
    if not is_flat or not is_packed or not all(0 < size <= MAX_BYTES for size in sizes):
        return None
    begin = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < begin:
        begin = column.dictionary_page_offset
    if begin < 0:
        return None
    file.seek(begin)
    data = file.read(column.total_compressed_size)
    try:
        pages, dictionary_bytes = _unpacked_pages(data, column.num_values)
    except (_UnusualError, LookupError, TypeError, AttributeError, MemoryError):
        return None
    footer = _footer(
        name, kind.max_definition_level, column.num_values, sum(map(len, pages)), dictionary_bytes
    )
    return b"".join([MAGIC, *pages, footer, len(footer).to_bytes(4, "little"), MAGIC])


def _unpacked_pages(data: bytes, values: int) -> tuple[list[bytes], int]:
    """Return headers and bodies of a column's pages, unpacked, and how many bytes its dictionary takes."""
    parts: list[bytes] = []
    position = seen = dictionary_bytes = whole = 0
    while seen < values:
        header, begin = _read_struct(data, position)
        kind, size, packed_size = header[1], header[2], header[3]
        place, numbers = PAGE_HEADERS[kind]
        about = header[place]
        position = begin + packed_size
        levels = about[5] + about[6] if kind == DATA_PAGE_V2 else 0  # which are never packed
        whole += size
        if not 0 <= packed_size <= len(data) - begin or not 0 <= levels <= size or whole > MAX_BYTES:
            raise _UnusualError
        body = data[begin:position]
        if about.get(7, True):
            body = body[:levels] + _inflated(body[levels:], size - levels)
        # Without statistics, and without the checksum, which is that of the packed bytes.
        told = _struct(*((field, I32, about[field]) for field in range(1, numbers + 1)))
        head = _struct((1, I32, kind), (2, I32, size), (3, I32, size), (place, STRUCT, told))
        if kind != DICTIONARY_PAGE:
            seen += about[1]
        elif not parts:
            dictionary_bytes = len(head) + size
        else:
            raise _UnusualError
        parts += [head, body]
    return parts, dictionary_bytes


def _inflated(packed: bytes, size: int) -> bytes:
    if not size:
        return b""
    decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        body: bytes = decoder.decompress(packed, size + 1)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # a type, whatever its stubs say
        raise _UnusualError from error
    if len(body) != size or not decoder.eof:
        raise _UnusualError
    return body


def _footer(name: str, levels: int, rows: int, size: int, dictionary_bytes: int) -> bytes:
    """Return what stands at the end of a file of one column that has so many bytes."""
    column: list[tuple[int, int, int | bytes]] = [
        (1, I32, BYTE_ARRAY), (2, LIST, _list(I32, _number(0))), (3, LIST, _list(BYTES, _string(name))),
        (4, I32, UNCOMPRESSED), (5, I64, rows), (6, I64, size), (7, I64, size),
        (9, I64, len(MAGIC) + dictionary_bytes),
    ]  # fmt: skip
    if dictionary_bytes:
        column.append((11, I64, len(MAGIC)))
    chunk = _struct((2, I64, 0), (3, STRUCT, _struct(*column)))
    group = _struct((1, LIST, _list(STRUCT, chunk)), (2, I64, size), (3, I64, rows))
    root = _struct((4, BYTES, _string("schema")), (5, I32, 1))
    element = _struct((1, I32, BYTE_ARRAY), (3, I32, levels), (4, BYTES, _string(name)), (6, I32, UTF8))
    schema = _list(STRUCT, root, element)
    return _struct((1, I32, 2), (2, LIST, schema), (3, I64, rows), (4, LIST, _list(STRUCT, group)))


# --- Thrift's compact protocol ---


def _read_struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return a structure's numbers and structures by field, and where it ends; strings are left out."""
    found: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        kind = head & 15
        step, at = (head >> 4, at) if head >> 4 else _read_number(data, at)
        field += step
        if kind in (TRUE, FALSE):
            found[field] = kind == TRUE
        elif kind in (I32, I64):
            found[field], at = _read_number(data, at)
        elif kind == BYTES:
            size, at = _read_varint(data, at)
            at += size
        elif kind == STRUCT and depth < MAX_DEPTH:
            found[field], at = _read_struct(data, at, depth + 1)
        else:
            raise _UnusualError
    return found, at + 1


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        part = data[at]
        at += 1
        value |= (part & 127) << shift
        if part < 128:
            return value, at
        shift += 7
    raise _UnusualError


def _struct(*fields: tuple[int, int, int | bytes]) -> bytes:
    """Return a structure of fields: number, type, and value, which is bytes already if it is no number."""
    out, last = bytearray(), 0
    for field, kind, value in fields:
        out.append((field - last) << 4 | kind)
        out += _number(value) if isinstance(value, int) else value
        last = field
    return bytes(out) + b"\0"


def _list(kind: int, *values: bytes) -> bytes:
    return bytes([len(values) << 4 | kind]) + b"".join(values)


def _string(text: str) -> bytes:
    return _varint(len(text.encode())) + text.encode()


def _number(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
