"""Reddit submission dumps: where they lie, and the submissions in them, one by one in flat memory.

A dump is a file of one JSON object a line, as Pushshift and its successors publish them by the
month, usually compressed (`RS_2012-05.zst`). Whatever in it cannot be read becomes a `Drop` that
says where it stood, and the reading goes on.
"""

import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.runner import storage
from pipeline.runner.names import file_name
from pipeline.runner.records import Drop
from pipeline.web.decompression import COMPRESSED_ENDINGS, STEP_BYTES, DamagedFileError, decompress

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Submission = dict[str, Any]

LINE_LIMIT_BYTES = 16 * 2**20
"""Reddit's own limit for a text post is 40,000 characters; no honest line comes near 16 MiB."""

MAX_DEPTH = 100
"""Levels of brackets in a line; a crosspost's preview of pictures has about ten."""

_DUMP_ENDINGS = (*COMPRESSED_ENDINGS, ".json", ".jsonl", ".ndjson")


def find_dumps(sources: Iterable[str]) -> list[str]:
    """Return the addresses of the dumps that files, folders, globs or fsspec addresses name: sorted, unique.

    Of a folder, and the folders in it, those files count that have a dump's ending or are named
    `RS…`; dumps of comments (`RC…`) and hidden files do not.

    Raises:
        ValueError: a source names nothing.
    """
    kind = f"dump (*{', *'.join(_DUMP_ENDINGS)})"
    return storage.find_files(sources, _is_dump, kind)


def _is_dump(name: str) -> bool:
    return name.startswith("RS") or (name.endswith(_DUMP_ENDINGS) and not name.startswith("RC"))


def read_submissions(
    address: str, line_limit_bytes: int = LINE_LIMIT_BYTES, *, name: str = ""
) -> Iterator[Submission | Drop]:
    """Yield a dump's submissions in their order, and a `Drop` for each line that is none.

    The reasons: "broken JSON line", "over-long line", "damaged file" (once, at the end of what
    could be read; it stands for the line that the damage cut) and "empty file".

    Args:
        address: of the dump.
        line_limit_bytes: longer lines are dropped.
        name: what drops call the dump; its address, if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no file system serves such an address.
    """
    with storage.open_read(address) as file:
        yield from _items(_Pieces(decompress(file, file_name(address))), name or address, line_limit_bytes)


def _items(pieces: "_Pieces", name: str, line_limit_bytes: int) -> Iterator[Submission | Drop]:
    reader = io.BufferedReader(pieces, STEP_BYTES)
    number = 0
    for number, line in enumerate(iter(partial(reader.readline, line_limit_bytes + 1), b""), start=1):
        if len(line) > line_limit_bytes and not line.endswith(b"\n"):
            _skip_line(reader)
            yield Drop("over-long line", name, f"line {number:,}: over {line_limit_bytes:,} bytes")
            continue
        try:
            item = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            is_cut = pieces.damage is not None and not line.endswith(b"\n")
            if is_cut or line.isspace():
                continue
            item = _loads_leniently(line, Drop("broken JSON line", name, f"line {number:,}: {error}"))
        if type(item) is dict and is_deep(line, item):
            yield Drop("broken JSON line", name, f"line {number:,}: nested over {MAX_DEPTH} deep")
        elif type(item) is dict or type(item) is Drop:
            yield item
        else:
            yield Drop("broken JSON line", name, f"line {number:,}: not an object")
    if pieces.damage is not None:
        yield Drop("damaged file", name, f"near line {number:,}: {pieces.damage}")
    elif number == 0:
        yield Drop("empty file", name)


def is_deep(line: bytes, item: Submission) -> bool:
    """Say whether a line is nested so deep that what recurses may fail: Python follows a thousand levels."""
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:  # nearly every line ends here
        return False
    level: list[Any] = [item]
    for _ in range(MAX_DEPTH):
        inner = (value.values() if type(value) is dict else value for value in level)
        level = [value for values in inner for value in values if type(value) in (dict, list)]
        if not level:
            return False
    return True


def _skip_line(reader: "io.BufferedReader[_Pieces]") -> None:
    while (piece := reader.readline(STEP_BYTES)) and not piece.endswith(b"\n"):
        pass


def _loads_leniently(line: bytes, broken: Drop) -> Any:
    """Parse what `orjson` refuses but dumps have (byte-order marks, half surrogate pairs), or give `broken`.

    JSON's grammar allows `\\ud83d` without its other half (RFC 8259, section 8.2), and titles that
    were cut at so many characters end with one. It becomes U+FFFD, as in a browser.
    """
    try:
        text = json.dumps(json.loads(line.decode("utf-8-sig")), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        return broken


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file that ends at damage: `io.BufferedReader` finds lines faster than any loop."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.damage: DamagedFileError | None = None
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        space = memoryview(buffer)
        if not self._rest:
            self._rest = memoryview(self._next_piece())
        size_bytes = min(len(space), len(self._rest))
        space[:size_bytes] = self._rest[:size_bytes]
        self._rest = self._rest[size_bytes:]
        return size_bytes

    def _next_piece(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except DamagedFileError as damage:
            self.damage = damage
            return b""
