"""Pages in WARC files: one gzip member a record as they are written, any WARC as it is read.

What is written follows Common Crawl's and Heritrix's manner: a body stands as it was received, still
content-encoded and with the headers as they came, except that the framing of a chunked body is gone
and its header renamed. Each answer that redirected is a `response` record of its own, right before the
page's. `read_page` gives the decoded body.
"""

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from isal import igzip

from pipeline.runner.records import Drop
from pipeline.runner.storage import open_read
from pipeline.web import content_coding

# Of ISA-L, its best: on real pages 5 times the speed of zlib's level 6, and a tenth larger.
COMPRESSION_LEVEL = 3
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MAX_BODY_BYTES = 16 * 1024 * 1024
PAGE_RECORDS = WarcRecordType.response | WarcRecordType.resource


def media_type(content_type: str) -> str:
    """Return the media type of a Content-Type header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


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


# --- writing ---


def warcinfo_record(filename: str, fields: Sequence[tuple[str, str]]) -> bytes:
    """Return the record that opens a WARC file, as one gzip member."""
    return _member(_warcinfo(filename, fields), None)


def response_record(response: Response) -> bytes:
    """Return the record of a response, as one gzip member."""
    return _member(_response(response), hashlib.sha1(response.body).digest())


def _member(record: WarcRecord, payload_digest: bytes | None) -> bytes:
    buffer = io.BytesIO()
    record.write(buffer, checksum_data=True, payload_digest=payload_digest)
    return igzip.compress(buffer.getbuffer(), COMPRESSION_LEVEL, mtime=0)


def _warcinfo(filename: str, fields: Sequence[tuple[str, str]]) -> WarcRecord:
    record = WarcRecord()
    record.init_headers(WarcRecordType.warcinfo)
    record.record_date = datetime.now(UTC)
    record.headers["WARC-Filename"] = filename
    record.headers["Content-Type"] = "application/warc-fields"
    record.set_bytes_content("".join(f"{name}: {value}\r\n" for name, value in fields).encode())
    return record


def _response(response: Response) -> WarcRecord:
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.record_date = response.at
    record.headers["WARC-Target-URI"] = response.url
    record.headers["WARC-IP-Address"] = response.address
    if response.truncated:
        record.headers["WARC-Truncated"] = "length"
    record.is_http = True
    record.set_bytes_content(_http_head(response) + response.body)
    return record


def _http_head(response: Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.phrase}".rstrip().encode("latin-1", errors="replace")]
    dechunked = False
    for name, value in response.headers:
        is_framing = name.lower() == b"transfer-encoding"
        dechunked |= is_framing
        lines.append((b"X-Crawl-Transfer-Encoding" if is_framing else name) + b": " + value)
    if dechunked:
        lines.append(b"Content-Length: %d" % len(response.body))
    return b"\r\n".join(lines) + b"\r\n\r\n"


# --- reading ---


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecord:
    """Where in an archive a page lies: `offset` is what `read_page` asks for."""

    url: str
    status: int
    content_type: str
    date: datetime
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page out of an archive; `charset` is what the header says, or empty.

    Its `body` is decoded, unless `read_coded_page` gave it.
    """

    url: str
    status: int
    content_type: str
    charset: str
    date: datetime
    headers: tuple[tuple[str, str], ...]
    body: bytes


def scan_pages(address: str, name: str = "") -> Iterator[PageRecord | Drop]:
    """Yield every HTML page of a WARC file (plain, .gz or .zst) that was answered with status 200.

    Damage ends the file: what came before it is yielded, then a `Drop("damaged archive")`. So does a
    file that was compressed as a whole, `Drop("unseekable archive")`: its records have no offsets. Drops call
    the file by its `name`, or by its address.
    """
    with open_read(address) as file:
        offset = -1
        try:
            for number, record in enumerate(ArchiveIterator(file, parse_http=False)):
                offset = record.stream_pos
                if number == 1 and not _begins_member(address, offset):
                    detail = (
                        f"{name or address}: compressed as a whole; `warcio recompress` makes it seekable"
                    )
                    yield Drop("unseekable archive", detail=detail)
                    return
                page = _page_record(record)
                # FastWARC takes the end of a cut file for the end of its last record.
                if record.consume() < record.content_length:
                    yield _damage(name or address, offset, "cut short")
                    return
                if page is not None:
                    yield page
        except OSError as error:
            yield _damage(name or address, offset, str(error))
            return
        if offset < 0 or not _ends_whole(file, offset):
            yield _damage(name or address, offset, "cut short" if offset >= 0 else "no record in it")


def _begins_member(address: str, offset: int) -> bool:
    """Say whether an offset is one to read from: in a compressed file, where a member or frame begins."""
    with open_read(address) as file:
        head = file.read(4)
        magic = next((magic for magic in (GZIP_MAGIC, ZSTD_MAGIC) if head.startswith(magic)), b"")
        file.seek(offset)
        return file.read(len(magic)) == magic


