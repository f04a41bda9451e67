"""The shell of the boilerplate stages: count paragraphs by domain, take out of documents what many have."""

import itertools
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.boilerplate.counting import frequent
from pipeline.boilerplate.paragraphs import DOCUMENT, EDGES, domain_hash, edge_hashes, paragraph_hash
from pipeline.boilerplate.runs import ROWS_AT_ONCE, Rows, begins, distinct, merged, spilled
from pipeline.boilerplate.trimming import BoilerplateOptions, Trimmed, trim
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner import storage
from pipeline.runner.buckets import bucket_file
from pipeline.runner.inputs import Run, files_of, gathered
from pipeline.runner.records import DOCUMENTS, Drop
from pipeline.runner.stages import Counts, StageOutput, Task, output_version
from pipeline.runner.tables import FilterWriter, TableWriter, read_rows, read_tables
from pipeline.sources.batches import content_id

ROWS_A_RUN = 2**18  # sorted in memory: 8 MB, and as much again to sort them
PARAGRAPH_CHARACTERS = 1_000  # that are kept of one in `REPEATED`
COUNTED, TAKEN, REPEATED = "counted.parquet", "taken.parquet", "repeated.parquet"

ROWS = pa.schema([("domain", pa.uint64()), ("paragraph", pa.uint64()), ("document", pa.uint64())])
COUNTED_ROWS = pa.schema(
    [
        ("domain", pa.uint64()),  # hashes, as in `ROWS`
        ("paragraph", pa.uint64()),
        ("documents", pa.int64()),  # that have it
        ("of", pa.int64()),  # all of the domain
    ]
)
TAKEN_ROWS = pa.schema([("url", pa.string()), ("beginning", pa.string()), ("end", pa.string())])
REPEATED_ROWS = pa.schema(
    [
        ("domain", pa.string()),
        ("edge", pa.string()),  # of the documents: "beginning" or "end"
        ("hash", pa.uint64()),  # of the normalised paragraph
        ("paragraph", pa.string()),  # as one of them has it, maybe cut
        ("documents", pa.int64()),  # that it was taken out of
    ]
)


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """How many paragraphs at either end are counted, and into how many pieces the domains are cut."""

    paragraphs: int
    partitions: int


@dataclass(frozen=True, kw_only=True)
class CountOptions:
    """On how many pages of a domain a paragraph stands that is boilerplate."""

    pages: int
    share: float


@dataclass(frozen=True, kw_only=True)
class TrimOptions:
    """What may go, and what a document must be that was shortened."""

    boilerplate: BoilerplateOptions
    refine: RefineOptions


def trim_boilerplate(
    run: Run, documents: StageOutput, partitions: int, refine: RefineOptions, options: BoilerplateOptions
) -> StageOutput:
    """Count paragraphs by domain, wherever its documents lie, and trim the documents.

    Args:
        run: runs a stage.
        documents: of a filter, with a `documents.parquet` a partition.
        partitions: into which the domains are cut.
        refine: the rules that a shortened document is judged by again.
        options: the thresholds.
    """
    inputs = texts = files_of(documents, "documents.parquet")
    cut = ScatterOptions(paragraphs=options.max_boilerplate_paragraphs, partitions=partitions)
    limits = CountOptions(pages=options.min_boilerplate_pages, share=options.min_boilerplate_share)
    # What is frequent near an edge; of that, what has nothing but the like between it and the edge.
    for paragraphs, counts in (("paragraphs", "near_edges"), ("runs", "at_edges")):
        scattered = run(paragraphs, scatter_paragraphs, inputs, cut)
        rows = sum(partition.notes["rows"] for partition in scattered.partitions)
        counted = run(counts, count_paragraphs, gathered([scattered], partitions), limits, expected=rows)
        lists = counted.files(COUNTED)
        inputs = {name: [*files, *lists] for name, files in texts.items()}
    return run("trimmed", trim_documents, inputs, TrimOptions(boilerplate=options, refine=refine))


