"""Reddit submission dumps: where they lie, and the submissions in them, one by one in flat memory.

A dump is a file of one JSON object a line, as Pushshift and its successors publish them by the
month, usually compressed (`RS_2012-05.zst`). Whatever in it cannot be read becomes a `Drop` that
says where it stood, and the reading goes on.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from pipeline import storage
from pipeline.gather.decompression import COMPRESSED_ENDINGS, DamagedFileError, decompress
from pipeline.records import Drop

Submission = dict[str, Any]

LINE_LIMIT_BYTES = 16 * 2**20
"""Reddit's own limit for a text post is 40,000 characters; no honest line comes near 16 MiB."""

_DUMP_ENDINGS = (*COMPRESSED_ENDINGS, ".json", ".jsonl", ".ndjson")


def find_dumps(sources: Iterable[str]) -> list[str]:
    """Return the addresses of the dumps that files, folders, globs or fsspec addresses name: sorted, unique.

    Of a folder, and the folders in it, those files count that have a dump's ending or are named
    `RS…`; dumps of comments (`RC…`) and hidden files do not.

    Raises:
        ValueError: a source names nothing.
    """
    found: set[str] = set()
    for source in sources:
        addresses = _dumps_at(source)
        if not addresses:
            raise ValueError(
                f"no dump at {source}: give a file, a folder of *.zst, *.xz, *.bz2, *.gz or *.jsonl files, "
                "a glob in quotes, or an fsspec address such as s3://bucket/RS_*.zst"
            )
        found.update(addresses)
    return sorted(found)


def _dumps_at(source: str) -> list[str]:
    filesystem, path = storage.locate(source)
    if filesystem.isfile(path):
        paths = [path]
    elif filesystem.isdir(path):
        paths = [file for file in filesystem.find(path) if _is_dump(file[len(path) :])]
    else:
        paths = [file for file in filesystem.glob(path) if filesystem.isfile(file)]
    is_local = storage.local_path(source) is not None
    return [path if is_local else filesystem.unstrip_protocol(path) for path in paths]


def _is_dump(path_in_folder: str) -> bool:
    *folders, name = path_in_folder.strip("/").split("/")
    if name.startswith("RC") or any(part.startswith(".") for part in (*folders, name)):
        return False
    return name.startswith("RS") or name.endswith(_DUMP_ENDINGS)


def read_submissions(address: str, line_limit_bytes: int = LINE_LIMIT_BYTES) -> Iterator[Submission | Drop]:
    """Yield a dump's submissions in their order, and a `Drop` for each line that is none.

    The reasons: "broken JSON line", "over-long line", "damaged file" (once, at the end of what
    could be read; it stands for the line that the damage cut) and "empty file".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no file system serves such an address.
    """
    number = 0
    with storage.open_read(address) as file:
        try:
            for number, line in enumerate(_lines(decompress(file, address), line_limit_bytes), start=1):
                if line is None:
                    yield Drop("over-long line", address, f"line {number:,}: over {line_limit_bytes:,} bytes")
                elif (submission := _parse(line, address, number)) is not None:
                    yield submission
        except DamagedFileError as damage:
            yield Drop("damaged file", address, f"after line {number:,}: {damage}")
            return
    if number == 0:
        yield Drop("empty file", address)


def _lines(pieces: Iterable[bytes], limit_bytes: int) -> Iterator[bytes | None]:
    """Cut a stream into its lines; None takes the place of one over the limit, which is never held whole."""
    rest = b""  # the line that has begun, unless it is too long already
    too_long = False
    try:
        for piece in pieces:
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield None if too_long or len(line) > limit_bytes else line
                too_long = False
            if too_long or len(rest) > limit_bytes:
                rest, too_long = b"", True
    except DamagedFileError:
        if rest.endswith(b"}"):  # as it seems, only the line's end is lost
            yield rest
        raise
    if rest or too_long:
        yield None if too_long else rest


def _parse(line: bytes, address: str, number: int) -> Submission | Drop | None:
    """Parse one line; None for a blank one, which is nothing at all."""
    try:
        submission = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            return None
        try:
            submission = _loads_leniently(line)
        except (ValueError, RecursionError):
            return Drop("broken JSON line", address, f"line {number:,}: {error}")
    if type(submission) is not dict:
        return Drop("broken JSON line", address, f"line {number:,}: not an object")
    return submission


def _loads_leniently(line: bytes) -> Any:
    """Parse what `orjson` refuses but dumps have: a byte-order mark, halves of surrogate pairs.

    JSON's grammar allows `\\ud83d` without its other half (RFC 8259, section 8.2), and titles that
    were cut at so many characters end with one. It becomes U+FFFD, as in a browser.
    """
    text = json.dumps(json.loads(line.decode("utf-8-sig")), ensure_ascii=False)
    return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
