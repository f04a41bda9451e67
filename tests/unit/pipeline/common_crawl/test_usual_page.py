"""The short way accepts what the general reader accepts, with the same length, and nothing else."""

import base64
import gzip
import hashlib
import tracemalloc
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.common_crawl.record import Expected, FoundPage, examine, read_in_full
from pipeline.common_crawl.usual_page import LARGEST_BYTES, usual_page_bytes
from pipeline.web.http_head import Response
from pipeline.web.warc import response_record

URL = "http://example.com/a"
BODY = b"<html><body>A page of some length.</body></html>"
MAX_BYTES = 2**16

NAMES = st.sampled_from([
    b"WARC-Type", b"WARC-Target-URI", b"WARC-Truncated", b"Content-Length", b"Content-Type", b"content-type",
    b"X-Content-Type", b"Transfer-Encoding", b"Server", b"",
])  # fmt: skip
VALUES = st.sampled_from([
    b"response", b"Response", b"resource", URL.encode(), b"<http://b.com/>", b"http://b.com/\xc3\xa4",
    b"length", b"", b"7", b"text/html; charset=utf-8", b"application/pdf", b"chunked", b"a : b",
])  # fmt: skip
BEFORE = st.sampled_from([b""] * 6 + [b" ", b"\t", b"\x0b", b"\r", b"\n", b"X: y\n", b"X: y\r"])
COLONS = st.sampled_from([b": "] * 4 + [b":", b" : ", b"\t:", b"\xa0:", b"\x1c: ", b":\x0c", b"\r:", b""])
ENDS = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\n\r\n", b"\n\n", b"\r\r\n", b"\r\n\r\n"])
MORE = st.sampled_from([b" more\r\n", b"\tx\r\n", b"WARC-Truncated: length\r\n"])
LINES = st.tuples(BEFORE, NAMES, COLONS, VALUES, ENDS).map(b"".join) | st.sampled_from(
    [b" more\r\n", b"\tx\r\n", b"WARC-Truncated: length\r\n"]
)
STATUS_LINES = st.sampled_from([
    b"HTTP/1.0 200", b"HTTP/1.1 200", b"HTTP/1.1 2000", b"HTTP/1.1 200OK", b"http/1.1 200 OK", b"HTTP/2 200",
    b"HTTP/1.1  200 OK", b"HTTP/1.1 301 Moved", b"ICY 200 OK", b"", b"HTTP/1.1 200 OK\n",
])  # fmt: skip
VERSIONS = st.sampled_from(
    [b"WARC/1.1", b"WARC/0.18", b"WARC/1.0 ", b"ARC", b"", b"WARC/1.0\n", b"\r\nWARC/1.0"]
)
BODIES = st.sampled_from([
    b"", b"\r\n\r\n", b"\n\nx", b"5\r\n<html\r\n0\r\n\r\n", b"x" * 3_000, BODY + b"\r\n\r\n",
    b"\r\nContent-Type: text/css\r\n\r\n",
])  # fmt: skip
RECORD_ENDS = st.sampled_from([b"", b"\r\n", b"\n\n", b"\r\n\r\n\r\n", b"\r\n\r\nx", b"\r\n\r\nWARC/1.0\n"])
LENGTHS = st.sampled_from([b"%d", b"+%d", b"%d ", b"0%d", b"1_%d", b"%d.0", b"", b"000000000000000%d"])


PARTS = ("head", "answer", "status", "version", "body", "end", "length", "member", "digest")


