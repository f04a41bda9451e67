"""What the card and the report say about a corpus: counts over its columns, and a few pages to look at.

One file is read at a time and only the columns that are counted, texts a few rows at a time, so that memory
grows with the number of domains and subreddits, not with the documents. The samples are spread evenly over
what there is: the same corpus shows the same ones.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.funnel import by_size
from pipeline.corpus.likeness import WebTextLikeness, likeness_to_webtext
from pipeline.corpus.split import SPLITS
from pipeline.runner import storage
from pipeline.runner.records import SOURCE_CRAWL, SOURCE_WARCS
from pipeline.runner.stages import Partition, StageOutput
from pipeline.runner.tables import read_rows

KEPT_SAMPLES = 6
DROP_SAMPLES = 3  # of each reason of each step
EXCERPT_CHARACTERS = 420
MOST_FREQUENT = 15
BOILERPLATE_DOMAINS, BOILERPLATE_SAMPLES = 8, 3  # of each domain

Histogram = Sequence[tuple[str, int]]  # (label, documents), in the order of the labels


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One page to look at: its address, what is known of it, and how its text begins."""

    url: str
    title: str
    about: str
    excerpt: str


@dataclass(frozen=True, kw_only=True)
class DropSamples:
    """A few of the records that one step dropped for one reason, and how many there are."""

    step: str
    reason: str
    count: int
    samples: Sequence[Sample]


@dataclass(frozen=True, kw_only=True)
class Boilerplate:
    """A paragraph that was taken out of many documents of a domain."""

    domain: str
    edge: str  # of the documents: "beginning" or "end"
    excerpt: str
    documents: int


@dataclass(frozen=True, kw_only=True)
class LinksOfYear:
    """The links that were first submitted in a year, and how many of their pages are from where."""

    year: str
    links: int
    pages: Mapping[str, int]  # by source

    def share(self, *sources: str) -> float:
        """Return which part of the links, 0 to 100, has its page from one of these sources."""
        return 100 * sum(self.pages.get(source, 0) for source in sources) / self.links


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the corpus holds, in numbers and samples."""

    documents: Mapping[str, int]  # by split
    characters: Mapping[str, int]  # by split
    distinct_domains: int
    domains: Histogram  # those with the most documents
    subreddits: Histogram
    lengths: Histogram  # documents by length in characters
    karma: Histogram
    dates: Histogram  # documents by the year that the page gives for itself
    first_seen: Histogram  # documents by the year of their first submission
    sources: Histogram = ()  # documents by where their pages are from
    links: Sequence[LinksOfYear] = ()
    likeness: WebTextLikeness | None = None  # to WebText, by domains
    fetched: tuple[str, str] | None  # first and last ISO 8601 day on which pages were fetched
    clusters: Histogram = ()  # groups of documents with the same or nearly the same text, by size
    bands: Mapping[str, Any] | None = None  # how near-duplicates were looked for: `Bands.notes`
    kept: Sequence[Sample] = ()
    dropped: Sequence[DropSamples] = ()
    boilerplate: Sequence[Boilerplate] = ()  # the most frequent of the domains that have most of it


@dataclass
class _Counters:
    """What has been counted so far."""

    documents: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    columns: dict[str, Counter[Any]] = field(default_factory=dict)

    def add(self, split: str, table: pa.Table) -> None:
        self.documents[split] += len(table)
        self.characters[split] += pc.sum(table["characters"]).as_py() or 0
        for name, values in {
            "domain": table["domain"],
            "subreddit": table["subreddit"],
            "length": _power_of_two(table["characters"]),
            "karma": _power_of_two(table["karma"]),
            "date": pc.utf8_slice_codeunits(table["date"], 0, 4),
            "first_seen": pc.cast(pc.year(table["first_seen"]), pa.string()),
            "source": table["source"],
        }.items():
            counted = self.columns.setdefault(name, Counter())
            for pair in pc.value_counts(values).to_pylist():
                counted[pair["values"]] += pair["counts"]


COUNTED = ["domain", "subreddit", "characters", "karma", "date", "first_seen", "source"]


def figures(outputs: Sequence[StageOutput], handed_on: Collection[str] = ()) -> Figures:
    """Sum up a finished run, from the outputs of its stages; the last is the corpus itself.

    Args:
        outputs: of all stages.
        handed_on: stages whose drops are not final, since another source of pages got them.
    """
    stages = {output.stage: output for output in outputs}
    split = outputs[-1]
    counters = _Counters()
    for side in SPLITS:
        for source in split.files(f"{side}.parquet"):
            counters.add(side, _read(source.address, COUNTED))
    columns = counters.columns
    return Figures(
        documents={side: counters.documents[side] for side in SPLITS},
        characters={side: counters.characters[side] for side in SPLITS},
        distinct_domains=len(columns.get("domain", ())),
        domains=_most_frequent(columns.get("domain", {})),
        subreddits=_most_frequent(columns.get("subreddit", {})),
        lengths=_classes(columns.get("length", {})),
        karma=_classes(columns.get("karma", {})),
        dates=_years(columns.get("date", {})),
        first_seen=_years(columns.get("first_seen", {})),
        sources=_most_frequent(columns.get("source", {})),
        links=list(_links_by_year(outputs)),
        likeness=likeness_to_webtext(columns.get("domain", {}).items()),
        fetched=_fetched(outputs),
        clusters=_clusters(stages),
        bands=stages["duplicates"].partitions[0].notes["bands"] if "duplicates" in stages else None,
        kept=list(_kept_samples(split)),
        dropped=list(_drop_samples([output for output in outputs if output.stage not in handed_on])),
        boilerplate=list(_boilerplate(stages)),
    )


def _read(address: str, columns: Sequence[str]) -> pa.Table:
    with storage.open_read(address) as file:
        return pq.read_table(file, columns=list(columns))


def _power_of_two(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each value the exponent of the largest power of two that it reaches; 0 for less than 2."""
    return pc.cast(pc.floor(pc.log2(pc.max_element_wise(pc.cast(values, pa.float64()), 1.0))), pa.int8())


