"""Archives of every kind are read as far as they are whole, and say where they are not."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter
from fastwarc.warc import WarcRecord, WarcRecordType

from pipeline.runner.records import Drop
from pipeline.web.warc import (
    Page,
    PageRecord,
    Response,
    read_page,
    response_record,
    scan_pages,
    warcinfo_record,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHARED = Path(__file__).parents[5] / "shared" / "data" / "pages.warc.gz"


def response(url: str, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> Response:
    if not any(name == b"Content-Type" for name, _ in headers):
        headers = (*headers, (b"Content-Type", b"text/html; charset=latin-1"))
    return Response(
        url=url, status=status, phrase="OK", headers=headers, body=body, address="192.0.2.1", at=AT
    )


def read_pages(address: str) -> Iterator[Page | Drop]:
    """Read every page that an archive's scan names, as the pipeline does: by its offset."""
    for found in scan_pages(address):
        yield found if isinstance(found, Drop) else read_page(address, found.offset)


def archive(path: Path, *responses: Response) -> list[int]:
    """Write a WARC file and return its offsets, the last of which is its end."""
    members = [warcinfo_record(path.name, [("software", "test")]), *map(response_record, responses)]
    path.write_bytes(b"".join(members))
    return [sum(map(len, members[:count])) for count in range(len(members) + 1)]


PAGES = [response(f"http://site.example/{n}", b"<p>page %d</p>" % n + os.urandom(300)) for n in range(4)]


def pages_and_drops(path: Path) -> tuple[list[str], list[Drop]]:
    found = list(scan_pages(str(path)))
    return (
        [item.url for item in found if isinstance(item, PageRecord)],
        [item for item in found if isinstance(item, Drop)],
    )


URLS = [page.url for page in PAGES]


def test_pages_are_found_where_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    offsets = archive(path, *PAGES)
    found = list(scan_pages(str(path)))
    assert found == [
        PageRecord(
            url=page.url, status=200, content_type="text/html; charset=latin-1", date=AT, offset=offset
        )
        for page, offset in zip(PAGES, offsets[1:], strict=False)
    ]
    page = read_page(str(path), offsets[3])
    assert isinstance(page, Page)
    assert (page.url, page.body, page.charset, page.date) == (PAGES[2].url, PAGES[2].body, "latin-1", AT)
    assert page.headers == (("Content-Type", "text/html; charset=latin-1"),)
    assert [read.body for read in read_pages(str(path)) if isinstance(read, Page)] == [p.body for p in PAGES]


def test_only_html_answered_with_200_counts_as_a_page(tmp_path: Path) -> None:
    path = tmp_path / "mixed.warc.gz"
    archive(
        path,
        response("http://site.example/moved", b"", status=301),
        response("http://site.example/missing", b"<p>no</p>", status=404),
        response("http://site.example/image", b"GIF89a", (b"Content-Type", b"image/gif")),
        response("http://site.example/xhtml", b"<p/>", (b"Content-Type", b"application/xhtml+xml")),
    )
    assert pages_and_drops(path) == (["http://site.example/xhtml"], [])


def members_of(path: Path, offsets: list[int]) -> list[bytes]:
    content = path.read_bytes()
    return [gzip.decompress(content[begin:end]) for begin, end in pairwise(offsets)]


@pytest.mark.parametrize(
    ("suffix", "encode"), [(".warc", bytes), (".warc.gz", gzip.compress), (".warc.zst", zstandard.compress)]
)
def test_every_container_is_read(tmp_path: Path, suffix: str, encode: Callable[[bytes], bytes]) -> None:
    packed = tmp_path / "pages.warc.gz"
    members = members_of(packed, archive(packed, *PAGES))
    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"".join(map(encode, members)))
    assert pages_and_drops(path) == (URLS, [])
    assert [page.url for page in read_pages(str(path)) if isinstance(page, Page)] == URLS


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress])
def test_archive_compressed_as_a_whole_is_told_apart(
    tmp_path: Path, encode: Callable[[bytes], bytes]
) -> None:
    packed = tmp_path / "pages.warc.gz"
    path = tmp_path / "whole.warc.gz"
    path.write_bytes(encode(b"".join(members_of(packed, archive(packed, *PAGES)))))
    urls, drops = pages_and_drops(path)
    assert (urls, [drop.reason for drop in drops]) == ([], ["unseekable archive"])


def test_archive_is_read_from_any_file_system() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/there.warc.gz", response_record(PAGES[0]))
    assert [page.url for page in read_pages("memory://there.warc.gz") if isinstance(page, Page)] == URLS[:1]


