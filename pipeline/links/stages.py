"""The shell of the links' stages: cut each dump's candidates into buckets, merge each bucket's into links."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.links.candidates import CANDIDATES, LinkBatch, LinkOptions, LinkRules, extract, scatter
from pipeline.links.merging import merge
from pipeline.links.submissions import Submission, read_submissions
from pipeline.runner.buckets import bucket_file
from pipeline.runner.names import file_name
from pipeline.runner.records import DROPS, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import counts_of, read_tables

ROWS_A_SCATTER = 131_072  # candidates held in memory before they are cut into buckets
BYTES_A_SCATTER = 128 * 2**20  # or so many bytes of them; honest ones take a quarter of that
DAMAGE = frozenset({"damaged file", "empty file", "damaged archive"})


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """Which submissions count as links, and into how many partitions they are cut."""

    links: LinkOptions
    allow_networks: tuple[str, ...]
    partitions: int


@output_version(3, "ada-url", "publicsuffixlist")
def scatter_submissions(task: Task) -> Counts:
    """Cut one dump's links into buckets by address. Input: a dump."""
    options: ScatterOptions = task.options
    rules = LinkRules(options.links, options.allow_networks)
    read, reported, dropped, reported_drops = 0, 0, Counter[str](), Counter[str]()
    submissions = _noting_damage(read_submissions(task.inputs[0], name=file_name(task.inputs[0])), task)
    with contextlib.ExitStack() as stack:
        drops = stack.enter_context(
            pq.ParquetWriter(task.folder / "drops.parquet", DROPS, compression="zstd")
        )
        buckets: dict[int, pq.ParquetWriter] = {}
        for candidates in _in_large_batches(extract(submissions, rules), drops, dropped):
            read += len(candidates)
            for bucket, part in scatter(candidates, options.partitions):
                if bucket not in buckets:
                    path = task.folder / bucket_file(bucket)
                    buckets[bucket] = stack.enter_context(
                        pq.ParquetWriter(path, CANDIDATES, compression="zstd")
                    )
                buckets[bucket].write_batch(part)
            now = read + dropped.total()
            task.progress(now - reported, dropped=dropped - reported_drops)
            reported, reported_drops = now, dropped.copy()
    return Counts(read + dropped.total(), read, dict(sorted(dropped.items())))


def _in_large_batches(
    batches: Iterable[LinkBatch], drops: pq.ParquetWriter, dropped: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Write and count the drops of some batches, and yield their candidates, many at a time."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if len(batch.drops):
            drops.write_batch(batch.drops)
            dropped.update(batch.drops.column("reason").to_pylist())
        waiting.append(batch.candidates)
        rows = sum(len(candidates) for candidates in waiting)
        if rows >= ROWS_A_SCATTER or sum(candidates.nbytes for candidates in waiting) >= BYTES_A_SCATTER:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def _noting_damage(items: Iterable[Submission | Drop], task: Task) -> Iterator[Submission | Drop]:
    """Pass items on, and keep what was wrong with the file as a whole for the run's summary."""
    for item in items:
        if isinstance(item, Drop) and item.reason in DAMAGE:
            task.notes.setdefault("damage", []).append(f"{item.reason}: {item.url} {item.detail}".rstrip())
        yield item


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Which links have enough karma."""

    min_karma: int = 3
    """Least karma of a link: the highest score that any one of its submissions got."""


@output_version(2, "publicsuffixlist")
def merge_links(task: Task) -> Counts:
    """Merge one bucket's candidates into links. Inputs: the bucket's file of every dump."""
    options: MergeOptions = task.options
    merged = merge(read_tables(task.inputs, CANDIDATES), options.min_karma)
    pq.write_table(merged.links, task.folder / "links.parquet", compression="zstd")
    pq.write_table(merged.drops, task.folder / "drops.parquet", compression="zstd")
    task.progress(len(merged.links) + len(merged.drops))
    return counts_of(len(merged.links), merged.drops)