@st.composite
def records(draw: st.DrawFn) -> tuple[bytes, str]:
    """A record in a gzip member with a digest; it is a usual page but for one or two things."""
    odd = set(draw(st.lists(st.sampled_from(PARTS))))
    odd = set(sorted(odd)[:2])

    def choice(what: str, usual: bytes, others: st.SearchStrategy[bytes]) -> bytes:
        return draw(others) if what in odd else usual

    def with_lines(what: str, lines: list[bytes]) -> bytes:
        for line in draw(st.lists(LINES, min_size=1, max_size=2)) if what in odd else []:
            lines.insert(draw(st.integers(1, len(lines))), line)
        return b"".join(lines) + b"\r\n"

    status = choice("status", b"HTTP/1.1 200 OK", STATUS_LINES)
    body = choice("body", BODY, BODIES)
    block = with_lines("answer", [status + b"\r\n", b"Content-Type: text/html\r\n"]) + body
    shorter = draw(st.sampled_from([0, 0, -1, 1, 4])) if "length" in odd else 0
    length = choice("length", b"%d", LENGTHS)
    length = length % (len(block) - shorter) if length else length
    head = with_lines("head", [
        choice("version", b"WARC/1.0", VERSIONS) + b"\r\n", b"WARC-Type: response\r\n",
        b"WARC-Target-URI: " + URL.encode() + b"\r\n", b"Content-Length: " + length + b"\r\n",
    ])  # fmt: skip
    record = head + block + choice("end", b"\r\n\r\n", RECORD_ENDS)
    member = gzip.compress(record, draw(st.sampled_from([0, 1, 9])), mtime=0)
    if "member" in odd:
        cut = draw(st.integers(-12, 12))
        member = member[:cut] if cut < 0 else member + member[:cut]
    _, _, payload = block.partition(b"\r\n\r\n")
    payload = payload[: len(payload) - shorter] if shorter > 0 else payload
    digest = digest_of(draw(st.sampled_from([payload, body])))
    forms = st.sampled_from(
        [digest.lower(), f"sha1:{digest}", "", "A" * 32, "_" * 32, "é" * 32, digest[:-1] + "1"]
    )
    return member, draw(forms) if "digest" in odd else digest


def digest_of(body: bytes) -> str:
    return base64.b32encode(hashlib.sha1(body).digest()).decode()


def assert_both_ways_say_the_same(member: bytes, digest: str, url: str = URL, most: int = MAX_BYTES) -> None:
    in_full = read_in_full(member, Expected(url, digest), most)
    short = usual_page_bytes(member, url, digest, most)
    assert short is None or in_full == FoundPage(short)
    assert examine(member, Expected(url, digest), most) == in_full


@settings(max_examples=700)
@given(records())
def test_both_ways_say_the_same_of_records_as_tools_write_them(found: tuple[bytes, str]) -> None:
    assert_both_ways_say_the_same(*found)


def usual(body: bytes = BODY, **change: object) -> bytes:
    fields = {"status": 200, "headers": [(b"Content-Type", b"text/html")]} | change
    return response_record(Response(
        url=URL, phrase="OK", body=body, address="192.0.2.1", at=datetime(2014, 1, 1, tzinfo=UTC), **fields
    ))  # type: ignore[arg-type]  # fmt: skip


DAMAGE = st.lists(
    st.tuples(st.integers(0, 2_000), st.integers(0, 255), st.sampled_from("sid")), min_size=1, max_size=3
)


def damaged(data: bytes, damage: list[tuple[int, int, str]]) -> bytes:
    """Set, insert or delete bytes."""
    for place, value, what in damage:
        at = place % (len(data) + 1)
        data = data[:at] + (b"" if what == "d" else bytes([value])) + data[at + (what != "i") :]
    return data


@settings(max_examples=300)
@given(DAMAGE, st.booleans())
@example([(3, 8, "s")], False)  # a header of gzip with more in it
def test_both_ways_say_the_same_of_damaged_records(damage: list[tuple[int, int, str]], inside: bool) -> None:
    member = usual()
    broken = gzip.compress(damaged(gzip.decompress(member), damage)) if inside else damaged(member, damage)
    assert_both_ways_say_the_same(broken, digest_of(BODY))


@pytest.mark.parametrize("size", [0, 1, 3_000, MAX_BYTES // 2])
def test_usual_page_takes_the_short_way(size: int) -> None:
    body = b"x" * size
    assert usual_page_bytes(usual(body), URL, digest_of(body), MAX_BYTES) == size
    assert usual_page_bytes(usual(body), URL, digest_of(body).lower(), MAX_BYTES) is None


@pytest.mark.parametrize("most", [0, 1, 40, MAX_BYTES, 2**24])
def test_page_of_any_size_is_judged_the_same_under_any_limit(most: int) -> None:
    for size in (0, 30, MAX_BYTES, LARGEST_BYTES + 1):
        body = bytes(size)
        assert_both_ways_say_the_same(usual(body), digest_of(body), most=most)


def test_member_that_unpacks_to_gigabytes_fills_no_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(16)) + packer.flush()
    tracemalloc.start()
    assert usual_page_bytes(bomb, URL, digest_of(b""), 2**30) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * LARGEST_BYTES < 2**28
