"""Undoing HTTP's Content-Encoding with a bound on what comes out: a bomb costs its limit and no more.

What a header says of a body is often wrong: `gzip` over plain bytes, twice said and once done, or a name that
is no coding (`none`, `utf-8`). So the bytes are looked at first, and the header second.

The work is in proportion to what comes in and goes out. zlib hands back a copy of all that follows a member
that has ended; given whole bodies, a body of many empty members would take time by the square of its length.
"""

import io
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from fastwarc.stream_io import BrotliReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CODINGS = 5
"""Codings that one body may have on top of each other; curl's limit."""

MAX_MEMBERS = 100_000
"""Members (frames) of one coding, one after another. Servers that flush often send hundreds; each costs a
microsecond, or ten in zstd, although it may be empty."""

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_STEP_BYTES = 1024  # what zlib is given at once: the most that it copies at the end of a member
_ZSTD_WINDOW_LOG2 = 23  # 8 MiB: RFC 9659
_HEAD_BYTES = 1024  # in which text shows that it is text

_NO_TEXT = bytes({*range(0x20)} - {*b"\t\n\v\f\r\x1b"})  # escapes stand in ISO 2022's Japanese
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")


class _Decoder(Protocol):
    """What zlib's and zstd's decoders have in common; each reads one member."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class CodingError(ValueError):
    """A body cannot be decoded: it is cut or broken, or its coding is not one we know."""


class TooLargeError(ValueError):
    """A body decodes to more bytes than allowed."""


def decode(body: bytes, codings: str, max_bytes: int, *, cut: bool = False) -> bytes:
    """Return a body with its content codings undone; one that was never coded is returned as it is.

    Args:
        body: the bytes as they were received.
        codings: the value of Content-Encoding: codings in the order in which they were applied.
        max_bytes: the most that any of them may decode to.
        cut: give the beginning of a body that is longer, or that ends early, instead of raising.

    Raises:
        CodingError, TooLargeError.
    """
    names = [name.strip().lower() for name in codings.split(",")]
    if len(names) > MAX_CODINGS:
        raise CodingError(f"more than {MAX_CODINGS} codings")
    # Other names say nothing, unless there is nothing else.
    for name in [name for name in reversed(names) if name in _NAMES] or names[:1]:
        body = _decode_one(body, name, max_bytes, cut)
    return body


def _decode_one(body: bytes, name: str, max_bytes: int, cut: bool) -> bytes:
    coding = _coding_of(body, name)
    if coding is None:
        if body and name not in _PLAIN and not looks_plain(body):
            raise CodingError(f"not in the coding that it names, {name[:40]!r}")
        return _bounded(body, max_bytes, cut)
    try:
        return _bounded(_joined(_DECODERS[coding](body, max_bytes + 1), cut), max_bytes, cut)
    except CodingError:
        if coding in _WITHOUT_MAGIC and looks_plain(body):
            return _bounded(body, max_bytes, cut)
        raise


def _coding_of(body: bytes, name: str) -> str | None:
    """Say which coding a body is in: by its first bytes, else by its name if it is one without such."""
    if body.startswith(GZIP_MAGIC):
        return "gzip"
    if body.startswith(ZSTD_MAGIC):
        return "zstd"
    if body and name in _WITHOUT_MAGIC and not _begins_as_markup(body):
        return name
    return None


def looks_plain(body: bytes) -> bool:
    """Say whether bytes begin as a text or as markup does, and not as compressed data would."""
    head = body[:_HEAD_BYTES]
    return _begins_as_markup(head) or len(head.translate(None, _NO_TEXT)) == len(head)


def _begins_as_markup(body: bytes) -> bool:
    head = body[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(_UTF_16) or (head[:1] == b"<" and (head[1:2].isalpha() or head[1:2] in b"!?/"))


def _joined(parts: Iterator[bytes], cut: bool) -> bytes:
    """Put parts together; what came before an error counts if `cut`."""
    found: list[bytes] = []
    try:
        found.extend(parts)
    except CodingError:
        if not cut:
            raise
    return b"".join(found)


def _bounded(body: bytes, max_bytes: int, cut: bool) -> bytes:
    if len(body) > max_bytes and not cut:
        raise TooLargeError(f"more than {max_bytes} bytes")
    return body[:max_bytes]


def _in_steps(body: bytes, room: int, new_decoder: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Decode one member (or frame) after another; what follows the last is ignored, as browsers do."""
    decoder = new_decoder()
    count, is_begun = 1, False
    for start in range(0, len(body), _STEP_BYTES):
        data = body[start : start + _STEP_BYTES]
        while data := data if count == 1 or is_begun else data.lstrip(b"\0"):  # between members: padding
            try:
                part = decoder.decompress(data, room)
            except (zlib.error, zstd.ZstdError) as error:
                if count == 1 or is_begun:
                    raise CodingError(str(error)) from error
                return
            yield part
            room -= len(part)
            if room <= 0:
                return
            data, is_begun = decoder.unused_data, True
            if decoder.eof:
                decoder, count, is_begun = new_decoder(), count + 1, False
                if count > MAX_MEMBERS:
                    raise CodingError(f"more than {MAX_MEMBERS:,} members")
    if count == 1 or is_begun:
        raise CodingError("the data ends early")


def _gzip(body: bytes, room: int) -> Iterator[bytes]:
    return _in_steps(body, room, partial(zlib.decompressobj, zlib.MAX_WBITS | 16))


def _deflate(body: bytes, room: int) -> Iterator[bytes]:
    """Inflate zlib data (RFC 9110, section 8.4.1.2), or the bare deflate data that some servers send."""
    is_zlib = body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    bits = zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
    return _in_steps(body, room, partial(zlib.decompressobj, bits))


def _zstd(body: bytes, room: int) -> Iterator[bytes]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG2}
    return _in_steps(body, room, partial(zstd.ZstdDecompressor, options=options))


def _brotli(body: bytes, room: int) -> Iterator[bytes]:
    reader = BrotliReader(io.BytesIO(body))
    try:
        while room > 0 and (part := reader.read(min(room, 1 << 20))):
            yield part
            room -= len(part)
    except OSError as error:
        raise CodingError(str(error)) from error


_DECODERS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
_NAMES = _DECODERS.keys() | {"x-gzip"}
_WITHOUT_MAGIC = frozenset({"deflate", "br"})
_PLAIN = frozenset({"", "identity"})
