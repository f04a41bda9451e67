"""The shell of the crawl's stages: cut links by domain, and fetch the pages of each partition of domains."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline.crawl.cookies import unpacked
from pipeline.crawl.crawler import crawl
from pipeline.crawl.options import CrawlCounts, CrawlOptions
from pipeline.crawl.segments import fetch_log, local_store
from pipeline.crawl.visits import ELSEWHERE, Link, Target, locate
from pipeline.links.candidates import LinkOptions, LinkRules
from pipeline.runner.buckets import CutOptions, bucket_file, bucket_of, moved_file
from pipeline.runner.records import DROPS, FETCHES, LINKS, ROUTED, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import counts_of, read_tables
from pipeline.web.urls import parse


@output_version(2)
def scatter_by_domain(task: Task) -> Counts:
    """Cut links by registrable domain, so that politeness is a matter of one task. Input: links."""
    options: CutOptions = task.options
    links = read_tables(task.inputs, LINKS)
    links = links.append_column(ROUTED.field("hops"), pa.array([[]] * len(links), pa.list_(pa.string())))
    links = links.append_column(ROUTED.field("carried"), pa.array([""] * len(links), pa.string()))
    domains = pc.value_counts(links["domain"]).to_pylist()
    bucket = {entry["values"]: bucket_of(entry["values"], options.partitions) for entry in domains}
    largest: dict[str, int] = {}
    for entry in domains:
        name = bucket_file(bucket[entry["values"]])
        largest[name] = max(largest.get(name, 0), entry["counts"])
    buckets = pa.array([bucket[domain] for domain in links["domain"].to_pylist()], pa.int32())
    for number in sorted(set(bucket.values())):
        part = links.filter(pc.equal(buckets, number))
        pq.write_table(part, task.folder / bucket_file(number), compression="zstd")
    task.notes["largest"] = largest
    task.progress(len(links))
    return Counts(len(links), len(links))


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """How to crawl, which addresses not to end up at, and into how many crawls the domains are cut."""

    crawl: CrawlOptions
    links: LinkOptions
    partitions: int


@output_version(2)
def crawl_links(task: Task) -> Counts:
    """Fetch the pages of one partition of domains. Inputs: links on their way (`ROUTED`).

    The pages live in the task's store, which outlives the partition: what was fetched once, by a run
    that was killed or had other options, is not fetched again. A link that is redirected to a domain of
    another partition is handed on, so that no domain is ever asked by two crawls at once; it counts
    where its way ends.
    """
    options: FetchOptions = task.options
    links = read_tables(task.inputs, ROUTED).sort_by("url")
    rules = LinkRules(options.links, options.crawl.allow_networks)

    def drop_for(url: str) -> str | None:
        address = parse(url)
        drop = address if isinstance(address, Drop) else rules.drop_for(address)
        return None if drop is None else drop.reason

    def owns(domain: str) -> bool:
        return bucket_of(domain, options.partitions) == int(task.name)

    settled, received, dropped = 0, 0, Counter[str]()

    def on_progress(counts: CrawlCounts) -> None:
        nonlocal settled, received, dropped
        now = counts.reused + counts.pages + counts.drops.total()
        drops = Counter({reason: count for reason, count in counts.drops.items() if reason != ELSEWHERE})
        task.progress(now - settled, counts.bytes - received, drops - dropped)
        settled, received, dropped = now, counts.bytes, drops
        push()

    with local_store(task.store) as (folder, push):
        crawl(in_turns(links), folder, options.crawl, drop_for=drop_for, owns=owns, on_progress=on_progress)
        push()
        log = fetch_log(folder)
    log = log.filter(pc.is_in(log["url"], links["url"].combine_chunks()))
    assert log["url"].equals(links["url"]), f"{len(log)} rows in the fetch log for {len(links)} links"
    elsewhere = pc.equal(log["reason"], ELSEWHERE)
    _write_moved(links.filter(elsewhere), log.filter(elsewhere), task.folder, options.partitions)
    return _write_fetched(links.filter(pc.invert(elsewhere)), log.filter(pc.invert(elsewhere)), task)


def _write_moved(links: pa.Table, log: pa.Table, folder: Path, partitions: int) -> None:
    """Write the links that go on elsewhere, by the partition of the domain where they do."""
    if not len(links):
        return
    routed = links.set_column(links.schema.get_field_index("hops"), ROUTED.field("hops"), log["redirects"])
    routed = routed.set_column(
        links.schema.get_field_index("carried"), ROUTED.field("carried"), log["carried"]
    )
    targets = [locate(url) for url in log["final_url"].to_pylist()]
    domains = [target.domain for target in targets if isinstance(target, Target)]
    buckets = pa.array([bucket_of(domain, partitions) for domain in domains], pa.int32())
    for bucket in sorted(set(buckets.to_pylist())):
        part = routed.filter(pc.equal(buckets, bucket))
        pq.write_table(part, folder / moved_file(bucket), compression="zstd")


def _write_fetched(links: pa.Table, log: pa.Table, task: Task) -> Counts:
    """Write the links whose way has ended here, with their fetch log."""
    # Beside the partition's folder lie the stores: `<stage>/store/<partition>/`.
    names = log["archive"].to_pylist()
    archives = pa.array([f"../store/{task.name}/{name}" if name else "" for name in names], pa.string())
    log = log.select(FETCHES.names).set_column(
        log.schema.get_field_index("archive"), FETCHES.field("archive"), archives
    )
    drops = log.filter(pc.not_equal(log["reason"], "")).select(DROPS.names)
    pq.write_table(links.select(LINKS.names), task.folder / "links.parquet", compression="zstd")
    pq.write_table(log, task.folder / "fetches.parquet", compression="zstd")
    pq.write_table(drops, task.folder / "drops.parquet", compression="zstd")
    return counts_of(len(log) - len(drops), drops)


def in_turns(links: pa.Table) -> list[Link]:
    """Order links so that the domains take turns: the first link of each, then the second of each.

    A crawl reads so many links ahead. In this order a domain with more of them than that comes to its
    last ones when the others have none left, and never stands before them.
    """
    hashes = [xxhash.xxh3_64_intdigest(url.encode()) for url in links["url"].to_pylist()]
    ordered = links.append_column("hash", pa.array(hashes, pa.uint64())).sort_by(
        [("domain", "ascending"), ("hash", "ascending")]
    )
    domains = ordered["domain"].combine_chunks()
    starts = np.ones(len(domains), np.bool_)
    if len(domains):
        starts[1:] = pc.not_equal(domains[1:], domains[:-1]).to_numpy(zero_copy_only=False)
    first = np.flatnonzero(starts)
    turn = np.arange(len(domains)) - np.repeat(first, np.diff(first, append=len(domains)))
    order = np.lexsort((ordered["hash"].to_numpy(), turn))
    turns = ordered.select(["url", "hops", "carried"]).take(order)
    return [Link(row["url"], tuple(row["hops"]), unpacked(row["carried"])) for row in turns.to_pylist()]