# --- scatter ---


@output_version(1)
def scatter_paragraphs(task: Task) -> Counts:
    """Write `ROWS` for both ends of each document, sorted, in a file for each bucket of domains.

    Inputs: documents; and lists of frequent paragraphs (`COUNTED`), if only those are wanted that have
    nothing but the like between them and the end.
    """
    options: ScatterOptions = task.options
    rows = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        runs = [spilled([run], scratch) for run in _runs(task, options)]
        cut = _by_bucket(merged(runs, scratch))
        for bucket, pieces in itertools.groupby(cut, key=lambda piece: piece[0]):
            path = task.folder / bucket_file(bucket)
            with pq.ParquetWriter(path, ROWS, compression="zstd", use_dictionary=["domain"]) as file:
                for _, piece in pieces:
                    columns = dict(zip(ROWS.names, piece, strict=True))
                    file.write_table(pa.table(columns, ROWS), row_group_size=ROWS_AT_ONCE)
                    rows += piece.shape[1]
    task.notes["rows"] = rows
    return Counts(task.notes["documents"], task.notes["documents"])


def _runs(task: Task, options: ScatterOptions) -> Iterator[Rows]:
    """Yield rows with their bucket before them, as many as are sorted in memory at a time."""
    rows, documents = array("Q"), 0
    address, *lists = task.inputs
    frequent = _repeated(lists, _domains(address)) if lists else None
    for document in read_rows(address, ["id", "domain", "text"]):
        domain, place = domain_hash(document["domain"]), int(document["id"][:16], 16)
        among = None if frequent is None else frequent.get(document["domain"], ())
        hashes = edge_hashes(document["text"], options.paragraphs, among)
        for paragraph in {DOCUMENT, *hashes}:
            rows.extend((domain % options.partitions, domain, paragraph, place))
        if len(rows) >= 4 * ROWS_A_RUN:
            yield _sorted(rows)
            rows = array("Q")
        documents += 1
        task.progress(1)
    task.notes["documents"] = documents
    if rows:
        yield _sorted(rows)


def _sorted(rows: "array[int]") -> Rows:
    return distinct(np.frombuffer(rows, np.uint64).reshape(-1, 4).T)


def _by_bucket(pieces: Iterable[Rows]) -> Iterator[tuple[int, Rows]]:
    """Cut pieces where the next bucket begins; yield it and the rows without it."""
    for piece in pieces:
        starts = [*np.flatnonzero(begins(piece[:1])).tolist(), piece.shape[1]]
        for first, last in itertools.pairwise(starts):
            yield int(piece[0, first]), piece[1:, first:last]


# --- count ---


@output_version(1)
def count_paragraphs(task: Task) -> Counts:
    """Write the frequent paragraphs of a bucket of domains to `COUNTED`.

    Inputs: the bucket's rows of every partition.
    """
    options: CountOptions = task.options
    rows = 0

    def seen(pieces: Iterable[Rows]) -> Iterator[Rows]:
        nonlocal rows
        for piece in pieces:
            rows += piece.shape[1]
            task.progress(piece.shape[1])
            yield piece

    with tempfile.TemporaryDirectory() as name, TableWriter(task.folder / COUNTED, COUNTED_ROWS) as writer:
        pieces = merged([_read(address) for address in task.inputs], Path(name))
        for found in frequent(seen(pieces), options.pages, options.share):
            columns = (found.domain, found.paragraph, found.documents, found.of)
            for row in zip(*(column.tolist() for column in columns), strict=True):
                writer.write(dict(zip(COUNTED_ROWS.names, row, strict=True)))
    task.notes["frequent"] = writer.rows
    return Counts(rows, rows)


def _read(address: str) -> Iterator[Rows]:
    """Yield the rows of a file, a group of them at a time."""
    with storage.open_read(address) as file:
        table = pq.ParquetFile(file)
        for group in range(table.num_row_groups):
            columns = table.read_row_group(group, columns=ROWS.names).columns
            yield np.stack([column.to_numpy() for column in columns])


