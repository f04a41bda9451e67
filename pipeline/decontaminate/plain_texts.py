"""Texts from files that others made: plain text, or JSON Lines with the text in a field; compressed or not.

Such a file is given by name and has to be what its user takes it for: an error in it ends the run;
nothing is skipped.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.runner import storage
from pipeline.web.decompression import COMPRESSED_ENDINGS, DamagedFileError, decompress

RECORD_ENDINGS = (".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What the texts are in the files of an evaluation set."""

    evaluation_field: tuple[str, ...] = ("text",)
    """Fields of a JSON Lines record that hold its texts: each a text, or a list of texts."""
    evaluation_by_line: bool = False
    """Take each line of a plain text file for a text of its own, as in sets of shuffled sentences (One
    Billion Word). If not, the file is one text, whatever its lines."""


def is_one_text(address: str, options: TextOptions) -> bool:
    """Say whether a file is one long text, to be read by `read_pieces`, and not many."""
    return not options.evaluation_by_line and not _holds_records(address)


def read_pieces(address: str) -> Iterator[str]:
    """Yield a plain text file in pieces, each cut at white space.

    Raises:
        ValueError: the file is damaged, or not UTF-8.
    """
    done = 0
    for piece in _cut_after(_decompressed(address), b" \n"):
        yield _decoded(piece, done, address)
        done += len(piece)


def read_texts(address: str, options: TextOptions) -> Iterator[str]:
    """Yield the texts of a file of lines or records.

    Raises:
        ValueError: the file is damaged, not UTF-8, or not laid out as the options say.
    """
    done = 0
    for number, line in enumerate(_lines(address), start=1):
        if line.isspace():
            pass
        elif _holds_records(address):
            yield from _texts_of(line, f"{address}, line {number:,}", options)
        else:
            yield _decoded(line, done, address)
        done += len(line)


def _holds_records(address: str) -> bool:
    name = address.lower()
    ending = next((ending for ending in COMPRESSED_ENDINGS if name.endswith(ending)), "")
    return name.removesuffix(ending).endswith(RECORD_ENDINGS)


def _texts_of(line: bytes, place: str, options: TextOptions) -> Iterator[str]:
    """Yield the texts of one record."""
    try:
        record = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(
            f"{place} is not a JSON object with the field {' or '.join(options.evaluation_field)}"
        )
    for field in options.evaluation_field:
        if field not in record:
            names = ", ".join(record)
            raise ValueError(
                f"{place} has no field {field!r} but {names or 'none'}: name it by --evaluation-field"
            )
        yield from _strings(record[field], f"{place}, field {field!r}")


def _strings(value: Any, place: str) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{place} holds neither a text nor a list of texts")
    return texts


def _lines(address: str) -> Iterator[bytes]:
    for piece in _cut_after(_decompressed(address), b"\n"):
        yield from io.BytesIO(piece)  # unlike `splitlines`, which ends lines at carriage returns too


def _decompressed(address: str) -> Iterator[bytes]:
    with storage.open_read(address) as file:
        try:
            yield from decompress(file, address)
        except DamagedFileError as damage:
            raise ValueError(f"{address} is damaged: {damage}") from damage


def _cut_after(pieces: Iterable[bytes], ends: bytes) -> Iterator[bytes]:
    """Cut a file anew: each piece ends with one of the bytes `ends`, but for the last."""
    held: list[bytes] = []
    for piece in pieces:
        cut = 1 + max(piece.rfind(end) for end in ends)
        if cut:
            yield b"".join([*held, piece[:cut]])
            held = []
        held.append(piece[cut:])
    yield b"".join(held)


def _decoded(piece: bytes, done: int, address: str) -> str:
    """Decode a piece that begins so many bytes into the file."""
    try:
        return piece.decode("utf-8-sig" if not done else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{address} is not UTF-8 text: byte {done + error.start:,} is {error.reason}"
        ) from error
