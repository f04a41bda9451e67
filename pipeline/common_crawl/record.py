"""A record as it was fetched: is it the one that the index promised, and a page?"""

import base64
import binascii
import hashlib
import io
from dataclasses import dataclass
from typing import NamedTuple

from isal import igzip

from pipeline.common_crawl.usual_page import usual_page_bytes
from pipeline.runner.records import Drop
from pipeline.web import http_head
from pipeline.web.archive_records import GZIP_MAGIC, ZSTD_MAGIC, ArchiveFile, ArchiveRecord
from pipeline.web.urls import parse
from pipeline.web.warc import COMPRESSION_LEVEL, HTML_TYPES, PAGE_KINDS, REDIRECTS, media_type


class Expected(NamedTuple):
    """What the index says of a record."""

    url: str
    digest: str  # of the payload: base32 SHA-1, or with its algorithm before a colon; or nothing


@dataclass(frozen=True)
class FoundPage:
    """A page; the record is kept as it came."""

    body_bytes: int


@dataclass(frozen=True)
class FoundRedirect:
    """A redirect, and where it leads."""

    location: str


def examine(member: bytes, expected: Expected, max_bytes: int) -> FoundPage | FoundRedirect | Drop:
    """Say what a record is, if it is the one that is expected.

    The reasons: "damaged archive", "wrong record", "wrong digest", "too large", "truncated capture", "not
    status 200", "not HTML".

    Args:
        member: the record, as a range request gave it: compressed as it lies in its file, or plain.
        expected: what the index says of it.
        max_bytes: the most that a body may have.
    """
    body_bytes = usual_page_bytes(member, expected.url, expected.digest, max_bytes)
    return read_in_full(member, expected, max_bytes) if body_bytes is None else FoundPage(body_bytes)


def read_in_full(member: bytes, expected: Expected, max_bytes: int) -> FoundPage | FoundRedirect | Drop:
    """Say the same as `examine`, of any record however unusual, without a shorter way for the usual ones."""
    if member.startswith(ZSTD_MAGIC):
        return Drop("damaged archive", detail="compressed with zstd, whose dictionary lies elsewhere")
    record = ArchiveFile(io.BytesIO(member)).read(0, max_bytes + http_head.HEAD_BYTES)
    if not isinstance(record, ArchiveRecord):
        return Drop("damaged archive", detail=record.detail[:300])
    if record.kind not in PAGE_KINDS:
        return Drop("wrong record", detail=f"of type {record.kind or 'untyped'}"[:300])
    url = record.headers.get("warc-target-uri", "").strip("<>")
    if not _is_same(url, expected.url):
        return Drop("wrong record", detail=f"of {url[:300]}")
    if record.size_bytes > max_bytes + http_head.HEAD_BYTES:
        return Drop("too large", detail=f"{record.size_bytes:,} bytes")
    head = http_head.parse_head(record.block)
    if head is None and record.kind == "resource":  # the page itself, without a server's words about it
        head = 200, (("Content-Type", record.headers.get("content-type", "")),), 0
    if head is None:
        return Drop("damaged archive", detail="no HTTP response in the record")
    status, headers, head_bytes = head
    body = record.block[head_bytes:]
    if not _has_digest(body, headers, expected.digest or record.headers.get("warc-payload-digest", "")):
        return Drop("wrong digest", detail=f"not {expected.digest[:100]}")
    if status in REDIRECTS:
        return FoundRedirect(http_head.first(headers, "location"))
    if status != 200:
        return Drop("not status 200", detail=f"status {status}")
    content_type = http_head.first(headers, "content-type")
    if media_type(content_type) not in HTML_TYPES:
        return Drop("not HTML", detail=content_type[:100] or "no Content-Type")
    if record.headers.get("warc-truncated"):
        return Drop("truncated capture", detail=record.headers["warc-truncated"][:100])
    return FoundPage(len(body))


def as_gzip(record: bytes) -> bytes:
    """Return a record of a plain archive as a gzip member; one that is a member stays as it came."""
    if record.startswith(GZIP_MAGIC[:2]):
        return record
    return igzip.compress(record, COMPRESSION_LEVEL, mtime=0)


def _is_same(url: str, expected: str) -> bool:
    if url == expected:
        return True
    one, other = parse(url), parse(expected)
    return not isinstance(one, Drop) and not isinstance(other, Drop) and one.key == other.key


def _has_digest(body: bytes, headers: http_head.Headers, digest: str) -> bool:
    """Say whether a payload has a digest; of one in a form that nobody here can compute, that it has."""
    algorithm, _, value = digest.rpartition(":")
    algorithm = (algorithm or "sha1").lower().replace("-", "")
    if not value or algorithm not in ("sha1", "sha256", "sha512", "md5"):
        return True
    wanted = _digest_bytes(value, hashlib.new(algorithm, usedforsecurity=False).digest_size)
    if wanted is None:
        return True
    if hashlib.new(algorithm, body, usedforsecurity=False).digest() == wanted:
        return True
    # Some tools keep a body's framing and digest what is in it.
    bare, _ = http_head.dechunked(body, http_head.every(headers, "transfer-encoding"))
    return hashlib.new(algorithm, bare, usedforsecurity=False).digest() == wanted


def _digest_bytes(value: str, size: int) -> bytes | None:
    """Return a digest in base32 or base16 as bytes; None for any other form."""
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        found = base64.b32decode(value.upper() + "=" * (-len(value) % 8))
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == size else None
