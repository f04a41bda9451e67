"""HTTP responses out of archives: heads, as leniently as browsers read them, and chunked bodies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

HEAD_BYTES = 64 * 1024  # the longest head that is read

Headers = tuple[tuple[str, str], ...]

_STATUS = re.compile(rb"HTTP/\d[\d.]*[ \t]+(\d{3})(?!\d)", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1024})?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"',;]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response as it was received; `body` is still content-encoded."""

    url: str
    status: int
    phrase: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    address: str  # of the server, numeric
    at: datetime
    truncated: bool = False

    def header(self, name: str) -> str:
        """Return the value of a header, several joined by commas; empty where there is none."""
        wanted = name.lower().encode()
        return ",".join(value.decode("latin-1") for key, value in self.headers if key.lower() == wanted)

    def cut(self, max_bytes: int) -> "Response":
        """Return the response with so much of its body at most."""
        if len(self.body) <= max_bytes:
            return self
        return replace(self, body=self.body[:max_bytes], truncated=True)

    @property
    def header_texts(self) -> Headers:
        """The headers as text."""
        return tuple((header_text(name), header_text(value)) for name, value in self.headers)


def parse_head(block: bytes) -> tuple[int, Headers, int] | None:
    """Return status, headers and length of the head of a response; None if it is none.

    Lines may end in bare line feeds; a head that nothing follows may lack its blank line.
    """
    data = block[:HEAD_BYTES]
    status = _STATUS.match(data)
    if status is None:
        return None
    end = _BLANK_LINE.search(data)
    if end is None and len(block) > HEAD_BYTES:
        return None
    head = data[: end.start()] if end else data
    lines = re.sub(rb"\r?\n[ \t]+", b" ", head).split(b"\n")
    pairs = (line.partition(b":") for line in lines[1:])
    headers = tuple((header_text(name), header_text(value)) for name, colon, value in pairs if colon)
    return int(status[1]), headers, end.end() if end else len(data)


def header_text(raw: bytes) -> str:
    """Return a header's name or value, which is in UTF-8 or else in Latin-1."""
    raw = raw.strip()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def first(headers: Sequence[tuple[str, str]], name: str) -> str:
    """Return the value of a header, the first if it is there several times; empty where there is none."""
    return next((value for key, value in headers if key.lower() == name), "")


def every(headers: Sequence[tuple[str, str]], name: str) -> str:
    """Return the values of a header, joined by commas."""
    return ",".join(value for key, value in headers if key.lower() == name)


def charset_of(content_type: str) -> str:
    """Return the charset that a Content-Type names, or nothing."""
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def retry_after_s(value: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), or None."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def dechunked(body: bytes, transfer_encoding: str) -> tuple[bytes, bool]:
    """Undo a chunked body's framing, and say whether it was cut or broken; without any, give it back.

    Some tools keep the framing, others remove it and keep the header that announced it, or keep it without
    the header; and some proxies frame twice. The bytes decide. Of what is broken the beginning is kept.

    Args:
        body: as it is stored.
        transfer_encoding: the value of that header.
    """
    is_cut = False
    for _ in range(2):
        found = _chunks(body, is_declared="chunked" in transfer_encoding.lower())
        if found is None:
            break
        body, is_cut = found[0], found[1] or is_cut
    return body, is_cut


def _chunks(body: bytes, *, is_declared: bool) -> tuple[bytes, bool] | None:
    parts: list[bytes] = []
    position = 0
    while line := _CHUNK.match(body, position):
        begin, size = line.end(), int(line[1], 16)
        end = begin + size
        if size == 0:
            is_whole = bool(parts) or not body[begin:].strip()
            return (b"".join(parts), False) if is_whole else None
        if end <= len(body) and not body.startswith((b"\r\n", b"\n"), end) and end + 1 < len(body):
            break
        position = end + (2 if body.startswith(b"\r\n", end) else 1)
        is_framing = is_declared or body.startswith(b"<", begin) or _CHUNK.match(body, position)
        if not parts and not is_framing and position != len(body):
            return None  # a line that happens to be a number
        parts.append(body[begin:end])
        if position >= len(body):
            return b"".join(parts), True
    return (b"".join(parts), True) if parts else None
