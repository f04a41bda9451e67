"""The report: one self-contained HTML page with the funnel, the corpus's distributions, and samples.

It loads nothing and runs nothing: bars are boxes, their sizes are in the style. All text out of pages is
escaped by the template (`report.html.jinja`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.corpus.card import Provenance, command_line, render
from pipeline.corpus.figures import Boilerplate, DropSamples, Figures, Histogram
from pipeline.corpus.funnel import Step, by_size, source_unit


@dataclass(frozen=True)
class Bar:
    """One bar of a chart; `share` is its length, 0 to 100."""

    label: str
    count: int
    share: float


@dataclass(frozen=True)
class FunnelRow:
    """One step of the funnel: what stayed and what went, as shares of what the whole funnel began with."""

    name: str
    unit: str
    read: int
    kept: int
    kept_share: float
    dropped_share: float
    reasons: Sequence[Bar]
    sources: Sequence[Bar] = ()
    changed: Sequence[tuple[str, int]] = ()


def report_html(steps: Sequence[Step], figures: Figures, provenance: Provenance) -> str:
    """Return the page."""
    charts = {
        "Length in characters": _bars(figures.lengths),
        "Karma": _bars(figures.karma),
        "Year of the page": _bars(figures.dates),
        "Year of the first submission": _bars(figures.first_seen),
        "Copies of the same text, by size of the group": _bars(figures.clusters),
    }
    return render(
        "report.html.jinja",
        begins_with=source_unit(steps) if steps else "nothing",
        began=steps[0].counts.read if steps else 0,
        rows=_funnel_rows(steps),
        figures=figures,
        charts={title: bars for title, bars in charts.items() if bars},
        lists={
            "Domains": _bars(figures.domains),
            "Subreddits": _bars(figures.subreddits),
            "Sources": _bars(figures.sources) if len(figures.sources) > 1 or provenance.indexes else [],
        },
        likeness=figures.likeness,
        years=figures.links if provenance.indexes else (),
        dropped=_by_step(figures.dropped),
        boilerplate=_by_domain(figures.boilerplate),
        command=command_line(provenance),
    )


def _funnel_rows(steps: Sequence[Step]) -> list[FunnelRow]:
    whole = max((step.counts.read for step in steps), default=0) or 1
    rows = []
    for step in steps:
        read, kept = step.counts.read, step.counts.kept
        shares = 100 * kept / whole, 100 * (read - kept) / whole
        reasons = _bars(by_size(step.counts.dropped), full_length=whole)
        sources = _bars(by_size(step.sources), full_length=whole)
        changed = list(step.changed.items())
        rows.append(FunnelRow(step.name, step.unit, read, kept, *shares, reasons, sources, changed))
    return rows


def _bars(histogram: Histogram, full_length: int | None = None) -> list[Bar]:
    """Make bars of counts; the greatest has the full length, unless another count is given for it."""
    whole = full_length or max((count for _, count in histogram), default=0) or 1
    return [Bar(label, count, 100 * count / whole) for label, count in histogram]


def _by_step(dropped: Sequence[DropSamples]) -> list[tuple[str, list[DropSamples]]]:
    return [(step, list(group)) for step, group in groupby(dropped, key=lambda drop: drop.step)]


def _by_domain(boilerplate: Sequence[Boilerplate]) -> list[tuple[str, list[Boilerplate]]]:
    return [(domain, list(group)) for domain, group in groupby(boilerplate, key=lambda found: found.domain)]
