"""Two corpora's domains, out of tables of any size: how many are shared, and the rankings side by side."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.likeness import WebTextLikeness, likeness_of_labels, webtext_domains
from pipeline.corpus.rankings import TOP_DOMAINS, RankingLikeness, compare_rankings
from pipeline.web.urls import domain_label

BOTH: Final = pa.schema(
    [("domain", pa.large_binary())]
    + [(f"{side}{name}", pa.int64()) for side in ("", "other_") for name in ("documents", "words", "tokens")]
)
SHOWN: Final = 25  # domains with the most documents, on either side

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DomainLikeness:
    """The domains of two corpora."""

    distinct: tuple[int, int]
    shared: int
    """Domains that both have."""
    covered: tuple[float, float]
    """Share of each corpus's documents (those with a domain) from domains that the other one has, 0 to 1."""
    ranking: RankingLikeness
    """Of the domains with the most documents; shares are of all documents with a domain."""
    largest: list[Row]
    """Domains with the most documents on either side: `domain`, and for both sides `documents`, `words`,
    `tokens` (the other's begin with `other_`)."""


@dataclass
class _Top:
    """The rows with the highest counts in one column, of any number of rows."""

    column: str
    rows: list[Row] = field(default_factory=list)

    def add(self, table: pa.Table) -> None:
        """Take more rows; each name comes once."""
        order = [(self.column, "descending"), (table.schema.names[0], "ascending")]
        best = table.filter(pc.greater(table[self.column], 0)).sort_by(order).slice(0, TOP_DOMAINS)
        rows = [*self.rows, *best.to_pylist()]
        name = table.schema.names[0]
        self.rows = heapq.nsmallest(TOP_DOMAINS, rows, key=lambda row: (-row[self.column], row[name]))


def compare_domains(tables: Iterable[pa.Table]) -> DomainLikeness:
    """Compare two corpora by domain.

    Args:
        tables: of the schema `BOTH`, each domain once; documents without a domain have an empty one.
    """
    tops = [_Top("documents"), _Top("other_documents")]
    counted = dict.fromkeys(("distinct", "other_distinct", "shared"), 0)
    documents, covered = [0, 0], [0, 0]
    for table in _named(tables):
        there, there_too = (pc.greater(table[top.column], 0) for top in tops)
        both = pc.and_(there, there_too)
        for name, flags in zip(counted, (there, there_too, both), strict=True):
            counted[name] += pc.sum(flags).as_py() or 0
        for side, top in enumerate(tops):
            documents[side] += pc.sum(table[top.column]).as_py() or 0
            covered[side] += pc.sum(table.filter(both)[top.column]).as_py() or 0
            top.add(table)
    rows = {row["domain"]: row for top in tops for row in top.rows}
    counts, others = ({name.decode(): row[top.column] for name, row in rows.items()} for top in tops)
    largest = {row["domain"]: row for top in tops for row in top.rows[:SHOWN]}
    return DomainLikeness(
        distinct=(counted["distinct"], counted["other_distinct"]),
        shared=counted["shared"],
        covered=(covered[0] / max(1, documents[0]), covered[1] / max(1, documents[1])),
        ranking=compare_rankings(counts, others, documents[0], documents[1]),
        largest=[
            row | {"domain": row["domain"].decode()}
            for row in sorted(largest.values(), key=lambda row: (-_documents(row), row["domain"]))
        ],
    )


def _documents(row: Mapping[str, int]) -> int:
    return row["documents"] + row["other_documents"]


def _named(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Leave out the row of the documents without a domain."""
    for table in tables:
        yield table.filter(pc.greater(pc.binary_length(table["domain"]), 0))


def by_label(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Name domains without their public suffix, as WebText's list does; a label may come more than once."""
    for table in _named(tables):
        labels = [domain_label(name.decode()).encode() for name in table["domain"].to_pylist()]
        yield table.set_column(0, "domain", pa.array(labels, pa.large_binary()))


def likeness_by_labels(tables: Iterable[pa.Table]) -> tuple[WebTextLikeness | None, WebTextLikeness | None]:
    """Compare both corpora with WebText.

    Args:
        tables: of the schema `BOTH`, each label once.
    """
    tops = [_Top("documents"), _Top("other_documents")]
    listed = pa.array([name.encode() for name in webtext_domains()], pa.large_binary())
    kept: list[dict[bytes, int]] = [{}, {}]
    totals = [0, 0]
    for table in tables:
        known = table.filter(pc.is_in(table["domain"], listed)).to_pylist()
        for side, top in enumerate(tops):
            totals[side] += pc.sum(table[top.column]).as_py() or 0
            kept[side] |= {row["domain"]: row[top.column] for row in known}
            top.add(table)
    first, other = (
        likeness_of_labels(
            {name.decode(): n for name, n in (kept[side] | _counts(top)).items()}, totals[side]
        )
        for side, top in enumerate(tops)
    )
    return first, other


def _counts(top: _Top) -> dict[bytes, int]:
    return {row["domain"]: row[top.column] for row in top.rows}
