"""Compressed files as a stream of bytes: `.zst`, `.xz`, `.bz2`, `.gz` and plain, recognised by content.

The wrappers that Python offers (`gzip.open` and its like) are not enough for dumps of tens of
gigabytes that come by torrents and mirrors: they lose what they had decoded when they meet damage.
Here every byte that can be decoded comes out, and then `DamagedFileError` says why that was all.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_BYTES = 1 << 16
"""What is asked of the file at once, and the most that one step of a decoder gives: so memory stays
flat whatever the ratio, and the cost of a step vanishes beside that of decoding 64 KiB."""

LONGEST_WINDOW_LOG2 = 31
"""Monthly Reddit dumps are compressed with `zstd --long=31`, which decoders refuse unless asked."""

XZ_MEMORY_BYTES = 512 * 2**20
"""What an `.xz` may ask for: a few bytes can ask for a dictionary of 4 GiB, and `xz -9` asks for 64 MiB."""


class DamagedFileError(Exception):
    """The rest of a compressed file cannot be read; the message says why."""


class Decoder(Protocol):
    """What the decoders of the standard library have in common; each reads one frame, stream or member."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class GzipDecoder:
    """One gzip member, by the protocol that the other decoders follow and `zlib`'s own does not."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._output_was_full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not (self.eof or self._inner.unconsumed_tail or self._output_was_full)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._output_was_full = len(output) == max_length  # more may wait inside with all input consumed
        return output


def _zstd_decoder() -> Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: LONGEST_WINDOW_LOG2})


def _xz_decoder() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


NewDecoder = Callable[[], Decoder]

_FORMATS: dict[str, tuple[bytes, NewDecoder]] = {
    ".zst": (b"\x28\xb5\x2f\xfd", _zstd_decoder),
    ".xz": (b"\xfd7zXZ\x00", _xz_decoder),
    ".bz2": (b"BZh", bz2.BZ2Decompressor),
    ".gz": (b"\x1f\x8b", GzipDecoder),
}
"""The usual ending → the bytes with which such a file begins, and how to make a decoder."""

COMPRESSED_ENDINGS = tuple(_FORMATS)

# What a decoder may raise at damaged data; OSError and ValueError are what `bz2` uses. Data may also ask for
# more memory than there is.
_DECODING_ERRORS = (zstd.ZstdError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, MemoryError)


def decoder_for(start: bytes, name: str) -> NewDecoder | None:
    """Choose a decoder by the first six bytes, or by name where they are ambiguous; None means plain.

    A file with the wrong ending is read for what it is. The ending decides only where the start is
    neither a known format's nor that of a JSON object, so that a damaged start is called damage. A
    `.zst` may also begin with a skippable frame, magic 0x184D2A50 to 0x184D2A5F (RFC 8878, 3.1.2).
    """
    for magic, new_decoder in _FORMATS.values():
        if start.startswith(magic):
            return new_decoder
    if start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50:
        return _zstd_decoder
    if start.lstrip().startswith((b"{", b"\xef\xbb\xbf")):  # the latter is a byte-order mark
        return None
    return next((new for ending, (_, new) in _FORMATS.items() if name.endswith(ending)), None)


def decompress(file: IO[bytes], name: str = "") -> Iterator[bytes]:
    """Stream what a file holds, decompressed, in pieces of at most `STEP_BYTES`.

    `file` must be seekable; `name` helps where the content does not show the format. Files of
    several frames, streams or members are read to their end, with or without zero bytes between.

    Raises:
        DamagedFileError: the compressed data end too early or make no sense. All that could be
            decoded has been given by then. (Errors of reading the file itself pass through: they
            may be temporary and say nothing about the data.)
    """
    start = file.read(6)
    file.seek(0)
    new_decoder = decoder_for(start, name)
    if new_decoder is None or not start:
        while data := file.read(STEP_BYTES):
            yield data
        return
    given = 0
    try:
        for piece in _decode(file, new_decoder):
            given += len(piece)
            yield piece
    except DamagedFileError as damage:
        if damage.__cause__ is not None:  # a decoder that fails swallows the output of its last step
            yield _last_output(file, new_decoder, given)
        raise


def _decode(file: IO[bytes], new_decoder: NewDecoder, bytewise_after: int | None = None) -> Iterator[bytes]:
    """Decode in steps of `STEP_BYTES`, or of one byte once `bytewise_after` bytes have come out."""
    decoder = new_decoder()
    given = 0
    data = b""
    while True:
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0") or _next_data(file)
            if not data:
                return
            decoder = new_decoder()
        elif decoder.needs_input:
            data = file.read(STEP_BYTES)
            if not data:
                raise DamagedFileError(f"ends in the middle of its compressed data, {given:,} bytes decoded")
        step_bytes = STEP_BYTES if bytewise_after is None or given < bytewise_after else 1
        try:
            piece = decoder.decompress(data, step_bytes)
        except _DECODING_ERRORS as error:
            raise DamagedFileError(f"{error} ({given:,} bytes decoded)") from error
        data = b""
        given += len(piece)
        if piece:
            yield piece


def _next_data(file: IO[bytes]) -> bytes:
    """Read on to where a further frame may begin, past zero bytes of padding; nothing at the file's end."""
    while data := file.read(STEP_BYTES):
        if data := data.lstrip(b"\0"):
            return data
    return b""


def _last_output(file: IO[bytes], new_decoder: NewDecoder, given: int) -> bytes:
    """Decode a damaged file once more, for what came out of its last step before the damage."""
    file.seek(0)
    seen = 0
    last = bytearray()
    try:
        for piece in _decode(file, new_decoder, bytewise_after=given):
            last += piece[max(0, given - seen) :]
            seen += len(piece)
    except DamagedFileError:
        pass
    return bytes(last)
