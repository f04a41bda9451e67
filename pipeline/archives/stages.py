"""The shell of the archives' stages: name the pages of WARC files, and find each link's among them."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.archives.ways import INDEX, REDIRECTS, REVISITS, MatchOptions, Ways, by_key
from pipeline.links.stages import DAMAGE
from pipeline.runner.buckets import CutOptions, bucket_file, bucket_of, moved_file
from pipeline.runner.names import file_name, without_digest
from pipeline.runner.records import DROPS, FETCHES, LINKS, ROUTED, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import FilterWriter, TableWriter, read_rows
from pipeline.web.urls import parse, printable, registrable_domain
from pipeline.web.warc import Found, OtherRecord, PageRecord, Redirect, Revisit, scan_archive

DAMAGE_TOLD = 20  # lines of a file's damage; the rest is counted


def redirects_file(bucket: int) -> str:
    """The file of an archive's redirects that one gathering partition needs."""
    return f"redirects-{bucket_file(bucket)}"


def revisits_file(bucket: int) -> str:
    """The file of an archive's revisits that one gathering partition needs."""
    return f"revisits-{bucket_file(bucket)}"


@output_version(3, "ada-url", "publicsuffixlist")
def index_archive(task: Task) -> Counts:
    """Name the pages, revisits and redirects of one archive, cut into buckets by address. Input: an archive.

    Nothing vanishes: every record is one of the three, a drop with a reason, or of a type that holds no
    answer; `notes["records"]` has the numbers. A revisit is a page: what becomes of it shows later.
    """
    options: CutOptions = task.options
    (archive,) = task.inputs
    records, dropped, damage = Counter[str](), Counter[str](), 0
    with contextlib.ExitStack() as stack:
        drops = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        buckets: dict[str, TableWriter] = {}

        def put(name: str, schema: pa.Schema, row: Mapping[str, Any]) -> None:
            if name not in buckets:
                buckets[name] = stack.enter_context(TableWriter(task.folder / name, schema))
            buckets[name].write(row)

        for seen, found in enumerate(scan_archive(archive, file_name(archive)), 1):
            if isinstance(found, Drop) and found.reason in DAMAGE:  # of the file, not of a page
                damage += 1
                records["damage"] += 1
                if damage <= DAMAGE_TOLD:
                    task.notes.setdefault("damage", []).append(f"{found.reason}: {found.detail}")
                continue
            row = _row(found, task.name)
            if row is None:
                records["other types"] += 1
            elif isinstance(row, Drop):
                task.progress(1)
                records["drops"] += 1
                dropped[row.reason] += 1
                drops.write({"url": row.url, "reason": row.reason, "detail": row.detail})
            else:
                bucket = bucket_of(row["key"], options.partitions)
                if isinstance(found, Redirect):
                    records["redirects"] += 1
                    put(redirects_file(bucket), REDIRECTS, row)
                else:
                    task.progress(1)
                    is_page = isinstance(found, PageRecord)
                    records["pages" if is_page else "revisits"] += 1
                    name = bucket_file(bucket) if is_page else revisits_file(bucket)
                    put(name, INDEX if is_page else REVISITS, row)
            assert seen == records.total(), f"records lost or made up: {seen} seen, {records}"
    if damage > DAMAGE_TOLD:
        task.notes["damage"].append(f"{damage - DAMAGE_TOLD:,} more of the kind in {file_name(archive)}")
    task.notes["records"] = dict(sorted(records.items()))
    kept = records["pages"] + records["revisits"]
    return Counts(kept + records["drops"], kept, dict(sorted(dropped.items())))


def _row(found: Found, archive: str) -> dict[str, Any] | Drop | None:
    match found:
        case PageRecord():
            return _index_row(found, archive)
        case Revisit():
            row = _index_row(found, archive)
            return row if isinstance(row, Drop) else row | _earlier(found)
        case Redirect():
            return _redirect_row(found)
        case OtherRecord():
            return None
        case Drop():
            return Drop(found.reason, printable(found.url), found.detail)


def _redirect_row(redirect: Redirect) -> dict[str, Any] | Drop:
    address, target = parse(redirect.url), parse(redirect.target)
    if isinstance(address, Drop):
        return address
    if isinstance(target, Drop):
        return Drop("bad redirect", address.url, f"{target.reason}: {target.url}")
    return {"key": address.key, "target": target.url, "date": redirect.date}


