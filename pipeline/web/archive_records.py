"""Records of web archives: WARC 0.17 to 1.1 and ARC, plain or with a gzip member or zstd frame a record.

Twenty years of tools wrote them, and not all of them well: lengths are missing or wrong, members empty,
lines end in bare line feeds, bytes have been lost. Damage costs the record that has it, and is reported;
reading goes on at the next record: the next member, or in a plain file the next line that begins one.
"""

import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from pipeline.web.decompression import Decoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD_BYTES = 64 * 1024  # the longest head of a record
STEP_BYTES = 256 * 1024
MAX_DICTIONARY_BYTES = 32 * 2**20
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
"""Of a skippable frame with the dictionary of all others (the .warc.zst form of Archive Team, 2020)."""

NewDecoder = Callable[[], Decoder]

_WARC = re.compile(rb"WARC/\d[\d.]*[ \t]*\r?\n")
_ARC = re.compile(rb"([a-z][a-z0-9+.-]{0,15}:\S+) (\S+) (\d{8,14}) (\S+)(?: [^\r\n]*?)?? (\d+)\r?\n", re.I)
_BLANK_LINE = re.compile(rb"\n\r?\n")
_NEXT_RECORD = re.compile(rb"WARC/\d[\d.]*[ \t]*\r?\n(?:WARC|Content)-", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """A record, and as much of its block as was asked for."""

    offset: int
    kind: str  # its WARC-Type in lower case
    headers: dict[str, str]  # by name in lower case
    block: bytes  # its beginning
    size_bytes: int  # of the whole block


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in an archive that could not be read, or not as it says of itself."""

    offset: int
    detail: str
    is_whole_file: bool = False  # records cannot be separated


class ArchiveFile:
    """An archive that is open for reading, whatever it is compressed with."""

    def __init__(self, file: IO[bytes]) -> None:
        """Look at the beginning of a seekable file."""
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self._start, self._data = 0, b""  # what was read last
        self._first = 0
        self._magic, self._broken = b"", "no record in it"
        self._new_decoder: NewDecoder | None = None
        head = self._at(0, 8)
        if head.startswith(GZIP_MAGIC[:2]):
            self._magic, self._new_decoder = GZIP_MAGIC, _new_gzip_decoder
        elif head.startswith((ZSTD_MAGIC, DICTIONARY_MAGIC)):
            self._magic = ZSTD_MAGIC
            try:
                self._new_decoder = self._zstd(head)
            except (zstd.ZstdError, ValueError, MemoryError) as error:
                self._first, self._size = 0, 0
                self._broken = f"its dictionary cannot be used: {error}"

    def scan(self, block_bytes: int) -> Iterator[ArchiveRecord | Damage]:
        """Yield all records, each with so many bytes of its block, and the damage between them."""
        position, found = self._first, 0
        while position < self._size:
            items, position = self._next(position, block_bytes)
            for item in items:
                yield item
                found += 1
                if isinstance(item, Damage) and item.is_whole_file:
                    return
        if not found:
            yield Damage(-1, self._broken)

    def read(self, offset: int, block_bytes: int) -> ArchiveRecord | Damage:
        """Return the record at an offset that a scan gave."""
        if not self._begins_record(offset):
            return Damage(offset, f"no record at byte {offset}")
        items, _ = self._next(offset, block_bytes)
        records = [item for item in items if isinstance(item, ArchiveRecord) and item.offset == offset]
        return next(iter([*records, *items]), Damage(offset, f"no record at byte {offset}"))

    def _begins_record(self, offset: int) -> bool:
        if offset < 0 or offset >= self._size:
            return False
        head = self._at(offset, HEAD_BYTES)
        return head.startswith(self._magic) if self._magic else bool(_WARC.match(head) or _ARC.match(head))

    def _next(self, position: int, block_bytes: int) -> tuple[list[ArchiveRecord | Damage], int]:
        """Return what lies at a position, and where to read on."""
        if self._new_decoder is None:
            return self._next_plain(position, block_bytes)
        return self._next_member(position, block_bytes, self._new_decoder)

    # --- bytes ---

    def _at(self, position: int, size: int) -> bytes:
        """Return some bytes of the file, fewer at its end."""
        begin = position - self._start
        if begin < 0 or begin + size > len(self._data):
            self._file.seek(position)
            self._start, self._data = position, self._file.read(max(size, STEP_BYTES))
            begin = 0
        return self._data[begin : begin + size]

    def _find(self, pattern: re.Pattern[bytes], position: int) -> int:
        """Return where a short pattern stands next, or the file's end."""
        while position < self._size:
            data = self._at(position, STEP_BYTES)
            found = pattern.search(data)
            if found:
                return position + found.start()
            if position + len(data) >= self._size:
                break
            position += max(1, len(data) - 128)
        return self._size

    def _zstd(self, head: bytes) -> NewDecoder:
        dictionary = None
        if head.startswith(DICTIONARY_MAGIC):
            size = int.from_bytes(head[4:8], "little")
            self._first = 8 + size
            content = self._at(8, size) if size <= MAX_DICTIONARY_BYTES else b""
            if content.startswith(ZSTD_MAGIC):
                content = zstd.ZstdDecompressor().decompress(content, MAX_DICTIONARY_BYTES)
            dictionary = zstd.ZstdDict(content, is_raw=not content.startswith(b"\x37\xa4\x30\xec"))
        return lambda: zstd.ZstdDecompressor(zstd_dict=dictionary)

    # --- compressed: a record is a member ---

    def _next_member(
        self, position: int, block_bytes: int, new_decoder: NewDecoder
    ) -> tuple[list[ArchiveRecord | Damage], int]:
        member = _Member(self._at, position, new_decoder())
        try:
            start = member.read(HEAD_BYTES + block_bytes)
            if member.is_padding:
                return [], member.end
            padding = len(start) - len(start.lstrip(b"\r\n"))
            head = _parse_head(start[padding : padding + HEAD_BYTES])
            if head is None:
                member.skip()
                return ([Damage(position, "no record in a member")] if start.strip() else []), member.end
            kind, headers, head_bytes, declared = head
            begin = padding + head_bytes
            rest = member.rest_after(begin + declared if declared is not None else begin)
        except _MemberError as error:
            return [Damage(position, str(error))], self._find_member(position + 1)
        if _WARC.match(rest.lstrip(b"\r\n")):
            detail = "compressed as a whole; `warcio recompress` makes it seekable"
            return [Damage(position, detail, is_whole_file=True)], member.end
        if declared is None:
            return [Damage(position, "a record without a length")], member.end
        size = member.size - begin - member.line_ends
        wrong = rest.strip(b"\r\n") or member.size < begin + declared
        size = size if wrong else declared
        record = ArchiveRecord(
            offset=position, kind=kind, headers=headers, size_bytes=size,
            block=start[begin : begin + min(size, block_bytes)],
        )  # fmt: skip
        detail = f"a record of {size:,} bytes that says it has {declared:,}"
        return ([record, Damage(position, detail)] if wrong else [record]), member.end

    def _find_member(self, position: int) -> int:
        """Return where a member begins that has a record in it, or the file's end."""
        assert self._new_decoder is not None
        pattern = re.compile(re.escape(self._magic))
        while (position := self._find(pattern, position)) < self._size:
            try:
                start = _Member(self._at, position, self._new_decoder()).read(16)
                if start.lstrip(b"\r\n").startswith(b"WARC/") or _ARC.match(start.ljust(16)):
                    return position
            except _MemberError:
                pass
            position += 1
        return self._size

    # --- plain: a record ends where its length says, or else where the next one begins ---

    def _next_plain(self, position: int, block_bytes: int) -> tuple[list[ArchiveRecord | Damage], int]:
        data = self._at(position, HEAD_BYTES)
        skipped = len(data) - len(data.lstrip(b"\r\n"))
        position += skipped
        head = _parse_head(data[skipped:])
        if head is None:
            if skipped == len(data):
                return [], position
            return [Damage(position, "no record there")], self._find_plain(position + 1)
        kind, headers, head_bytes, declared = head
        begin = position + head_bytes
        if declared is None:
            return [Damage(position, "a record without a length")], self._find_plain(begin)
        end = begin + declared
        after = self._at(end, HEAD_BYTES).lstrip(b"\r\n") if end <= self._size else b"?"
        wrong = bool(after) and not (_WARC if _WARC.match(data, skipped) else _ARC).match(after)
        if wrong:
            following = self._find_plain(begin)
            if following == self._size and end > self._size:
                return [Damage(position, "cut short")], self._size
            if following < self._size:  # else no other end than the one that it says can be seen
                end = self._without_line_ends(begin, following)
        record = ArchiveRecord(
            offset=position, kind=kind, headers=headers, size_bytes=end - begin,
            block=self._at(begin, min(end - begin, block_bytes)),
        )  # fmt: skip
        detail = f"its length is said to be {declared:,} bytes, and no record follows there"
        return ([record, Damage(position, detail)], following) if wrong else ([record], end)

    def _find_plain(self, position: int) -> int:
        return self._find(_NEXT_RECORD, position)

    def _without_line_ends(self, begin: int, end: int) -> int:
        start = max(begin, end - 4)
        return start + len(self._at(start, end - start).rstrip(b"\r\n"))


class _MemberError(Exception):
    """A member is cut, or its compressed data make no sense."""


class _Member:
    """One gzip member or zstd frame on its way through a decoder."""

    def __init__(self, at: Callable[[int, int], bytes], position: int, decoder: Decoder) -> None:
        self.end = position  # of what was fed
        self.size = 0  # of what came out
        self.line_ends = 0  # bytes of line ends at its end
        self.is_padding = at(position, 1) == b"\0"
        if self.is_padding:
            zeros = at(position, STEP_BYTES)
            self.end += len(zeros) - len(zeros.lstrip(b"\0"))
        self._at = at
        self._decoder = decoder
        self._kept = b""

    def read(self, size: int) -> bytes:
        """Return the beginning of the content, about so much of it."""
        parts = []
        while self.size < size and not self.is_padding and (piece := self._piece()):
            parts.append(piece)
        self._kept = b"".join(parts)
        return self._kept

    def skip(self) -> None:
        """Go to the member's end."""
        while self._piece():
            pass

    def rest_after(self, position: int, size: int = 64) -> bytes:
        """Return what follows a position in the content, of which no more than its beginning is wanted."""
        rest = self._kept[position : position + size]
        while True:
            begin = self.size
            piece = self._piece()
            if not piece:
                return rest
            if len(rest) < size and self.size > position:
                rest += piece[max(0, position - begin) :][: size - len(rest)]

    def _piece(self) -> bytes:
        try:
            while not self._decoder.eof:
                data = b""
                if self._decoder.needs_input:
                    data = self._at(self.end, STEP_BYTES // 4)
                    if not data:
                        raise _MemberError("cut short")
                    self.end += len(data)
                piece = self._decoder.decompress(data, STEP_BYTES)
                self.end -= len(self._decoder.unused_data)  # nothing, until the member has ended
                if piece:
                    self.size += len(piece)
                    ends = len(piece) - len(piece.rstrip(b"\r\n"))
                    self.line_ends = min(4, ends + (self.line_ends if ends == len(piece) else 0))
                    return piece
        except (IsalError, zstd.ZstdError, ValueError, EOFError, MemoryError) as error:  # type: ignore[misc]
            raise _MemberError(str(error)) from error
        return b""


def _new_gzip_decoder() -> Decoder:
    """Return a decoder by ISA-L, in whose time zlib would decode half as much."""
    return IgzipDecompressor(flag=DECOMP_GZIP)


def _parse_head(data: bytes) -> tuple[str, dict[str, str], int, int | None] | None:
    """Return type, headers, length of the head, and length of the block if it is given; None: no record."""
    version = _WARC.match(data)
    if version is None:
        return _parse_arc_head(data)
    end = _BLANK_LINE.search(data, version.end() - 1)
    if end is None:
        return None
    headers: dict[str, str] = {}
    lines = re.sub(rb"\r?\n[ \t]+", b" ", data[version.end() : end.start()]).decode("utf-8", "replace")
    for line in lines.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    declared = headers.get("content-length", "")
    size = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 16 else None
    return headers.get("warc-type", "").lower(), headers, end.end(), size


def _parse_arc_head(data: bytes) -> tuple[str, dict[str, str], int, int | None] | None:
    """Read the one line that an ARC record has for a head: address, IP, date, type, (more), length."""
    line = _ARC.match(data)
    if line is None:
        return None
    url, address, date, content_type, size = (value.decode("utf-8", "replace") for value in line.groups())
    padded = date.ljust(14, "0")
    day, time = f"{padded[:4]}-{padded[4:6]}-{padded[6:8]}", f"{padded[8:10]}:{padded[10:12]}:{padded[12:14]}"
    headers = {"warc-target-uri": url, "warc-ip-address": address, "warc-date": f"{day}T{time}Z"}
    is_opening = url.lower().startswith("filedesc:")
    headers["content-type"] = content_type if is_opening else "application/http"
    return "warcinfo" if is_opening else "response", headers, line.end(), int(size[:15])