def _most_frequent(counts: Mapping[str | None, int]) -> Histogram:
    return by_size({label: count for label, count in counts.items() if label})[:MOST_FREQUENT]


def _classes(counts: Mapping[int, int]) -> Histogram:
    """Label exponents of two by the values they stand for; the empty classes in between count too."""
    exponents = range(min(counts), max(counts) + 1) if counts else range(0)
    return [
        (f"{2**exponent if exponent else 0:,} to {2 ** (exponent + 1) - 1:,}", counts.get(exponent, 0))
        for exponent in exponents
    ]


def _years(counts: Mapping[str | None, int]) -> Histogram:
    known = {int(year): count for year, count in counts.items() if year}
    years = range(min(known), max(known) + 1) if known else range(0)
    unknown = [("unknown", count)] if (count := sum(n for year, n in counts.items() if not year)) else []
    return [(str(year), known.get(year, 0)) for year in years] + unknown


def _fetched(outputs: Sequence[StageOutput]) -> tuple[str, str] | None:
    """Return the first and the last day in the fetch logs, from their footers."""
    days = []
    for source in (source for output in outputs for source in output.files("fetches.parquet")):
        column = _read(source.address, ["fetched_at"])["fetched_at"]
        bounds = pc.min_max(column).as_py()
        days += [bound.date().isoformat() for bound in bounds.values() if bound is not None]
    return (min(days), max(days)) if days else None


def _links_by_year(outputs: Sequence[StageOutput]) -> Iterator[LinksOfYear]:
    """Yield the links of each year, with the sources of their pages; nothing if no link has a time."""
    links, pages = Counter[str](), Counter[tuple[str, str]]()
    for output in outputs:
        if output.stage == "links":
            for source in output.files("links.parquet"):
                links.update(_year_of(_read(source.address, ["first_seen"])).to_pylist())
        for partition in output.partitions:
            if partition.file("fetches.parquet") is not None:
                pages.update(_pages_by_year(partition))
    if not links.keys() - {UNKNOWN_YEAR}:
        return
    for year, count in sorted(links.items()):
        there = {source: pages[at, source] for at, source in sorted(pages) if at == year}
        yield LinksOfYear(year=year, links=count, pages=there)


