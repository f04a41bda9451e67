"""The shell of the archives' stages: what to look for, where it lies, which capture to take; its record."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.archives.ways import MatchOptions
from pipeline.common_crawl.captures import CAPTURES, best
from pipeline.common_crawl.cdx_index import CLUSTER, read_lines, read_zipnum
from pipeline.common_crawl.choice import NOT_THERE, Chooser, Elsewhere
from pipeline.common_crawl.fetching import Fetched, fetch_captures
from pipeline.common_crawl.index_batch import IndexTally, UnreadableIndexError
from pipeline.common_crawl.index_files import source_of
from pipeline.common_crawl.lookup import FOUND, matches
from pipeline.common_crawl.options import RecordOptions
from pipeline.common_crawl.parquet_index import read_parquet
from pipeline.common_crawl.sought import ROWS_PER_GROUP, SOUGHT_FILE, Sought, sought_table
from pipeline.crawl.segments import FinishedLinks, fetch_log, finish_interrupted, local_store
from pipeline.crawl.visits import ELSEWHERE
from pipeline.links.candidates import LinkRules
from pipeline.runner import storage
from pipeline.runner.buckets import bucket_file, bucket_of, moved_file
from pipeline.runner.names import file_name
from pipeline.runner.records import DROPS, FETCHES, LINKS, ROUTED, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import TableWriter, counts_of, read_tables

ROWS_AT_ONCE = 20_000  # of captures, in memory, before they are written
CHOSEN = pa.schema(
    [*ROUTED, *(field for field in CAPTURES if field.name not in ROUTED.names and field.name != "url")]
)
CHOSEN = CHOSEN.append(pa.field("capture_url", pa.string()))


def links_to_seek(addresses: Iterable[str]) -> pa.Table:
    """Return the links in some files as links on their way (`ROUTED`), which some of them are already."""
    tables = [ROUTED.empty_table()]
    for address in addresses:
        with storage.open_read(address) as file:
            table = pq.read_table(file)
        if "hops" not in table.column_names:
            hops = pa.array([[]] * len(table), pa.list_(pa.string()))
            table = table.append_column(ROUTED.field("hops"), hops)
            table = table.append_column(ROUTED.field("carried"), pa.array([""] * len(table), pa.string()))
        tables.append(table.select(ROUTED.names).cast(ROUTED))
    return pa.concat_tables(tables)


@output_version(1, "ada-url")
def seek_links(task: Task) -> Counts:
    """Write what to look for in indexes, sorted by SURT. Inputs: links, or links on their way."""
    links = links_to_seek(task.inputs)
    table = sought_table(links)
    pq.write_table(table, task.folder / SOUGHT_FILE, row_group_size=ROWS_PER_GROUP, compression="zstd")
    task.progress(len(links))
    return Counts(len(links), len(links))


@output_version(1, "ada-url")
def look_up(task: Task) -> Counts:
    """Find captures of what is looked for in some files of one index. Inputs: what is looked for; the index.

    An index file that is not there or cannot be read is named in `notes["damage"]`, and the others are read.
    """
    is_sought = [file_name(address) == SOUGHT_FILE for address in task.inputs]
    sought = Sought([address for address, ours in zip(task.inputs, is_sought, strict=True) if ours])
    files = [address for address, ours in zip(task.inputs, is_sought, strict=True) if not ours]
    tally, kept = IndexTally(), 0
    sources: dict[str, dict[str, int]] = {}
    with contextlib.ExitStack() as stack:
        writers: dict[int, pq.ParquetWriter] = {}

        def write(parts: list[pa.Table]) -> None:
            nonlocal kept
            table = pa.concat_tables([FOUND.empty_table(), *parts])
            for bucket in pc.unique(table["bucket"]).to_pylist():
                if bucket not in writers:
                    path = task.folder / bucket_file(bucket)
                    writers[bucket] = stack.enter_context(
                        pq.ParquetWriter(path, CAPTURES, compression="zstd")
                    )
                part = best(table.filter(pc.equal(table["bucket"], bucket)).select(CAPTURES.names))
                writers[bucket].write_table(part)
                kept += len(part)

        waiting: list[pa.Table] = []
        for found in _found(files, sought, task, tally, sources):
            waiting += found
            if sum(map(len, waiting)) >= ROWS_AT_ONCE:
                write(waiting)
                waiting = []
        write(waiting)
    task.notes["index"] = asdict(tally)
    task.notes["sources"] = sources
    return Counts(max(kept, tally.rows_looked_at), kept, {"other rows": max(0, tally.rows_looked_at - kept)})


def _found(
    files: Sequence[str], sought: Sought, task: Task, whole: IndexTally, sources: dict[str, dict[str, int]]
) -> Iterator[list[pa.Table]]:
    """Yield the captures in each batch of an index's files, and report what is read and what cannot be."""
    shards: list[str] = []
    if files and file_name(files[0]) == CLUSTER:
        shards = [file_name(address) for address in files[1:]]
        files = [files[0]]
    for address in files:
        tally, reported = IndexTally(), IndexTally()
        here = sources.setdefault(source_of(address), {"files": 0, "rows_looked_at": 0, "captures": 0})
        if file_name(address) == CLUSTER:
            batches = read_zipnum(address, shards, sought, tally)
        else:
            batches = (read_parquet if address.partition("?")[0].endswith(".parquet") else read_lines)(
                address, sought, tally
            )
        try:
            for batch in batches:
                found = list(matches(batch, sought, source_of(address), task.options))
                here["captures"] += sum(map(len, found))
                yield found
                task.progress(
                    tally.rows_looked_at - reported.rows_looked_at, tally.bytes_read - reported.bytes_read
                )
                reported = IndexTally(**asdict(tally))
        except UnreadableIndexError as error:
            again = "; the next run asks again" if error.temporary else ""
            note = f"unreadable index: {file_name(address)}: {error}{again}"
            task.notes.setdefault("damage", []).append(note)
            task.notes["unavailable"] = task.notes.get("unavailable", 0) + error.temporary
        whole.add(tally)
        here["rows_looked_at"] += tally.rows_looked_at
        here["files"] += tally.files


