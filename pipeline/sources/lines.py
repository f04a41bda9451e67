"""Documents in files of lines: JSON Lines, and plain text; compressed or not."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pipeline.links.submissions import read_submissions
from pipeline.runner import storage
from pipeline.runner.records import Drop
from pipeline.sources.batches import NO_TEXT, NOT_TEXT, DocumentBatch, Row, batches_of, row_of
from pipeline.sources.options import Reading
from pipeline.web.decompression import DamagedFileError, decompress

LINE_LIMIT_BYTES: Final = 64 * 2**20  # of JSON
LONGEST_DOCUMENT_BYTES: Final = 16 * 2**20  # of plain text; a longer one becomes several
DAMAGED: Final = "damaged file"
_LINE_ENDS: Final = b"\r\n"
_CUTS: Final = (b"\n\n", b"\n", b" ")  # where a document that is too long is cut: best first


def read_json_lines(address: str, reading: Reading) -> Iterator[DocumentBatch]:
    """Yield the documents of a JSON Lines file in order."""
    yield from batches_of(_json_rows(address, reading), reading)


def read_plain_text(address: str, reading: Reading) -> Iterator[DocumentBatch]:
    """Yield the documents of a plain text file in order."""
    yield from batches_of(_plain_rows(address, reading), reading)


def fields_of(address: str, rows: int) -> list[set[str]]:
    """Return the fields of the first rows of a JSON Lines file that are objects."""
    found = list[set[str]]()
    for item in read_submissions(address, LINE_LIMIT_BYTES):
        if not isinstance(item, Drop):
            found.append(set(item))
        if len(found) == rows:
            break
    return found


def _json_rows(address: str, reading: Reading) -> Iterator[Row | str]:
    for item in read_submissions(address, LINE_LIMIT_BYTES):
        if isinstance(item, Drop):
            yield item.reason
            continue
        text = item.get(reading.text_column)
        if isinstance(text, str):
            values = tuple(_value(item, name) for name in reading.columns)
            yield row_of(_id(item.get("id")), text.encode(), values)
        else:
            yield NO_TEXT if text is None else NOT_TEXT


def _id(value: Any) -> bytes | None:
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value).encode() if is_id and value != "" else None


def _value(item: Mapping[str, Any], name: str) -> str:
    """Return what a field holds as text; nothing of what is neither text nor a number."""
    value = item.get(name)
    outer, _, inner = name.partition(".")
    if value is None and inner and isinstance(item.get(outer), dict):
        return _value(item[outer], inner)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _plain_rows(address: str, reading: Reading) -> Iterator[Row | str]:
    """Yield the documents of a file of text; the one that damage cuts off is left out."""
    separator, nothing = reading.separator, ("",) * len(reading.columns)
    with storage.open_read(address) as file:
        pieces = _without_mark(decompress(file, address))
        documents = _cut(pieces, separator.encode() if separator else None)
        try:
            for document in documents:
                yield row_of(None, document, nothing)
        except DamagedFileError:
            yield DAMAGED


def _without_mark(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a file without the byte-order mark that it may begin with."""
    begun = False
    for piece in pieces:
        yield piece if begun else piece.removeprefix(b"\xef\xbb\xbf")
        begun = True


def _cut(pieces: Iterable[bytes], separator: bytes | None) -> Iterator[bytes]:
    """Cut a text at its separators, and wherever a document becomes too long, however it comes in pieces.

    Without a separator the text is one document, also where it is empty. With one, line ends around a
    document belong to the separator, and between two separators with nothing else there is no document.
    """
    ends = _LINE_ENDS if separator else b""
    reserve = max(0, len(separator or b"") - 1)  # bytes at the end that may begin a separator
    held, begun = bytearray(), False  # whether a part of the document was yielded
    for piece in pieces:
        searched = max(0, len(held) - reserve)
        held += piece
        if separator and held.find(separator, searched) >= 0:
            *documents, rest = bytes(held).split(separator)
            for document in documents:
                yield from _parts(document.rstrip(ends) if begun else document.strip(ends))
                begun = False
            held = bytearray(rest)
        if len(held) > LONGEST_DOCUMENT_BYTES + reserve:
            known = held[: len(held) - reserve].rstrip(ends)  # of the document, whatever comes
            size = len(known)
            if not begun:
                del held[: size - len(known.lstrip(ends))]
                size = len(known.lstrip(ends))
            while size > LONGEST_DOCUMENT_BYTES:
                end = _end(held)
                yield bytes(held[:end])
                del held[:end]
                size, begun = size - end, True
            if len(held) > 4 * LONGEST_DOCUMENT_BYTES + reserve:  # so many line ends are a separator
                yield from _parts(bytes(held[:size]))
                held, begun = held[len(held) - reserve :], False
    last = bytes(held.rstrip(ends) if begun else held.strip(ends))
    yield from _parts(last)
    if not separator and not begun and not last:
        yield b""


def _parts(document: bytes) -> Iterator[bytes]:
    """Cut a document that is too long; yield nothing of an empty one."""
    rest = bytearray(document)
    while len(rest) > LONGEST_DOCUMENT_BYTES:
        end = _end(rest)
        yield bytes(rest[:end])
        del rest[:end]
    if rest:
        yield bytes(rest)


def _end(text: bytearray) -> int:
    """Return where to cut a text that is too long: in its second half after a paragraph, line or word."""
    half = LONGEST_DOCUMENT_BYTES // 2
    for cut in _CUTS:
        found = text.rfind(cut, half, LONGEST_DOCUMENT_BYTES)
        if found >= 0:
            return found + len(cut)
    end = LONGEST_DOCUMENT_BYTES
    while end > half and text[end] & 0xC0 == 0x80:  # not within a character
        end -= 1
    return end