def _damage(name: str, offset: int, detail: str) -> Drop:
    where = f" in or after the record at byte {offset}" if offset >= 0 else ""
    return Drop("damaged archive", detail=f"{name}: {detail}{where}")


def _ends_whole(file: IO[bytes], offset: int) -> bool:
    """Say whether a file ends with its last record: FastWARC passes over the first bytes of another."""
    file.seek(offset)
    if file.read(2) != GZIP_MAGIC:
        return True
    file.seek(offset)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while not decoder.eof and (chunk := file.read(1 << 20)):
        while chunk and not decoder.eof:
            decoder.decompress(chunk, 1 << 20)
            chunk = decoder.unconsumed_tail
    return decoder.eof and not decoder.unused_data and not file.read(1)


def _page_record(record: WarcRecord) -> PageRecord | None:
    if not record.record_type & PAGE_RECORDS:
        return None
    status, content_type = _http_status_and_type(record)
    url = record.headers.get("WARC-Target-URI") or ""
    if status != 200 or media_type(content_type) not in HTML_TYPES or not url:
        return None
    return PageRecord(
        url=url.strip("<>"),  # WARC 1.0 wrote them in angle brackets
        status=status,
        content_type=content_type,
        date=_date(record),
        offset=record.stream_pos,
    )


def _http_status_and_type(record: WarcRecord) -> tuple[int, str]:
    """Return the status and Content-Type; a `resource` record is the page itself, and so was found."""
    if record.is_http:
        record.parse_http(strict_mode=False)
        return record.http_headers.status_code or 0, record.http_headers.get("Content-Type") or ""
    if record.record_type == WarcRecordType.resource:
        return 200, record.headers.get("Content-Type") or ""
    return 0, ""


def _date(record: WarcRecord) -> datetime:
    return record.record_date or datetime.fromtimestamp(0, UTC)


def read_page(archive: str | IO[bytes], offset: int, max_bytes: int = MAX_BODY_BYTES) -> Page | Drop:
    """Read one page at an offset that `scan_pages` or the fetch log gave.

    Args:
        archive: the file's address, or the file, open for reading bytes.
        offset: of the record.
        max_bytes: the most that its body may have, before and after decoding.
    """
    page = read_coded_page(archive, offset, max_bytes)
    return page if isinstance(page, Drop) else decoded(page, max_bytes)


def read_coded_page(archive: str | IO[bytes], offset: int, max_bytes: int = MAX_BODY_BYTES) -> Page | Drop:
    """Read one page as `read_page` does, its body as it is stored: see `decoded`."""
    if isinstance(archive, str):
        with open_read(archive) as file:
            return read_coded_page(file, offset, max_bytes)
    archive.seek(offset)
    try:
        record = next(ArchiveIterator(archive, PAGE_RECORDS, parse_http=False), None)
    except OSError as error:
        return Drop("damaged archive", detail=str(error))
    if record is None or record.stream_pos != offset:
        return Drop("damaged archive", detail=f"no page at byte {offset}")
    return _page(record, max_bytes)


def _page(record: WarcRecord, max_bytes: int) -> Page | Drop:
    status, content_type = _http_status_and_type(record)
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    if record.content_length > max_bytes:
        return Drop("too large", url, f"more than {max_bytes} bytes")
    try:
        body = _whole_body(record)
    except OSError as error:
        return Drop("damaged archive", url, str(error))
    return Page(
        url=url,
        status=status,
        content_type=content_type,
        charset=(record.http_charset or "") if record.is_http else "",
        date=_date(record),
        headers=record.http_headers.to_tuples() if record.is_http else (),
        body=body,
    )


def decoded(page: Page, max_bytes: int = MAX_BODY_BYTES) -> Page | Drop:
    """Undo the framing and the codings of a page's body. Strangers decide how long that takes."""
    try:
        body = page.body
        if _values(page.headers, "transfer-encoding").lower() == "chunked":
            body = _dechunked(body)
        body = content_coding.decode(body, _values(page.headers, "content-encoding"), max_bytes)
    except content_coding.TooLargeError as error:
        return Drop("too large", page.url, str(error))
    except content_coding.CodingError as error:
        return Drop("bad encoding", page.url, str(error))
    return replace(page, body=body)


def _whole_body(record: WarcRecord) -> bytes:
    body = record.reader.read(record.content_length)
    if len(body) < record.content_length:
        raise OSError(f"record at byte {record.stream_pos} is cut short")
    return body


def _values(headers: Sequence[tuple[str, str]], name: str) -> str:
    return ",".join(value for key, value in headers if key.lower() == name)


def _dechunked(body: bytes) -> bytes:
    """Undo a chunked body's framing, which Heritrix keeps; give it back as it is where there is none.

    Others remove the framing and keep the header that announced it.
    """
    parts: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\r\n", position, position + 1024)
        try:
            size = int(body[position:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size <= 0:
            return b"".join(parts) if size == 0 and (parts or end == len(body) - 4) else body
        parts.append(body[end + 2 : end + 2 + size])
        position = end + 2 + size + 2