@output_version(1, "ada-url", "publicsuffixlist")
def choose_captures(task: Task) -> Counts:
    """Choose a capture for each link. Inputs: links, maybe on their way; the captures found for them.

    What is chosen is cut by WARC file, so that neighbours are fetched together. A link whose redirect leads
    to what was not looked for is handed on; one that has no capture ends here.
    """
    options: MatchOptions = task.options
    is_links = [
        file_name(address) == "links.parquet" or file_name(address).startswith("moved-")
        for address in task.inputs
    ]
    links = links_to_seek(address for address, ours in zip(task.inputs, is_links, strict=True) if ours)
    found = _best_of(address for address, ours in zip(task.inputs, is_links, strict=True) if not ours)
    chooser = Chooser(LinkRules(options.links, options.allow_networks), options.max_redirects)
    chosen: dict[int, list[dict[str, Any]]] = {}
    moved: dict[int, list[dict[str, Any]]] = {}
    handed_on = 0
    with _Settled(task.folder) as settled:
        for link, captures in _by_link(links, found):
            task.progress(1)
            outcome = chooser.choose(link["url"], link["hops"], captures)
            if isinstance(outcome, Drop):
                settled.drop(link, outcome)
                continue
            handed_on += 1
            if isinstance(outcome, Elsewhere):
                moved.setdefault(bucket_of(link["hops"][-1], options.partitions), []).append(link)
            else:
                row = {name: outcome[name] for name in CAPTURES.names if name != "url"} | link
                bucket = bucket_of(outcome["warc_filename"], options.partitions)
                chosen.setdefault(bucket, []).append(row | {"capture_url": outcome["url"]})
    for rows, name, schema in ((chosen, chosen_file, CHOSEN), (moved, moved_file, ROUTED)):
        for bucket, part in sorted(rows.items()):
            table = pa.Table.from_pylist(part, schema=schema)
            pq.write_table(table, task.folder / name(bucket), compression="zstd")
    return Counts(len(links), handed_on, settled.dropped())


def chosen_file(bucket: int) -> str:
    """The file of the captures that one fetching partition gets."""
    return f"chosen-{bucket_file(bucket)}"


def _best_of(addresses: Iterable[str]) -> pa.Table:
    """Return the best captures of many files, a few of which are in memory at a time."""
    parts, rows = [CAPTURES.empty_table()], 0
    for address in addresses:
        parts.append(read_tables([address], CAPTURES))
        rows += len(parts[-1])
        if rows >= 4 * max(ROWS_AT_ONCE, len(parts[0])):
            parts = [best(pa.concat_tables(parts))]
            rows = len(parts[0])
    return best(pa.concat_tables(parts))


def _by_link(links: pa.Table, captures: pa.Table) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield each link, by address, with its captures."""
    links = links.sort_by("url")
    captures = captures.sort_by("link")
    names = captures["link"].combine_chunks()
    urls = links["url"].combine_chunks()
    begins, ends = (pc.search_sorted(names, urls, side=side).to_pylist() for side in ("left", "right"))
    place = 0
    for batch in links.to_batches(max_chunksize=1_000):
        for link in batch.to_pylist():
            begin, end = begins[place], ends[place]
            place += 1
            yield link, captures.slice(begin, end - begin).to_pylist()


class _Settled:
    """The links that end in a stage without a page: their rows, and why. Use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._writers = [
            TableWriter(folder / f"{name}.parquet", schema)
            for name, schema in (("links", LINKS), ("fetches", FETCHES), ("drops", DROPS))
        ]
        self._reasons = Counter[str]()

    def __enter__(self) -> "_Settled":
        return self

    def __exit__(self, *error: Any) -> None:
        for writer in self._writers:
            writer.__exit__(*error)

    def drop(self, link: Mapping[str, Any], drop: Drop) -> None:
        """Write down that a link has no page."""
        self._reasons[drop.reason] += 1
        hops = link["hops"]
        fetch = dict.fromkeys(FETCHES.names) | {
            "url": link["url"], "final_url": hops[-1] if hops else "", "redirects": hops, "status": 0,
            "reason": drop.reason, "detail": drop.detail, "bytes": 0, "archive": "", "offset": 0,
        }  # fmt: skip
        rows = (
            {name: link[name] for name in LINKS.names},
            fetch,
            {"url": link["url"], "reason": drop.reason, "detail": drop.detail},
        )
        for writer, row in zip(self._writers, rows, strict=True):
            writer.write(row)

    def dropped(self) -> dict[str, int]:
        """Return how many links ended for each reason."""
        return dict(sorted(self._reasons.items()))


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """How to fetch records, and what becomes of those that are redirects."""

    records: RecordOptions
    choice: MatchOptions


