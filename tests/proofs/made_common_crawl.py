"""A Common Crawl in small, in its layout: tables, a ZipNum index, WARC files. No page was ever online."""

import base64
import gzip
import hashlib
import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from surt import surt  # what Common Crawl's own index is made with

from pipeline.web.http_head import Response
from pipeline.web.warc import response_record, warcinfo_record

STORY = (
    "The {} was quiet that {}, and the {} of the {} lay still while it rained upon the {} and all their {}. "
)
NOUNS = [
    "harbour", "morning", "boat", "mooring", "letter", "winter", "village", "doctor", "garden",
    "engine", "market", "teacher", "river", "bridge", "orchard", "station", "captain", "window",
    "mountain", "library", "forest", "kitchen", "journey", "painter", "island", "lantern", "meadow",
    "sailor", "castle", "shepherd", "cottage", "baker", "tunnel", "valley", "concert", "museum",
    "harvest", "factory", "stable", "merchant", "tower", "chapel", "railway", "hunter", "ferry",
]  # fmt: skip

TABLE_SCHEMA = pa.schema(
    [
        ("url_surtkey", pa.string()), ("url", pa.string()), ("url_host_name", pa.string()),
        ("fetch_time", pa.timestamp("ms", tz="UTC")), ("fetch_status", pa.int16()),
        ("fetch_redirect", pa.string()), ("content_digest", pa.string()),
        ("content_mime_type", pa.string()), ("content_mime_detected", pa.string()),
        ("content_charset", pa.string()), ("content_languages", pa.string()),
        ("content_truncated", pa.string()), ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int32()), ("warc_record_length", pa.int32()), ("warc_segment", pa.string()),
    ]
)  # fmt: skip
"""Common Crawl's flat schema (cc-index-schema-flat.json), without most of what only describes hosts."""
NEWER = ("fetch_redirect", "content_charset", "content_languages", "content_truncated")
"""Columns that the earlier crawls' tables lack."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One record of a crawl, and what the index says of it where that is not what is so."""

    url: str
    crawl: str = "CC-MAIN-2018-43"
    at: datetime = datetime(2018, 10, 15, 12, tzinfo=UTC)
    status: int = 200
    html: str | None = None
    location: str = ""
    content_type: str = "text/html; charset=utf-8"
    truncated: str = ""
    languages: str = "eng"
    headers: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subset(self) -> str:
        return "warc" if self.status == 200 else "crawldiagnostics"

    def body(self) -> bytes:
        if self.location:
            return b""
        if self.html is not None:
            return self.html.encode()
        chance = random.Random(f"{self.url} {self.at}")
        text = "".join(f"<p>{STORY.format(*chance.choices(NOUNS, k=6))}</p>" for _ in range(12))
        head = f"<title>{self.url}</title>"
        return f"<html><head>{head}</head><body><article>{text}</article></body></html>".encode()

    def record(self) -> bytes:
        headers = {"Content-Type": self.content_type} | dict(self.headers)
        headers |= {"Location": self.location} if self.location else {}
        return response_record(
            Response(
                url=self.url, status=self.status, phrase="", address="192.0.2.1", at=self.at,
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                body=self.body(), truncated=bool(self.truncated),
            )
        )  # fmt: skip


def write_common_crawl(
    root: Path, captures: Iterable[Capture], *, zipnum: Sequence[str] = (), older: Sequence[str] = ()
) -> None:
    """Write crawls to a folder: each with a table, or with a ZipNum index if it is among those named.

    The tables of `older` crawls lack the columns that came later.
    """
    crawls: dict[str, list[Capture]] = {}
    for capture in captures:
        crawls.setdefault(capture.crawl, []).append(capture)
    for crawl, of_crawl in crawls.items():
        rows = [
            row
            for subset in ("warc", "crawldiagnostics")
            for row in _write_warcs(root, crawl, subset, of_crawl)
        ]
        rows.sort(key=lambda row: (row["url_surtkey"], row["fetch_time"]))
        if crawl in zipnum:
            _write_zipnum(root / "cc-index/collections" / crawl / "indexes", rows)
        else:
            _write_table(root, crawl, rows, lacking=NEWER if crawl in older else ())


def _write_warcs(root: Path, crawl: str, subset: str, captures: Sequence[Capture]) -> list[dict[str, Any]]:
    """Write the records of a subset, a few in a file, and return the index's rows."""
    chosen = [capture for capture in captures if capture.subset == subset]
    rows = []
    for number in range(0, len(chosen), 7):
        name = f"crawl-data/{crawl}/segments/1540000000000.{number}/{subset}/{crawl}-{number:05d}.warc.gz"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(warcinfo_record(path.name, [("software", "a test")]))
            for capture in chosen[number : number + 7]:
                offset = file.tell()
                file.write(capture.record())
                rows.append(_row(capture, name, offset, file.tell() - offset))
    return rows