# --- trim ---


@output_version(1, "pycld2")
def trim_documents(task: Task) -> Counts:
    """Take boilerplate out of documents, and judge again what was shortened. Inputs: documents, `COUNTED`.

    What was taken is in `TAKEN`, by document, and in `REPEATED`, by domain and paragraph.
    """
    options: TrimOptions = task.options
    address, *lists = task.inputs
    repeated = _repeated(lists, _domains(address))
    samples, shortened, characters = _Samples(), 0, 0
    with (
        FilterWriter(task.folder, "documents.parquet", DOCUMENTS) as writer,
        TableWriter(task.folder / TAKEN, TAKEN_ROWS) as taken,
    ):
        for document in read_rows(address, DOCUMENTS.names):
            here = repeated.get(document["domain"])
            trimmed = trim(document["text"], here, options.boilerplate) if here else None
            result: dict[str, Any] | Drop = document
            if trimmed is not None:
                beginning, end = trimmed.taken
                taken.write({"url": document["url"], "beginning": beginning, "end": end})
                samples.add(document["domain"], trimmed)
                result = _judged_again(document, trimmed.text, options.refine)
                if not isinstance(result, Drop):
                    shortened += 1
                    characters += document["characters"] - result["characters"]
            writer.put(result)
            task.progress(1)
    samples.write(task.folder / REPEATED)
    task.notes["changed"] = {"documents shortened": shortened, "characters taken": characters}
    return writer.counts


def _judged_again(document: dict[str, Any], text: str, refine: RefineOptions) -> dict[str, Any] | Drop:
    """Return a document with a shorter text, unless that is none worth keeping."""
    verdict = judge(text, document["url"], refine, document["title"])
    if isinstance(verdict, Drop):
        return Drop(verdict.reason, verdict.url, f"{verdict.detail} without boilerplate".strip())
    language, score = verdict
    return document | {
        "id": content_id(text.encode()),
        "text": text,
        "characters": len(text),
        "language": language,
        "language_score": score,
    }


def _domains(address: str) -> set[str]:
    """Return the domains of a partition's documents."""
    return {row["domain"] for row in read_rows(address, ["domain"])}


def _repeated(lists: Sequence[str], domains: Collection[str]) -> Mapping[str, Collection[int]]:
    """Return for each domain the hashes of its boilerplate; domains without any are left out."""
    names = {domain_hash(domain): domain for domain in domains}
    wanted = pa.array(list(names), pa.uint64())
    found: dict[str, set[int]] = {}
    for address in lists:
        table = read_tables([address], COUNTED_ROWS)
        table = table.filter(pc.is_in(table["domain"], wanted))
        for domain, paragraph in zip(*(table[name].to_pylist() for name in ROWS.names[:2]), strict=True):
            found.setdefault(names[domain], set()).add(paragraph)
    return found


class _Samples:
    """The paragraphs that were taken, with the number of their documents: no more than the lists have."""

    def __init__(self) -> None:
        self._documents = Counter[tuple[str, str, int]]()
        self._texts: dict[tuple[str, str, int], str] = {}

    def add(self, domain: str, trimmed: Trimmed) -> None:
        """Count what was taken out of a document."""
        for edge, paragraphs in zip(EDGES, (trimmed.beginning, trimmed.end), strict=True):
            for paragraph in paragraphs:
                key = domain, edge, paragraph_hash(paragraph.text, edge)
                text = trimmed.shown(paragraph)[:PARAGRAPH_CHARACTERS]
                self._documents[key] += 1
                self._texts[key] = min(text, self._texts.get(key, text))

    def write(self, path: Path) -> None:
        """Write `REPEATED_ROWS`."""
        with TableWriter(path, REPEATED_ROWS) as writer:
            for key, documents in sorted(self._documents.items()):
                row = (*key, self._texts[key], documents)
                writer.write(dict(zip(REPEATED_ROWS.names, row, strict=True)))
