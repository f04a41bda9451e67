"""A record counts if it is the one that the index promised."""

import base64
import dataclasses
import gzip
import hashlib
from datetime import UTC, datetime

import pytest

from pipeline.common_crawl.record import Expected, FoundPage, FoundRedirect, as_gzip, examine
from pipeline.runner.records import Drop
from pipeline.web.http_head import Response
from pipeline.web.warc import response_record

BODY = b"<html><body>A page.</body></html>"
SHA1 = hashlib.sha1(BODY)
PAGE = Response(
    url="http://example.com/a", status=200, phrase="OK", headers=[(b"Content-Type", b"text/html")], body=BODY,
    address="192.0.2.1", at=datetime(2014, 1, 1, tzinfo=UTC),
)  # fmt: skip
DIGEST = base64.b32encode(SHA1.digest()).decode()


def seen(record: bytes, url: str = PAGE.url, digest: str = DIGEST) -> object:
    found = examine(record, Expected(url, digest), 2**20)
    return found.reason if isinstance(found, Drop) else found


@pytest.mark.parametrize(
    "digest",
    [
        DIGEST,
        f"sha1:{DIGEST}",
        f"sha1:{DIGEST.lower()}",
        f"sha1:{SHA1.hexdigest()}",
        "",
        "blake3:abc",
        "AAAA",
        f"sha-256:{hashlib.sha256(BODY).hexdigest()}",
        f"md5:{hashlib.md5(BODY).hexdigest()}",
    ],
)
def test_page_with_its_digest_in_any_form_is_a_page(digest: str) -> None:
    assert seen(response_record(PAGE), digest=digest) == FoundPage(len(BODY))


def test_record_of_another_page_or_with_other_bytes_is_none() -> None:
    record = response_record(PAGE)
    assert seen(record, url="https://example.com/a") == FoundPage(len(BODY))  # the twin is the same page
    assert seen(record, url="http://example.com/b") == "wrong record"
    assert seen(record, digest="A" * 32) == "wrong digest"
    assert seen(record, digest=f"sha256:{'0' * 64}") == "wrong digest"
    for broken in (b"", b"garbage" * 50, record[: len(record) // 2], gzip.compress(b"no record")):
        assert seen(broken) == "damaged archive"


def test_what_the_record_says_of_itself_is_believed() -> None:
    redirect = dataclasses.replace(PAGE, status=301, body=b"", headers=[(b"Location", b"/b")])
    assert seen(response_record(redirect), digest="") == FoundRedirect("/b")
    for change, reason in (
        ({"status": 404}, "not status 200"),
        ({"headers": [(b"Content-Type", b"application/pdf")]}, "not HTML"),
        ({"truncated": True}, "truncated capture"),
        ({"body": b"x" * 2**21}, "too large"),
    ):
        record = response_record(dataclasses.replace(PAGE, **change))  # type: ignore[arg-type]
        assert seen(record, digest="") == reason


def test_framed_body_has_the_digest_of_what_is_in_it() -> None:
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    plain = gzip.decompress(response_record(dataclasses.replace(PAGE, body=framed)))
    assert isinstance(examine(plain, Expected(PAGE.url, DIGEST), 2**20), FoundPage)
    assert gzip.decompress(as_gzip(plain)) == plain
    assert (
        as_gzip(response_record(PAGE)) == response_record(PAGE) or as_gzip(b"\x1f\x8b\x08") == b"\x1f\x8b\x08"
    )
