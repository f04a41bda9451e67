"""The shell of the archives' stages: name the pages of WARC files, and find each link's among them."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pipeline.links.stages import DAMAGE
from pipeline.runner.buckets import CutOptions, bucket_file, bucket_of
from pipeline.runner.names import file_name, without_digest
from pipeline.runner.records import DROPS, FETCHES, LINKS, UTC_SECONDS, Drop
from pipeline.runner.stages import Counts, Task, edition
from pipeline.runner.tables import Sieve, TableWriter, read_rows, read_tables
from pipeline.web.urls import parse, registrable_domain
from pipeline.web.warc import PageRecord, scan_pages

INDEX = pa.schema(
    [
        ("key", pa.string()),  # canonical address without its scheme
        ("url", pa.string()),  # canonical
        ("domain", pa.string()),
        ("archive", pa.string()),  # its name, as `named` gives it
        ("offset", pa.int64()),
        ("date", UTC_SECONDS),
    ]
)


@edition(2, "ada-url", "publicsuffixlist")
def index_archive(task: Task) -> Counts:
    """Name the pages of one WARC file, cut into buckets by address. Input: a WARC file."""
    options: CutOptions = task.options
    (archive,) = task.inputs
    read, dropped = 0, Counter[str]()
    with contextlib.ExitStack() as stack:
        drops = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        buckets: dict[int, TableWriter] = {}
        for found in scan_pages(archive, file_name(archive)):
            task.progress(1)
            if isinstance(found, Drop) and found.reason in DAMAGE:  # of the file, not of a page
                task.notes.setdefault("damage", []).append(f"{found.reason}: {found.detail}")
                continue
            read += 1
            row = found if isinstance(found, Drop) else _index_row(found, task.name)
            if isinstance(row, Drop):
                dropped[row.reason] += 1
                drops.write({"url": row.url, "reason": row.reason, "detail": row.detail})
                continue
            bucket = bucket_of(row["key"], options.partitions)
            if bucket not in buckets:
                path = task.folder / bucket_file(bucket)
                buckets[bucket] = stack.enter_context(TableWriter(path, INDEX))
            buckets[bucket].write(row)
    return Counts(read, read - dropped.total(), dict(sorted(dropped.items())))


def _index_row(page: PageRecord, archive: str) -> dict[str, Any] | Drop:
    address = parse(page.url)
    if isinstance(address, Drop):
        return address
    return {
        "key": address.key,
        "url": address.url,
        "domain": registrable_domain(address.host),
        "archive": archive,
        "offset": page.offset,
        "date": page.date,
    }


@edition(1)
def links_of_archives(task: Task) -> Counts:
    """Take every page of the archives for a link: there are no submissions. Inputs: the bucket's index."""
    latest, again = _latest(task.inputs)
    with Sieve(task.folder, "links.parquet", LINKS) as sieve:
        for row in latest.values():
            link = dict.fromkeys(LINKS.names) | {"url": row["url"], "domain": row["domain"], "karma": 0}
            sieve.put(link | {"submissions": 0, "subreddit": "", "title": "", "submission_id": ""})
        for row in again:
            sieve.put(
                Drop(
                    "same page again", row["url"], f"{without_digest(row['archive'])} at byte {row['offset']}"
                )
            )
        task.progress(sieve.counts.read)
    return sieve.counts


@edition(1)
def match_pages(task: Task) -> Counts:
    """Find each link's page in the archives, the latest one. Inputs: links, then the bucket's index."""
    links_address, *indexes = task.inputs
    latest, _ = _latest(indexes)
    dropped = 0
    with contextlib.ExitStack() as stack:
        fetches = stack.enter_context(TableWriter(task.folder / "fetches.parquet", FETCHES))
        drops = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        for link in read_rows(links_address, ["url"]):
            url = link["url"]
            page = latest.get(url.partition("://")[2])
            fetch = dict.fromkeys(FETCHES.names) | {"url": url, "redirects": [], "detail": "", "bytes": 0}
            if page is None:
                dropped += 1
                drops.write({"url": url, "reason": "not in the archives", "detail": ""})
                found = {
                    "final_url": "",
                    "status": 0,
                    "reason": "not in the archives",
                    "archive": "",
                    "offset": 0,
                }
            else:
                found = {"final_url": page["url"], "status": 200, "reason": "", "fetched_at": page["date"]}
                found |= {"archive": page["archive"], "offset": page["offset"]}
            fetches.write(fetch | found)
            task.progress(1)
    return Counts(fetches.rows, fetches.rows - dropped, {"not in the archives": dropped} if dropped else {})


def _latest(indexes: Iterable[str]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return the latest page of each address by its key, and the pages that are older."""
    order = [("key", "ascending"), ("date", "descending"), ("archive", "ascending"), ("offset", "ascending")]
    latest: dict[str, dict[str, Any]] = {}
    again = []
    for row in read_tables(indexes, INDEX).sort_by(order).to_pylist():
        if latest.setdefault(row["key"], row) is not row:
            again.append(row)
    return latest, again