@output_version(1)
def fetch_records(task: Task) -> Counts:
    """Fetch the records of chosen captures. Inputs: where the archive lies; captures of some of its files.

    Records live in the task's store, as a crawl's pages do: what was fetched once is not fetched again.
    """
    options: FetchOptions = task.options
    root, *addresses = task.inputs
    chosen = pa.concat_tables(
        [CHOSEN.empty_table(), *(read_tables([address], CHOSEN) for address in addresses)]
    )
    chosen = chosen.sort_by([(name, "ascending") for name in ("warc_filename", "warc_record_offset", "url")])
    chooser = Chooser(
        LinkRules(options.choice.links, options.choice.allow_networks), options.choice.max_redirects
    )
    settled, received = 0, 0

    def follow(capture: Mapping[str, Any], location: str) -> str | Drop:
        target = chooser.follow(capture["link"], capture["hops"], capture["url"], location)
        return Drop(NOT_THERE, detail="only a redirect to https") if target is None else target

    with local_store(task.store) as (folder, push):

        def on_progress(fetched: Fetched) -> None:
            nonlocal settled, received
            task.progress(fetched.settled - settled, fetched.bytes - received)
            settled, received = fetched.settled, fetched.bytes
            push()

        finish_interrupted(folder)
        finished = FinishedLinks(folder, options.records.fingerprint())
        waiting = (row for row in _rows(chosen) if row["id"] not in finished)
        fetch_captures(waiting, root, folder, options.records, follow, on_progress)
        push()
        log = fetch_log(folder)
    return _write(chosen.sort_by("url"), log, task, options.choice.partitions)


def _rows(chosen: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in chosen.to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            yield row | {"id": _id(row), "link": row["url"], "url": row["capture_url"]}


def _id(row: Mapping[str, Any]) -> str:
    """Return what a record is known by in the store: with other options, a link may get another capture."""
    return " ".join([row["url"], row["warc_filename"], str(row["warc_record_offset"]), *row["hops"]])


def _write(chosen: pa.Table, log: pa.Table, task: Task, partitions: int) -> Counts:
    """Write the links whose way has ended here with their fetch log, and those that go on."""
    ids = pa.array([_id(row) for row in chosen.to_pylist()], pa.string())
    places = pc.index_in(ids, value_set=log["url"].combine_chunks())
    assert not places.null_count, f"{places.null_count} captures of {len(chosen)} are not in the fetch log"
    log = log.select(FETCHES.names).take(places).set_column(0, FETCHES.field("url"), chosen["url"])
    names = log["archive"].to_pylist()
    archives = pa.array([f"../store/{task.name}/{name}" if name else "" for name in names], pa.string())
    log = log.set_column(log.schema.get_field_index("archive"), FETCHES.field("archive"), archives)
    elsewhere = pc.equal(log["reason"], ELSEWHERE)
    moved = chosen.filter(elsewhere).select(ROUTED.names)
    if len(moved):
        hops = log.filter(elsewhere)["redirects"]
        moved = moved.set_column(moved.schema.get_field_index("hops"), ROUTED.field("hops"), hops)
        buckets = pa.array([bucket_of(way[-1], partitions) for way in hops.to_pylist()], pa.int32())
        for bucket in sorted(set(buckets.to_pylist())):
            part = moved.filter(pc.equal(buckets, bucket))
            pq.write_table(part, task.folder / moved_file(bucket), compression="zstd")
    ended = pc.invert(elsewhere)
    log, links = log.filter(ended), chosen.filter(ended).select(LINKS.names)
    drops = log.filter(pc.not_equal(log["reason"], "")).select(DROPS.names)
    task.notes["sources"] = dict(
        sorted(Counter(log.filter(pc.equal(log["reason"], ""))["source"].to_pylist()).items())
    )
    pq.write_table(links, task.folder / "links.parquet", compression="zstd")
    pq.write_table(log, task.folder / "fetches.parquet", compression="zstd")
    pq.write_table(drops, task.folder / "drops.parquet", compression="zstd")
    return counts_of(len(log) - len(drops), drops)
