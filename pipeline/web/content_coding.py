"""Undoing HTTP's Content-Encoding with a bound on what comes out: a bomb costs its limit and no more."""

import io
import zlib
from collections.abc import Callable, Iterator

from fastwarc.stream_io import BrotliReader, ZstdReader


class CodingError(ValueError):
    """A body cannot be decoded: it is cut or broken, or its coding is not one we know."""


class TooLargeError(ValueError):
    """A body decodes to more bytes than allowed."""


def decode(body: bytes, codings: str, max_bytes: int, *, cut: bool = False) -> bytes:
    """Return a body with its content codings undone.

    Args:
        body: the bytes as they were received.
        codings: the value of Content-Encoding: codings in the order in which they were applied.
        max_bytes: the most that any of them may decode to.
        cut: give the beginning of a body that is longer, or that ends early, instead of raising.

    Raises:
        CodingError, TooLargeError.
    """
    for coding in reversed([name.strip().lower() for name in codings.split(",")]):
        body = _decode_one(body, coding, max_bytes, cut)
    return body


def _decode_one(body: bytes, coding: str, max_bytes: int, cut: bool) -> bytes:
    decoder = _DECODERS.get(coding)
    if decoder is None:
        raise CodingError(f"unknown coding {coding[:40]!r}")
    parts: list[bytes] = []
    room = max_bytes + 1
    try:
        for part in decoder(body, room):
            parts.append(part)
            room -= len(part)
            if room <= 0:
                break
    except (zlib.error, OSError) as error:
        if not cut:
            raise CodingError(str(error)) from error
    if room > 0:
        return b"".join(parts)
    if not cut:
        raise TooLargeError(f"more than {max_bytes} bytes")
    return b"".join(parts)[:max_bytes]


def _identity(body: bytes, room: int) -> Iterator[bytes]:
    yield body


def _inflate(body: bytes, room: int, window_bits: int) -> Iterator[bytes]:
    """Inflate one member after another; what follows the last is padding, and ignored as browsers do."""
    first = True
    while body and room > 0:
        decoder = zlib.decompressobj(window_bits)
        try:
            part = decoder.decompress(body, room)
        except zlib.error:
            if first:
                raise
            return
        yield part
        room -= len(part)
        if not decoder.eof and room > 0:
            raise zlib.error("the data ends early")
        body, first = decoder.unused_data, False


def _gzip(body: bytes, room: int) -> Iterator[bytes]:
    return _inflate(body, room, zlib.MAX_WBITS | 16)


def _deflate(body: bytes, room: int) -> Iterator[bytes]:
    """Inflate zlib data (RFC 9110, section 8.4.1.2), or the bare deflate data that some servers send."""
    is_zlib = body[:1] and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    return _inflate(body, room, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _brotli(body: bytes, room: int) -> Iterator[bytes]:
    return _read(BrotliReader(io.BytesIO(body)), room)


def _zstd(body: bytes, room: int) -> Iterator[bytes]:
    return _read(ZstdReader(io.BytesIO(body)), room)


def _read(reader: BrotliReader | ZstdReader, room: int) -> Iterator[bytes]:
    while room > 0 and (part := reader.read(min(room, 1 << 20))):
        yield part
        room -= len(part)


_DECODERS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "": _identity,
    "identity": _identity,
    "utf-8": _identity,  # a common mistake: a charset where a coding belongs
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
