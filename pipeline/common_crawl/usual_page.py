"""A record as nearly all are, known for the promised page in few operations.

Nearly all records of a crawl are one gzip member with one plain head, an answer of status 200 in HTML, and
the digest that the index gives. Such a one is accepted here, at a third of the general reader's cost. All
others are left to that one: no reason for a drop is ever given here, so the two cannot contradict each other.
"""

import hashlib
from functools import lru_cache

from isal import isal_zlib

from pipeline.web.archive_records import GZIP_MAGIC, HEAD_BYTES
from pipeline.web.warc import HTML_TYPES, media_type

LARGEST_BYTES = 4 * 2**20  # of an unpacked record; what unpacks to more is read in pieces
MEMBER_START = GZIP_MAGIC + b"\0"  # neither a name nor a comment nor a checksum of its own
VERSIONS = (b"WARC/1.0\r\n", b"WARC/1.1\r\n")
STATUS_LINES = tuple(b"HTTP/1.%d 200%b" % (minor, after) for minor in (0, 1) for after in (b" ", b"\r"))
BLANK_LINE = b"\r\n\r\n"

_PRINTABLE = bytes(range(0x20, 0x7F))
_BASE32, _DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghijklmnopqrstuv"
_AS_DIGITS = bytes.maketrans(
    bytes(range(256)),
    bytes(_DIGITS[_BASE32.index(char)] if char in _BASE32 else ord("!") for char in range(256)),
)
"""From base32's letters (RFC 4648) to the digits that `int` reads; from all else to what it refuses."""


def usual_page_bytes(member: bytes, url: str, digest: str, max_bytes: int) -> int | None:
    """Return the length of the page in a record, if that is the promised one and nothing about it unusual.

    Args:
        member: the record as it lies in its file.
        url: the address that the index gives.
        digest: the payload's SHA-1 that the index gives, in base32.
        max_bytes: the most that a body may have.
    """
    if not member.startswith(MEMBER_START):
        return None
    inflater = isal_zlib.decompressobj(wbits=31)
    try:
        record = inflater.decompress(member, max(1, min(max_bytes, LARGEST_BYTES)))  # 0: without end
        wanted = int(digest.encode().translate(_AS_DIGITS), 32) if len(digest) == 32 else -1
    except (isal_zlib.error, ValueError):  # type: ignore[misc]  # a type, whatever its stubs say
        return None
    head = _head(record, 0, len(record))
    if not inflater.eof or head is None or not head.startswith(VERSIONS):
        return None
    lowered = head.lower()
    begin, length = len(head) + 2, _value(head, lowered, b"content-length")
    if not length.isdigit() or len(length) >= 16 or record[begin + int(length) :] != BLANK_LINE:
        return None
    is_promised = _value(head, lowered, b"warc-target-uri").strip(b"<>") == url.encode(errors="surrogatepass")
    kind, truncated = _value(head, lowered, b"warc-type"), _value(head, lowered, b"warc-truncated")
    if not is_promised or kind != b"response" or truncated:
        return None
    end = begin + int(length)
    answer = _head(record, begin, end)
    if answer is None or not answer.startswith(STATUS_LINES):
        return None
    if not _is_html(_value(answer, answer.lower(), b"content-type")):
        return None
    begin += len(answer) + 2
    found = hashlib.sha1(memoryview(record)[begin:end], usedforsecurity=False).digest()
    return end - begin if int.from_bytes(found) == wanted else None


def _head(record: bytes, begin: int, end: int) -> bytes | None:
    """Return the head that begins there, less its blank line, if it can be read in one way only.

    All its lines end in CR and LF, none goes on in the next, its letters are ASCII's, and nothing stands
    before a colon but a name.
    """
    found = record.find(BLANK_LINE, begin, min(end, begin + HEAD_BYTES))
    if found < 0:
        return None
    head = record[begin : found + 2]
    unprintable = head.translate(None, _PRINTABLE)
    is_plain = unprintable == b"\r\n" * (len(unprintable) // 2) and b"\n " not in head and b" :" not in head
    return head if is_plain else None


def _value(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """Return the first value of a header, whose name is in lower case; empty where there is none."""
    begin = lowered.find(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    begin += len(name) + 3
    return head[begin : head.index(b"\r\n", begin)].strip()


@lru_cache(1_024)
def _is_html(content_type: bytes) -> bool:
    return media_type(content_type.decode()) in HTML_TYPES
