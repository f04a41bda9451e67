"""Records out of archives into segments: each is verified before it counts, and what is committed is kept.

The segments are those of a crawl (`pipeline/crawl/segments.py`): a run that was killed goes on where it was.
A record lies in them as it came, byte for byte.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.common_crawl.options import RecordOptions
from pipeline.common_crawl.range_errors import RangeError
from pipeline.common_crawl.ranges import (
    Pace,
    Place,
    Reader,
    Request,
    read_patiently,
    reader_of,
    requests_for,
)
from pipeline.common_crawl.record import Expected, FoundPage, FoundRedirect, as_gzip, examine
from pipeline.crawl.options import VERSION
from pipeline.crawl.segments import SegmentWriter
from pipeline.crawl.visits import ELSEWHERE
from pipeline.runner.records import Drop

CONNECTIONS_PER_THREAD = 32
INLINE_BYTES = 128 * 1024

Follow = Callable[[Mapping[str, Any], str], str | Drop]
"""Called with a capture that is a redirect and its Location; returns the address it leads to, or why not."""


@dataclass
class Fetched:
    """What came of the captures so far."""

    settled: int = 0
    bytes: int = 0
    requests: int = 0


def fetch_captures(
    captures: Iterable[Mapping[str, Any]],
    root: str,
    folder: Path,
    options: RecordOptions,
    follow: Follow,
    on_progress: Callable[[Fetched], None],
) -> None:
    """Fetch captures and write each one's row and, if it is a page, its record.

    Args:
        captures: rows with the columns of `CAPTURES`, `hops`, and the `id` that a row is to have as its
            `url`; sorted by file and offset.
        root: where the archive lies.
        folder: for segments.
        options: how.
        follow: for captures that turn out to be redirects.
        on_progress: called now and then, and at the end.
    """
    fields = [
        ("software", f"Outbound/{VERSION}"),
        ("format", "WARC File Format 1.1"),
        ("operation", "records of other archives"),
    ]
    segments = SegmentWriter(folder, options, fields)
    fetcher = _Fetcher(reader_of(root, options.connections), options, segments, follow, on_progress)
    try:
        asyncio.run(fetcher.run(captures))
    except BaseExceptionGroup as group:
        segments.abandon()
        raise group.exceptions[0] from group
    except BaseException:
        segments.abandon()
        raise
    segments.close()
    on_progress(fetcher.fetched)


class _Fetcher:
    def __init__(
        self,
        reader: Reader,
        options: RecordOptions,
        segments: SegmentWriter,
        follow: Follow,
        on_progress: Callable[[Fetched], None],
    ) -> None:
        self.fetched = Fetched()
        self._reader = reader
        self._options = options
        self._segments = segments
        self._follow = follow
        self._on_progress = on_progress
        self._told = time.monotonic()
        self._pace = Pace(options.requests_per_second)
        self._examiners = ThreadPoolExecutor(max(1, options.connections // CONNECTIONS_PER_THREAD))

    async def run(self, captures: Iterable[Mapping[str, Any]]) -> None:
        """Keep as many requests under way as may be; each holds its records in memory, and no others."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._options.connections))
        batches = _requests(captures, self._options.max_record_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._options.connections):
                    group.create_task(self._work(batches))
        finally:
            self._examiners.shutdown(wait=False)
            await self._reader.close()

    async def _work(self, batches: Iterator[tuple[Request | Drop, list[Mapping[str, Any]]]]) -> None:
        for request, captures in batches:
            if isinstance(request, Drop):
                self._settle(captures[0], request)
            else:
                await self._fetch(request, captures)
            self._tell()

    def _tell(self) -> None:
        """About once a second, keep what there is, and say so."""
        now = time.monotonic()
        if now - self._told >= 1:
            self._told = now
            self._segments.flush()
            self._on_progress(self.fetched)

    async def _fetch(self, request: Request, captures: list[Mapping[str, Any]]) -> None:
        try:
            self.fetched.requests += 1
            data = await read_patiently(
                self._reader, request, self._pace,
                retries=self._options.retries, backoff_s=self._options.backoff_s,
            )  # fmt: skip
        except RangeError as error:
            if (
                len(request.places) > 1 and not error.temporary
            ):  # what is wrong may be one record's place alone
                for place, capture in zip(request.places, captures, strict=True):
                    await self._fetch(Request(place.file, place.offset, place.end, [place]), [capture])
                return
            for capture in captures:
                self._settle(capture, Drop(error.reason, detail=error.detail))
            return
        judge = partial(_examine_all, data, request, captures, self._options.max_body_bytes)
        # To hand little to a thread costs more than to look at it here.
        small = len(data) <= INLINE_BYTES
        found = judge() if small else await asyncio.get_running_loop().run_in_executor(self._examiners, judge)
        for capture, (outcome, member) in zip(captures, found, strict=True):
            self._settle(capture, outcome, member)

    def _settle(
        self, capture: Mapping[str, Any], found: FoundPage | FoundRedirect | Drop, member: bytes = b""
    ) -> None:
        """Write the row of a capture, and its record if that is a page."""
        hops, end = capture["hops"], capture["url"]
        if isinstance(found, FoundRedirect):
            hops = list(hops)
            target = self._follow({**capture, "hops": hops}, found.location)
            found = target if isinstance(target, Drop) else Drop(ELSEWHERE, detail=target)
            end = hops[-1] if hops else end
        is_page = isinstance(found, FoundPage)
        body_bytes = found.body_bytes if isinstance(found, FoundPage) else 0
        at = capture["fetch_time"]
        row = {
            "url": capture["id"],
            "final_url": end,
            "redirects": hops,
            "status": 200 if is_page else 0,
            "reason": found.reason if isinstance(found, Drop) else "",
            "detail": found.detail.encode("utf-8", "replace").decode() if isinstance(found, Drop) else "",
            "bytes": body_bytes,
            "seconds": 0.0,
            "fetched_at": int(at.timestamp()) if at else None,
            "source": capture["source"],
        }
        self._segments.add_records(row, [as_gzip(member)] if is_page else [])
        self.fetched.settled += 1
        self.fetched.bytes += body_bytes


