"""Indexes in lines: CDXJ, as Common Crawl, pywb and cdxj-indexer write it, alone or in ZipNum blocks.

A line is `surt timestamp {"url": …, "status": …, "filename": …, "offset": …, "length": …}`. ZipNum keeps
3,000 such lines a gzip member in `cdx-*.gz`, and in `cluster.idx` for each of these its first SURT and its
place: only the blocks are read in which something may be that is looked for.
"""

import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import IO, Any, cast

import pyarrow as pa

from pipeline.common_crawl.captures import CAPTURE_COLUMNS
from pipeline.common_crawl.index_batch import (
    CountedFile,
    IndexBatch,
    IndexTally,
    Rows,
    UnreadableIndexError,
    open_index,
)
from pipeline.common_crawl.sought import ANYTHING, Sought
from pipeline.runner import storage
from pipeline.runner.json_text import parse_json
from pipeline.runner.names import file_name
from pipeline.web.decompression import DamagedFileError, decompress

CLUSTER = "cluster.idx"
LINES_PER_BATCH = 60_000
READ_BYTES = 4 * 2**20  # of blocks that lie side by side
LONGEST_LINE = 2**20
MAX_BLOCK_BYTES = 64 * 2**20  # of one, decompressed; Common Crawl's have 1 MB


_ENTRY = re.compile(rb"([^\t ]*)[^\t]*\t(\w[\w.-]{0,254})\t(\d{1,18})\t(\d{1,18})(?:\t.*)?")


@dataclass(frozen=True)
class Block:
    """One gzip member of a ZipNum index."""

    low: str  # the first SURT in it
    high: str  # the first one in the next block
    shard: str  # the file's name
    offset: int
    size_bytes: int


# --- ZipNum ---


def read_zipnum(
    cluster: str, shards: Sequence[str], sought: Sought, tally: IndexTally
) -> Iterator[IndexBatch]:
    """Yield the lines of some shards' blocks in which something may be that is looked for.

    Args:
        cluster: address of `cluster.idx`; the shards lie beside it.
        shards: names of `cdx-*.gz`; none for all that it names.
        sought: what is looked for.
        tally: takes note of what was read.

    Raises:
        UnreadableIndexError: a file is not what its name says.
        OSError: a file is not there, or its store does not answer.
    """
    tally.files += len(shards)
    named: set[str] = set()
    wanted: list[Block] = []
    for block in _blocks(cluster, frozenset(shards), tally):
        tally.files += not shards and block.shard not in named
        named.add(block.shard)
        tally.groups += 1
        tally.bytes += block.size_bytes
        if sought.has_any(block.low, block.high):
            wanted.append(block)
            tally.groups_read += 1
    folder = cluster.rpartition("/")[0]
    for run in _runs(wanted):
        with open_index(storage.join(folder, run[0].shard), tally, in_parts=True) as file:
            file.seek(run[0].offset)
            data = file.read(run[-1].offset + run[-1].size_bytes - run[0].offset)
        lines: list[bytes] = []
        for block in run:
            begin = block.offset - run[0].offset
            lines += _unzipped(data[begin : begin + block.size_bytes], block).splitlines()
        yield from _batches(iter(lines), tally)


def _blocks(cluster: str, shards: frozenset[str], tally: IndexTally) -> Iterator[Block]:
    """Yield the blocks of some shards, or else of all that it names, in the order of `cluster.idx`."""
    before: tuple[str, str, int, int] | None = None
    for entry in _entries(cluster, tally):
        if before is not None and (before[1] in shards or not shards):
            yield Block(before[0], entry[0], *before[1:])
        before = entry
    if before is not None and (before[1] in shards or not shards):
        yield Block(before[0], ANYTHING, *before[1:])


def _entries(cluster: str, tally: IndexTally) -> Iterator[tuple[str, str, int, int]]:
    """Yield of each block its first SURT, its shard, and its place in that."""
    with open_index(cluster, tally, in_parts=False) as file:
        for raw in _lines(file, CLUSTER):
            found = _ENTRY.fullmatch(raw.rstrip(b"\r\n"))
            size = int(found[4]) if found else 0
            if found is None or not 0 < size <= MAX_BLOCK_BYTES:
                raise UnreadableIndexError(f"cluster.idx has a line that is none of its: {raw[:80]!r}")
            yield found[1].decode("utf-8", "replace"), found[2].decode(), int(found[3]), size