@pytest.mark.parametrize("packed", [True, False])
def test_cut_archive_gives_what_is_whole_and_then_the_damage(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "cut.warc.gz"
    offsets = archive(path, *PAGES)
    content = path.read_bytes()
    if not packed:
        content = gzip.decompress(content)
        offsets = [len(gzip.decompress(path.read_bytes()[:offset])) if offset else 0 for offset in offsets]
    for count in range(2, 5):
        begin, end = offsets[count], offsets[count + 1]
        for cut in (begin + 1, begin + 5, (begin + end) // 2, end - 40):
            path.write_bytes(content[:cut])
            urls, drops = pages_and_drops(path)
            assert urls == URLS[: count - 1], cut
            assert [drop.reason for drop in drops] == ["damaged archive"], cut
            assert str(path) in drops[0].detail
        path.write_bytes(content[:end])
        assert pages_and_drops(path) == (URLS[:count], [])


def test_corrupt_archive_gives_all_but_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "corrupt.warc.gz"
    offsets = archive(path, *PAGES)
    content = bytearray(path.read_bytes())
    content[offsets[3] + 200] ^= 0xFF
    path.write_bytes(content)
    urls, drops = pages_and_drops(path)
    assert urls == [*URLS[:2], URLS[3]]
    assert [drop.reason for drop in drops] == ["damaged archive"]


@pytest.mark.parametrize("content", [b"", b"not an archive", gzip.compress(b"not an archive", mtime=0)])
def test_file_that_is_no_archive_is_a_drop(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "none.warc.gz"
    path.write_bytes(content)
    urls, drops = pages_and_drops(path)
    assert (urls, [drop.reason for drop in drops]) == ([], ["damaged archive"])


def test_wrong_offset_is_a_drop(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    offsets = archive(path, *PAGES)
    for offset in (1, offsets[-1], offsets[-1] + 100):
        page = read_page(str(path), offset)
        assert isinstance(page, Drop) and page.reason == "damaged archive"


def brotli(body: bytes) -> bytes:
    buffer = io.BytesIO()
    writer = BrotliWriter(buffer)
    writer.write(body)
    writer.close()
    return buffer.getvalue()


BODY = b"<p>text</p>" * 100
CODED = {
    "gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "br": brotli(BODY),
    "gzip, br": brotli(gzip.compress(BODY)),
}


@pytest.mark.parametrize("coding", CODED)
def test_content_coding_is_undone_within_the_bound(tmp_path: Path, coding: str) -> None:
    path = tmp_path / "coded.warc.gz"
    header = (b"Content-Encoding", coding.encode())
    offset = archive(path, response("http://site.example/", CODED[coding], header))[1]
    page = read_page(str(path), offset)
    assert isinstance(page, Page) and page.body == BODY
    assert read_page(str(path), offset, max_bytes=len(BODY) - 1) == Drop(
        "too large", "http://site.example/", f"more than {len(BODY) - 1} bytes"
    )


def test_chunked_body_is_joined_whether_its_framing_was_kept_or_not(tmp_path: Path) -> None:
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.headers["WARC-Target-URI"] = "http://site.example/"
    record.is_http = True
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body in (b"6\r\n<p>one\r\n6;x=y\r\n two</\r\n2\r\np>\r\n0\r\n\r\n", b"<p>one two</p>"):
        record.set_bytes_content(head + body)
        path = tmp_path / "chunked.warc"
        with path.open("wb") as file:
            record.write(file)
        page = read_page(str(path), 0)
        assert isinstance(page, Page) and page.body == b"<p>one two</p>"


def test_written_chunked_response_says_what_its_body_is_now(tmp_path: Path) -> None:
    path = tmp_path / "dechunked.warc.gz"
    archive(path, response("http://site.example/", b"<p>text</p>", (b"Transfer-Encoding", b"chunked")))
    text = gzip.decompress(path.read_bytes())
    assert b"\r\nTransfer-Encoding" not in text
    assert b"X-Crawl-Transfer-Encoding: chunked\r\n" in text and b"Content-Length: 11\r\n" in text


def test_resource_record_is_a_page_too(tmp_path: Path) -> None:
    record = WarcRecord()
    record.init_headers(WarcRecordType.resource)
    record.headers["WARC-Target-URI"] = "<http://site.example/saved>"
    record.headers["Content-Type"] = "text/html"
    record.set_bytes_content(b"<p>saved</p>")
    path = tmp_path / "resource.warc"
    with path.open("wb") as file:
        record.write(file)
    page = read_page(str(path), 0)
    assert isinstance(page, Page)
    assert (page.url, page.body, page.status) == ("http://site.example/saved", b"<p>saved</p>", 200)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_archive_gives_all_its_pages() -> None:
    pages = list(read_pages(str(SHARED)))
    assert len(pages) == 390
    assert all(isinstance(page, Page) and b"<" in page.body for page in pages)
