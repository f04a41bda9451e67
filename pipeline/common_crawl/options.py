"""Which archives to take pages from, and how to ask them."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

DEFAULT_ROOT = "https://data.commoncrawl.org"


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """Where pages are looked up, and how they are fetched."""

    common_crawl: tuple[str, ...] = ()
    """Crawls of Common Crawl in which links are looked up: CC-MAIN-2013-48, or 'CC-MAIN-201*'."""
    archive_index: tuple[str, ...] = ()
    """Indexes of other archives: CDXJ files (.cdxj, .cdxj.gz), ZipNum folders (with cluster.idx), or Parquet
    with Common Crawl's columns; files, folders, globs or fsspec addresses."""
    archive_root: str = DEFAULT_ROOT
    """Where the archives lie: https://…, s3://commoncrawl, or a folder; credentials: from the environment."""
    archive_requests_per_second: Annotated[float, Ge(0)] = 0.0
    """Most requests for records a second, of all workers together; 0: no limit."""
    archive_connections: Annotated[int, Ge(1)] = 64
    """Requests for records at once, of one worker."""
    archive_workers: Annotated[int, Ge(1)] = 8
    """Workers that fetch records at once, at most."""
    archive_retries: Annotated[int, Ge(0)] = 4
    """Retries of a request after a lost connection or status 429, 500, 502, 503 or 504."""
    archive_backoff_s: Annotated[float, Gt(0)] = 1.0
    """Delay before the first retry; doubled for each further one."""
    skip_foreign_captures: bool = False
    """Fetch no capture whose index entry names languages (since August 2018), and none of --languages."""

    @property
    def is_named(self) -> bool:
        """Say whether any archive is named."""
        return bool(self.common_crawl or self.archive_index)


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """How a task fetches records, and how large its segments are; sizes in bytes, times in seconds."""

    connections: int
    requests_per_second: float
    retries: int
    backoff_s: float
    max_body_bytes: int
    max_record_bytes: int
    warc_bytes: int
    segment_s: float

    def fingerprint(self) -> str:
        """Return what changes when the options do that decide which records count."""
        deciding = (self.max_body_bytes, self.max_record_bytes)
        return hashlib.sha256(repr(("records", deciding)).encode()).hexdigest()[:16]