def _row(capture: Capture, name: str, offset: int, size: int) -> dict[str, Any]:
    return {
        "url_surtkey": surt(capture.url),
        "url": capture.url,
        "url_host_name": capture.url.split("/")[2],
        "fetch_time": capture.at,
        "fetch_status": capture.status,
        "fetch_redirect": capture.location or None,
        "content_digest": base64.b32encode(hashlib.sha1(capture.body()).digest()).decode(),
        "content_mime_type": capture.content_type.split(";")[0],
        "content_mime_detected": capture.content_type.split(";")[0],
        "content_charset": "UTF-8",
        "content_languages": capture.languages or None,
        "content_truncated": capture.truncated or None,
        "warc_filename": name,
        "warc_record_offset": offset,
        "warc_record_length": size,
        "warc_segment": name.split("/")[-3:][0],
    } | dict(capture.said)


def _write_table(root: Path, crawl: str, rows: Sequence[dict[str, Any]], lacking: Sequence[str]) -> None:
    """Write two files a subset, of row groups of ten rows; robots.txt has a subset that nobody reads."""
    schema = pa.schema([column for column in TABLE_SCHEMA if column.name not in lacking])
    names, table = [], f"cc-index/table/cc-main/warc/crawl={crawl}"
    for subset in ("warc", "crawldiagnostics"):
        of_subset = [row for row in rows if f"/{subset}/" in row["warc_filename"]]
        half = (len(of_subset) + 1) // 2
        for number, part in enumerate((of_subset[:half], of_subset[half:])):
            name = f"{table}/subset={subset}/part-{number:05d}-abc.c000.gz.parquet"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            rows_there = pa.Table.from_pylist(part, schema=schema)
            pq.write_table(rows_there, root / name, compression="gzip", row_group_size=10)
            names.append(name)
    names.append(f"{table}/subset=robotstxt/part-00000-abc.c000.gz.parquet")
    listed = root / "crawl-data" / crawl / "cc-index-table.paths.gz"
    listed.write_bytes(gzip.compress("".join(f"{name}\n" for name in names).encode()))


def write_archive(folder: Path, pages: int) -> list[str]:
    """Write a Common Crawl of so many pages, some redirected, and a dump; return the options for them."""
    crawls = ("CC-MAIN-2013-48", "CC-MAIN-2018-43")
    captures = [
        Capture(url=f"http://site-{n % 7}.example.com/{n}", crawl=crawls[n % 2]) for n in range(pages)
    ]
    captures += [
        Capture(url=f"http://old.example.com/{n}", status=301, location=captures[n].url, crawl=crawls[1])
        for n in range(0, pages, 5)
    ]
    write_common_crawl(folder / "archive", captures, zipnum=crawls[:1])
    write_dump(folder / "RS_made", {capture.url: capture.at for capture in captures})
    options = ["--submissions", str(folder / "RS_made"), "--archive-root", str(folder / "archive")]
    return [*options, "--common-crawl", *crawls]


CDX_FIELDS = {
    "url": "url", "mime": "content_mime_type", "mime-detected": "content_mime_detected",
    "status": "fetch_status", "digest": "content_digest", "length": "warc_record_length",
    "offset": "warc_record_offset", "filename": "warc_filename", "languages": "content_languages",
    "redirect": "fetch_redirect", "truncated": "content_truncated",
}  # fmt: skip


def cdxj_line(row: Mapping[str, Any]) -> bytes:
    """Return the line that a CDXJ index has for a capture."""
    fields = {name: str(row[column]) for name, column in CDX_FIELDS.items() if row.get(column) is not None}
    return f"{row['url_surtkey']} {row['fetch_time']:%Y%m%d%H%M%S} {json.dumps(fields)}\n".encode()


def _write_zipnum(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write two shards, with four lines a block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = []
    half = (len(rows) + 1) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        shard = io.BytesIO()
        for first in range(0, len(part), 4):
            block = gzip.compress(b"".join(map(cdxj_line, part[first : first + 4])))
            row = part[first]
            place = f"cdx-{number:05d}.gz\t{shard.tell()}\t{len(block)}\t{len(cluster) + 1}"
            cluster.append(f"{row['url_surtkey']} {row['fetch_time']:%Y%m%d%H%M%S}\t{place}\n")
            shard.write(block)
        (folder / f"cdx-{number:05d}.gz").write_bytes(shard.getvalue())
    (folder / "cluster.idx").write_text("".join(cluster))


def write_cdxj(path: Path, folder: Path, captures: Sequence[Capture]) -> None:
    """Write an archive of one's own: a WARC file in a folder, and a CDXJ index that names it."""
    with (folder / "own.warc.gz").open("wb") as file:
        file.write(warcinfo_record("own.warc.gz", [("software", "a test")]))
        rows = []
        for capture in captures:
            offset = file.tell()
            file.write(capture.record())
            rows.append(_row(capture, "own.warc.gz", offset, file.tell() - offset))
    lines = b"".join(sorted(map(cdxj_line, rows)))
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)


def write_dump(path: Path, links: Mapping[str, datetime | None]) -> None:
    """Write a Reddit dump whose submissions have these addresses and times."""
    posts = [
        {"id": f"a{number}", "url": url, "score": 9, "title": "t", "subreddit": "r"}
        | ({"created_utc": int(at.timestamp())} if at else {})
        for number, (url, at) in enumerate(links.items())
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, posts)))