UNKNOWN_YEAR = "unknown"


def _year_of(links: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.cast(pc.year(links["first_seen"]), pa.string()), UNKNOWN_YEAR)


def _pages_by_year(partition: Partition) -> Counter[tuple[str, str]]:
    """Count the pages of a partition by the year of their links, and by source: rows go with rows."""
    links, fetches = (partition.file(name) for name in ("links.parquet", "fetches.parquet"))
    assert links is not None and fetches is not None
    table = _read(links.address, ["first_seen"])
    columns = ["reason", "archive"] + (["source"] if "source" in _columns(fetches.address) else [])
    log = _read(fetches.address, columns)
    usual = pc.if_else(pc.match_substring(log["archive"], "/"), SOURCE_CRAWL, SOURCE_WARCS)
    source = pc.coalesce(log["source"], usual) if "source" in columns else usual
    found = pa.table({"year": _year_of(table), "source": source}).filter(pc.equal(log["reason"], ""))
    counted = found.group_by(["year", "source"]).aggregate([([], "count_all")])
    rows = zip(*(counted[name].to_pylist() for name in ("year", "source", "count_all")), strict=True)
    return Counter({(year, name): count for year, name, count in rows})


def _columns(address: str) -> list[str]:
    with storage.open_read(address) as file:
        return list(pq.read_schema(file).names)


def _clusters(stages: Mapping[str, StageOutput]) -> Histogram:
    """Return how many groups of copies there are by size; from ten on, a class begins at its label."""
    sizes = Counter[int]()
    for partition in stages["duplicates"].partitions if "duplicates" in stages else ():
        sizes.update({int(size): count for size, count in partition.notes.get("cluster_sizes", {}).items()})
    return [(f"{size:,}{'+' if size >= 10 else ''}", count) for size, count in sorted(sizes.items())]


# --- samples ---