def _examine_all(
    data: bytes, request: Request, captures: list[Mapping[str, Any]], max_bytes: int
) -> list[tuple[FoundPage | FoundRedirect | Drop, bytes]]:
    """Say what each record of a request is, and give its bytes."""
    found: list[tuple[FoundPage | FoundRedirect | Drop, bytes]] = []
    for place, capture in zip(request.places, captures, strict=True):
        member = data[place.offset - request.begin : place.end - request.begin]
        if len(member) < place.size_bytes:
            what = "damaged archive" if member else "outside the archive file"
            found.append((Drop(what, detail=f"{len(member):,} of {place.size_bytes:,} bytes"), b""))
        else:
            expected = Expected(capture["url"], capture["content_digest"] or "")
            found.append((examine(member, expected, max_bytes), member))
    return found


def _requests(
    captures: Iterable[Mapping[str, Any]], max_record_bytes: int
) -> Iterator[tuple[Request | Drop, list[Mapping[str, Any]]]]:
    """Yield requests with the captures that they are for; also what is too large to be asked for."""
    rows = iter(captures)
    while batch := list(islice(rows, 2_000)):
        places = []
        for number, capture in enumerate(batch):
            size = capture["warc_record_length"]
            if size > max_record_bytes:
                yield Drop("too large", detail=f"a record of {size:,} bytes"), [capture]
            elif size <= 0:
                yield Drop("damaged index", detail="a record without a length"), [capture]
            else:
                places.append(Place(capture["warc_filename"], capture["warc_record_offset"], size, number))
        for request in requests_for(places):
            yield request, [batch[place.number] for place in request.places]