def _runs(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Gather blocks that lie side by side in one file."""
    run: list[Block] = []
    for block in blocks:
        if run:
            last = run[-1]
            follows = block.shard == last.shard and block.offset == last.offset + last.size_bytes
            if not follows or block.offset + block.size_bytes - run[0].offset > READ_BYTES:
                yield run
                run = []
        run.append(block)
    if run:
        yield run


def _unzipped(member: bytes, block: Block) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(member, MAX_BLOCK_BYTES)
    except zlib.error as error:
        raise UnreadableIndexError(f"{block.shard} at byte {block.offset}: {error}") from error
    if not decoder.eof:
        raise UnreadableIndexError(f"{block.shard} at byte {block.offset}: cut short, or too large")
    return data


# --- lines ---


def read_lines(address: str, sought: Sought, tally: IndexTally) -> Iterator[IndexBatch]:
    """Yield the lines of a CDXJ file, plain or gzipped; they need not be sorted.

    Raises:
        UnreadableIndexError: it is damaged.
        OSError: it is not there, or its store does not answer.
    """
    tally.files += 1
    with open_index(address, tally, in_parts=False) as file:
        tally.bytes += file.seek(0, io.SEEK_END)
        file.seek(0)
        for batch in _batches(_lines(file, file_name(address)), tally):
            if sought.has_any(*batch.bounds()):
                yield batch


def _lines(file: CountedFile, name: str) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed if need be, a part of it in memory at a time."""
    rest = b""
    try:
        for piece in decompress(cast(IO[bytes], file), name):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise UnreadableIndexError(f"a line of more than {LONGEST_LINE:,} bytes")
            yield from lines
    except DamagedFileError as error:
        raise UnreadableIndexError(str(error)) from error
    if rest:
        yield rest


def _batches(lines: Iterator[bytes], tally: IndexTally) -> Iterator[IndexBatch]:
    while taken := list(islice(lines, LINES_PER_BATCH)):
        entries = [line for line in taken if line and line[:1] not in (b" ", b"!", b"#")]
        tally.rows_looked_at += len(entries)
        if not entries:
            continue
        surts = pa.array([line.split(b" ", 1)[0] for line in entries], pa.binary())
        yield IndexBatch(_text(surts), _Loader(entries))


def _text(surts: pa.Array) -> pa.Array:
    try:
        return surts.cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are no UTF-8: no address of ours has such a SURT
        return pa.array([raw.decode("utf-8", "replace") for raw in surts.to_pylist()], pa.string())


@dataclass(frozen=True)
class _Loader:
    """Takes the lines that are wanted apart."""

    lines: Sequence[bytes]

    def __call__(self, rows: Rows) -> pa.Table:
        found = [_capture(self.lines[row]) for row in rows.tolist()]
        columns = {name: [row[name] for row in found] for name in CAPTURE_COLUMNS}
        return pa.table({name: pa.array(columns[name], kind) for name, kind in CAPTURE_COLUMNS.items()})


_NOTHING: dict[str, Any] = dict.fromkeys(CAPTURE_COLUMNS) | {
    "url": "", "warc_filename": "", "warc_record_offset": -1, "warc_record_length": -1
}  # fmt: skip


def _capture(line: bytes) -> dict[str, Any]:
    """Return the columns of a line; of one that makes no sense those of a capture that is no page."""
    try:
        _, stamp, text = line.split(b" ", 2)
        fields = parse_json(text)
        moment = datetime.strptime(stamp.decode().ljust(14, "0")[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return _NOTHING
    if not isinstance(fields, dict):
        return _NOTHING
    return {
        "url": _field(fields, "url") or "",
        "fetch_time": moment,
        "fetch_status": _number(fields, "status", 2**15 - 1),
        "fetch_redirect": _field(fields, "redirect"),
        "content_digest": _field(fields, "digest"),
        "content_mime_type": _field(fields, "mime"),
        "content_mime_detected": _field(fields, "mime-detected"),
        "content_languages": _field(fields, "languages"),
        "content_truncated": _field(fields, "truncated") or _field(fields, "warc-truncated"),
        "warc_filename": _field(fields, "filename") or "",
        "warc_record_offset": _number(fields, "offset", 2**62),
        "warc_record_length": _number(fields, "length", 2**62),
    }


def _field(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str) or value in ("", "-"):
        return None
    return value.encode("utf-8", "replace").decode()


def _number(fields: dict[str, Any], name: str, limit: int) -> int:
    """Return a number, written as one or as text; -1 where there is none (a length may be unknown)."""
    value = str(fields.get(name, ""))
    return (
        int(value) if value.isascii() and value.isdigit() and len(value) < 19 and int(value) <= limit else -1
    )