def evenly(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` of the numbers below `total`, spread evenly."""
    wanted = min(total, wanted)
    return [(2 * number + 1) * total // (2 * wanted) for number in range(wanted)]


def _kept_samples(split: StageOutput) -> Iterator[Sample]:
    """Yield documents of the training side."""
    sizes = [partition.notes["documents"]["train"] for partition in split.partitions]
    for number in evenly(sum(sizes), KEPT_SAMPLES):
        row = number
        for partition, size in zip(split.partitions, sizes, strict=True):
            if row < size:
                yield _kept_sample(partition, row)
                break
            row -= size


def _kept_sample(partition: Partition, row: int) -> Sample:
    columns = ["url", "title", "text", "date", "karma", "subreddit", "characters"]
    source = partition.file("train.parquet")
    assert source is not None
    document = _row(source.address, row, columns)
    known = [f"{document['characters']:,} characters"]
    known += [f"karma {document['karma']:,} in r/{document['subreddit']}"] if document["subreddit"] else []
    known += [document["date"]] if document["date"] else []
    return Sample(
        url=document["url"],
        title=document["title"],
        about=", ".join(known),
        excerpt=excerpt_of(document["text"]),
    )


def _row(address: str, number: int, columns: Sequence[str]) -> dict[str, Any]:
    """Return one row of a file, of which its row group is read."""
    with storage.open_read(address) as file:
        table = pq.ParquetFile(file)
        group = 0
        while number >= table.metadata.row_group(group).num_rows:
            number -= table.metadata.row_group(group).num_rows
            group += 1
        found: dict[str, Any] = (
            table.read_row_group(group, columns=list(columns)).slice(number, 1).to_pylist()[0]
        )
    return found


def _drop_samples(outputs: Sequence[StageOutput]) -> Iterator[DropSamples]:
    """Yield some of the records that the steps after the links dropped, for each step and reason."""
    documents: dict[str, Partition] = {}  # those that know the texts of what later steps drop
    links = next((number for number, output in enumerate(outputs) if output.stage == "links"), -1)
    for output in outputs[links + 1 :]:
        for reason, count in by_size(output.counts.dropped):
            counts = [partition.counts.dropped.get(reason, 0) for partition in output.partitions]
            largest = output.partitions[counts.index(max(counts))]
            source = largest.file("drops.parquet")
            if source is None:  # named here, written down by a later step
                continue
            is_one = pc.equal(_read(source.address, ["reason"])["reason"], reason)
            rows = pc.indices_nonzero(is_one)
            chosen = [
                _row(source.address, rows[number].as_py(), ["url", "detail"])
                for number in evenly(len(rows), DROP_SAMPLES)
            ]
            texts = _texts(documents.get(largest.name), [drop["url"] for drop in chosen])
            samples = [
                Sample(url=drop["url"], about=drop["detail"], **texts.get(drop["url"], _NO_TEXT))
                for drop in chosen
            ]
            yield DropSamples(step=output.stage, reason=reason, count=count, samples=samples)
        if output.stage == "documents":
            documents = {partition.name: partition for partition in output.partitions}


def _boilerplate(stages: Mapping[str, StageOutput]) -> Iterator[Boilerplate]:
    """Yield the paragraphs that were taken out of most documents, domain by domain.

    What is held grows with the number of domains; texts are held of the paragraphs that are shown.
    """
    trimmed = stages["trimmed"].files("repeated.parquet") if "trimmed" in stages else ()
    files = [source.address for source in trimmed]
    of_domains = Counter[str]()
    for row in _rows(files, ["domain", "documents"]):
        of_domains[row["domain"]] += row["documents"]
    counted = {domain: Counter[_Paragraph]() for domain, _ in by_size(of_domains)[:BOILERPLATE_DOMAINS]}
    for row in _rows(files, [*_PARAGRAPH, "documents"]):
        if (domain := row["domain"]) in counted:
            counted[domain][domain, row["edge"], row["hash"]] += row["documents"]
    shown = [item for found in counted.values() for item in by_size(found)[:BOILERPLATE_SAMPLES]]
    texts = _paragraphs(files, {key for key, _ in shown})
    for (domain, edge, number), documents in shown:
        excerpt = excerpt_of(texts[domain, edge, number])
        yield Boilerplate(domain=domain, edge=edge, excerpt=excerpt, documents=documents)


_Paragraph = tuple[str, str, int]
_PARAGRAPH = ("domain", "edge", "hash")  # by which one is known


def _paragraphs(files: Sequence[str], wanted: Collection[_Paragraph]) -> dict[_Paragraph, str]:
    """Return the texts of some paragraphs: of several spellings the first in order."""
    texts: dict[_Paragraph, str] = {}
    for row in _rows(files, [*_PARAGRAPH, "paragraph"]) if wanted else ():
        key = row["domain"], row["edge"], row["hash"]
        if key in wanted:
            texts[key] = min(row["paragraph"], texts.get(key, row["paragraph"]))
    return texts


def _rows(files: Sequence[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    return itertools.chain.from_iterable(read_rows(address, columns) for address in files)


_NO_TEXT = {"title": "", "excerpt": ""}


def _texts(partition: Partition | None, urls: Collection[str]) -> dict[str, dict[str, str]]:
    """Return title and beginning of some documents of a partition, by address."""
    source = partition.file("documents.parquet") if partition is not None else None
    if source is None:
        return {}
    return {
        row["url"]: {"title": row["title"], "excerpt": excerpt_of(row["text"])}
        for row in read_rows(source.address, ["url", "title", "text"])
        if row["url"] in urls
    }


def excerpt_of(text: str) -> str:
    """Return how a text begins, cut between words."""
    whole = " ".join(text[: 4 * EXCERPT_CHARACTERS].split())
    if len(whole) <= EXCERPT_CHARACTERS:
        return whole
    return f"{whole[:EXCERPT_CHARACTERS].rpartition(' ')[0] or whole[:EXCERPT_CHARACTERS]} …"
