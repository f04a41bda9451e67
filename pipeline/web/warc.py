"""Pages in WARC files: one gzip member a record as they are written, any WARC as it is read.

What is written follows Common Crawl's and Heritrix's manner: a body stands as it was received, still
content-encoded and with the headers as they came, except that the framing of a chunked body is gone
and its header renamed. Each answer that redirected is a `response` record of its own, right before the
page's. `read_page` gives the decoded body.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO
from urllib.parse import urljoin

from fastwarc.warc import WarcRecord, WarcRecordType
from isal import igzip

from pipeline.runner.drops import Drop
from pipeline.runner.storage import open_read
from pipeline.web import content_coding, http_head
from pipeline.web.archive_records import ArchiveFile, ArchiveRecord, Damage
from pipeline.web.http_head import Response
from pipeline.web.page import MAX_BODY_BYTES, Page, decoded
from pipeline.web.refresh import LOOKED_AT_BYTES, refresh_target
from pipeline.web.urls import canonical

# Of ISA-L, its best: on real pages 5 times the speed of zlib's level 6, and a tenth larger.
COMPRESSION_LEVEL = 3
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
PAGE_KINDS = frozenset({"response", "resource"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DAMAGE = frozenset({"damaged archive", "unseekable archive"})


def media_type(content_type: str) -> str:
    """Return the media type of a Content-Type header, without parameters; the first, if it is said twice."""
    return re.split("[;,]", content_type, maxsplit=1)[0].strip().lower()


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
    digest: str = field(default="", compare=False)  # of its payload, if the archive says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """A record that says that what is at one address is at another."""

    url: str
    target: str
    date: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisit:
    """A record that says that a page was as it had been before (WARC 1.1, section 6.7)."""

    url: str
    date: datetime
    offset: int
    digest: str  # of the payload; empty if it is not said, as are the next two
    earlier_url: str
    earlier_date: datetime | None


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """A record that tells of no page: a request, metadata, a revisit of nobody knows what."""

    kind: str


Found = PageRecord | Redirect | Revisit | OtherRecord | Drop


def scan_archive(address: str, name: str = "") -> Iterator[Found]:
    """Yield something for every record of an archive (WARC or ARC; plain, .gz or .zst).

    HTML that was answered with status 200 is a page, unless it sends its reader on (`refresh.py`). A response
    without is a `Drop` that says why. Damage is `Drop("damaged archive")`, which costs the record that has
    it; a file that was compressed as a whole is `Drop("unseekable archive")`: its records have no offsets.
    These two call the file by its `name`, or by its address.
    """
    with open_read(address) as file:
        for found in ArchiveFile(file).scan(http_head.HEAD_BYTES):
            if isinstance(found, ArchiveRecord):
                yield _judged(found)
                continue
            where = f" in or after the record at byte {found.offset}" if found.offset >= 0 else ""
            reason = "unseekable archive" if found.is_whole_file else "damaged archive"
            yield Drop(reason, detail=f"{name or address}: {found.detail}{where}")


def scan_pages(address: str, name: str = "") -> Iterator[PageRecord | Drop]:
    """Yield the pages of an archive, and its damage; see `scan_archive`."""
    for found in scan_archive(address, name):
        if isinstance(found, PageRecord) or (isinstance(found, Drop) and found.reason in DAMAGE):
            yield found


def _judged(record: ArchiveRecord) -> Found:
    is_revisit = record.kind == "revisit"
    if record.kind not in PAGE_KINDS and not is_revisit:
        return OtherRecord(record.kind or "untyped")
    url, date = _url(record), _date(record)
    if not url:
        return Drop("no address", detail=f"{record.kind} record at byte {record.offset}")
    answer = _answer(record)
    if answer is None:
        if is_revisit:  # what the server said need not be repeated
            return _revisit(record, url, date)
        return Drop("bad HTTP", url, f"{record.kind} record at byte {record.offset}")
    status, headers, head_bytes = answer
    if status in REDIRECTS:
        target = redirect_address(url, http_head.first(headers, "location"))
        return Redirect(url=url, target=target, date=date) if target else Drop("bad redirect", url)
    if is_revisit and status == 304:  # the server said that it had not changed
        return _revisit(record, url, date)
    if status != 200:
        return Drop("not status 200", url, f"status {status}")
    content_type = http_head.first(headers, "content-type")
    is_html = media_type(content_type) in HTML_TYPES
    onward = refresh_target(url, headers, _beginning(record.block[head_bytes:], headers) if is_html else b"")
    if onward and canonical(onward) != canonical(url):
        return Redirect(url=url, target=onward, date=date)
    if is_revisit and (is_html or not content_type):
        return _revisit(record, url, date)
    if not is_html:
        return Drop("not HTML", url, content_type[:100] or "no Content-Type")
    return PageRecord(
        url=url,
        status=200,
        content_type=content_type,
        date=date,
        offset=record.offset,
        digest=_digest(record),
    )


def _revisit(record: ArchiveRecord, url: str, date: datetime) -> Revisit | OtherRecord:
    """Return what a page is the same as; where the record does not say, it tells nothing of any page."""
    if (
        not {"warc-payload-digest", "warc-refers-to-target-uri", "warc-refers-to-date"}
        & record.headers.keys()
    ):
        return OtherRecord(record.kind)
    return Revisit(
        url=url,
        date=date,
        offset=record.offset,
        digest=_digest(record),
        earlier_url=record.headers.get("warc-refers-to-target-uri", "").strip("<>"),
        earlier_date=_date_of(record.headers.get("warc-refers-to-date", "")),
    )


def _digest(record: ArchiveRecord) -> str:
    return record.headers.get("warc-payload-digest", "")[:100].upper()  # in base 32, as a rule


def _beginning(body: bytes, headers: http_head.Headers) -> bytes:
    """Return the beginning of a page, decoded, of which the beginning is known."""
    body, _ = http_head.dechunked(body, http_head.every(headers, "transfer-encoding"))
    try:
        codings = http_head.every(headers, "content-encoding")
        return content_coding.decode(body, codings, LOOKED_AT_BYTES, cut=True)
    except content_coding.CodingError:
        return b""


def _answer(record: ArchiveRecord) -> tuple[int, http_head.Headers, int] | None:
    """Return status, headers, length of the head; a `resource` record is the page itself, and was found."""
    found = http_head.parse_head(record.block)
    if found is None and record.kind == "resource":
        return 200, (("Content-Type", record.headers.get("content-type", "")),), 0
    return found


def redirect_address(base: str, location: str) -> str:
    """Return the absolute address that a Location header means; nothing if it means none."""
    try:
        return urljoin(base, location) if location else ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _url(record: ArchiveRecord) -> str:
    return record.headers.get("warc-target-uri", "").strip("<>")  # WARC 1.0 wrote them in angle brackets


def _date(record: ArchiveRecord) -> datetime:
    return _date_of(record.headers.get("warc-date", "")) or datetime.fromtimestamp(0, UTC)


def _date_of(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


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
    record = ArchiveFile(archive).read(offset, max_bytes + http_head.HEAD_BYTES)
    if isinstance(record, Damage):
        return Drop("damaged archive", detail=record.detail)
    answer = _answer(record)
    if record.kind not in PAGE_KINDS or answer is None:
        return Drop("damaged archive", detail=f"no page at byte {offset}")
    status, headers, head_bytes = answer
    if record.size_bytes > max_bytes:
        return Drop("too large", _url(record), f"more than {max_bytes} bytes")
    content_type = http_head.first(headers, "content-type")
    return Page(
        url=_url(record),
        status=status,
        content_type=content_type,
        charset=http_head.charset_of(content_type),
        date=_date(record),
        headers=headers if head_bytes else (),
        body=record.block[head_bytes:],
    )