def _earlier(revisit: Revisit) -> dict[str, Any]:
    address = parse(revisit.earlier_url)
    return {
        "earlier_key": "" if isinstance(address, Drop) else address.key,
        "earlier_date": revisit.earlier_date,
    }


def _index_row(page: PageRecord | Revisit, archive: str) -> dict[str, Any] | Drop:
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
        "digest": page.digest,
    }


@output_version(2)
def links_of_archives(task: Task) -> Counts:
    """Take every page of the archives for a link: there are no submissions. Inputs: index and revisits."""
    indexes, _, revisits = _known(task.inputs)
    pages, later = by_key(indexes, INDEX), by_key(revisits, REVISITS)
    rows = [row for key in sorted({*pages, *later}) for row in (*pages.get(key, ()), *later.get(key, ()))]
    latest = {row["key"]: row for row in reversed(rows)}
    again = [row for row in rows if latest[row["key"]] is not row]
    with FilterWriter(task.folder, "links.parquet", LINKS) as writer:
        for row in latest.values():
            link = dict.fromkeys(LINKS.names) | {"url": row["url"], "domain": row["domain"], "karma": 0}
            writer.put(link | {"submissions": 0, "subreddit": "", "title": "", "submission_id": ""})
        for row in again:
            writer.put(
                Drop(
                    "same page again", row["url"], f"{without_digest(row['archive'])} at byte {row['offset']}"
                )
            )
        task.progress(writer.counts.read)
    return writer.counts


@output_version(3, "ada-url", "publicsuffixlist")
def match_pages(task: Task) -> Counts:
    """Find each link's page, the latest one, by way of redirects. Inputs: links, then the bucket's index.

    A link that is redirected to what another partition knows is handed on; it counts where its way ends.
    """
    options: MatchOptions = task.options
    ways = _ways(task, options)
    moved: dict[int, list[dict[str, Any]]] = {}
    dropped = Counter[str]()
    with contextlib.ExitStack() as stack:
        settled = stack.enter_context(TableWriter(task.folder / "links.parquet", LINKS))
        fetches = stack.enter_context(TableWriter(task.folder / "fetches.parquet", FETCHES))
        drops = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        for link in sorted(_routed(task.inputs), key=lambda link: link["url"]):
            found = ways.follow(link)
            task.progress(1)
            if isinstance(found, int):
                moved.setdefault(found, []).append(link)
                continue
            settled.write({name: link[name] for name in LINKS.names})
            fetch = dict.fromkeys(FETCHES.names) | {"url": link["url"], "redirects": link["hops"], "bytes": 0}
            if isinstance(found, Drop):
                dropped[found.reason] += 1
                drops.write({"url": link["url"], "reason": found.reason, "detail": found.detail})
                end = {
                    "final_url": link["hops"][-1] if link["hops"] else "",
                    "status": 0,
                    "archive": "",
                    "offset": 0,
                }
                fetches.write(fetch | end | {"reason": found.reason, "detail": found.detail})
            else:
                end = {"final_url": found["url"], "status": 200, "fetched_at": found["date"]}
                place = {"archive": found["archive"], "offset": found["offset"]}
                fetches.write(fetch | end | place | {"reason": "", "detail": ""})
    for bucket, links in sorted(moved.items()):
        with TableWriter(task.folder / moved_file(bucket), ROUTED) as writer:
            for link in links:
                writer.write(link)
    return Counts(fetches.rows, fetches.rows - dropped.total(), dict(sorted(dropped.items())))


def _routed(inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the links to find, with the redirects that have led here."""
    for address in inputs:
        if file_name(address) == "links.parquet" or file_name(address).startswith("moved-"):
            for row in read_rows(address):
                yield row | {"hops": list(row.get("hops") or ()), "carried": row.get("carried") or ""}


def _ways(task: Task, options: MatchOptions) -> Ways:
    return Ways(*_known(task.inputs), options, int(task.name))


def _known(inputs: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the files of a bucket: its index, redirects and revisits."""
    names = {address: file_name(address) for address in inputs}
    return (
        [address for address, name in names.items() if name[0].isdigit()],
        [address for address, name in names.items() if name.startswith("redirects-")],
        [address for address, name in names.items() if name.startswith("revisits-")],
    )
