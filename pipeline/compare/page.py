"""The comparison as one self-contained HTML page, and in a few lines for a terminal.

The page loads nothing and runs nothing. All text out of corpora is escaped by the template
(`page.html.jinja`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.compare.comparison import Comparison
from pipeline.compare.survey import FIRST_YEAR, Totals
from pipeline.runner.templates import fill

UNKNOWN: Final = "unknown"
LANGUAGES: Final = 12
LONGEST_VALUE: Final = 120  # characters of an option's value


@dataclass(frozen=True)
class Pair:
    """One class of a chart: shares of the documents, 0 to 1, and lengths of the bars, 0 to 100."""

    label: str
    shares: Sequence[float]
    lengths: Sequence[float]


def comparison_html(found: Comparison) -> str:
    """Return the page."""
    totals = [one for one in found.totals if one is not None]
    names = [name for name in found.names if name is not None]
    return fill(
        Path(__file__).with_name("page.html.jinja"),
        names=names,
        found=found,
        totals=totals,
        overview=_overview(found, totals),
        charts=_charts(totals),
        domains=_domains(found),
        webtext=[(name, one) for name, one in zip(names, found.webtext, strict=False) if one is not None],
        options=[
            {"option": row["option"], "now": _shown(row["now"]), "before": _shown(row["before"])}
            for row in (found.changes.options if found.changes else ())
        ],
        percent=percent,
        correlation=correlation,
    )


def percent(share: float) -> str:
    """Return a share in per cent; a small one is never shown as nothing, and nearly all never as all."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def correlation(value: float | None) -> str:
    """Return a correlation, which may not be defined."""
    return "not defined" if value is None else f"{value:.2f}"


def _overview(found: Comparison, totals: Sequence[Totals]) -> list[tuple[str, list[str]]]:
    """Return the rows of the first table: what is counted, and its value for either corpus."""
    rows: list[tuple[str, list[str]]] = [
        ("documents", [f"{one.documents:,}" for one in totals]),
        ("words", [f"{one.words:,}" for one in totals]),
        ("characters", [f"{one.characters:,}" for one in totals]),
        ("words of a document, mean", [f"{one.words / one.documents:,.0f}" for one in totals]),
        ("domains", [f"{distinct:,}" for distinct in found.domains.distinct]),
    ]
    if found.has_tokens:
        rows.insert(2, ("tokens", [f"{one.tokens:,}" for one in totals]))
    if found.words is not None:
        rows.append(("distinct words", [f"{distinct:,}" for distinct in found.words.distinct]))
    if any(one.left_out for one in totals):
        rows.append(("rows left out", [_left_out(one) for one in totals]))
    return [(label, values[: len(totals)]) for label, values in rows]


def _left_out(totals: Totals) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(totals.left_out.items()))
    return reasons or "none"


def _charts(totals: Sequence[Totals]) -> list[tuple[str, list[Pair]]]:
    """Return the charts that have something to show."""
    charts = [
        ("Length in characters", _pairs(totals, [one.lengths for one in totals], _lengths)),
        ("Year of the page", _pairs(totals, [one.years for one in totals], _years)),
        ("Year of the first submission", _pairs(totals, [one.first_seen for one in totals], _years)),
        ("Language", _pairs(totals, [one.languages for one in totals], _languages)),
    ]
    return [(title, pairs) for title, pairs in charts if any(pair.label != UNKNOWN for pair in pairs)]


def _pairs(totals: Sequence[Totals], counts: Sequence[Mapping[str, int]], classes: Any) -> list[Pair]:
    shares = [
        (
            label,
            [
                sum(count[key] for key in keys if key in count) / one.documents
                for one, count in zip(totals, counts, strict=True)
            ],
        )
        for label, keys in classes({key for count in counts for key in count}, counts)
    ]
    longest = max((share for _, both in shares for share in both), default=0) or 1
    return [Pair(label, both, [100 * share / longest for share in both]) for label, both in shares]


Classes = list[tuple[str, list[str]]]


def _lengths(keys: set[str], _: object) -> Classes:
    """Return all classes of lengths from the least to the greatest."""
    exponents = [int(key) for key in keys]
    span = range(min(exponents), max(exponents) + 1) if exponents else range(0)
    return [(f"{2**n if n else 0:,} to {2 ** (n + 1) - 1:,}", [str(n)]) for n in span]


def _years(keys: set[str], _: object) -> Classes:
    """Return all years between the first and the last."""
    known = [int(key) for key in keys if key.isdigit()]
    early = f"before {FIRST_YEAR}"
    found: Classes = [(early, [early])] if early in keys else []
    found += [(str(year), [str(year)]) for year in range(min(known), max(known) + 1)] if known else []
    return [*found, (UNKNOWN, [""])] if "" in keys else found


def _languages(keys: set[str], counts: Sequence[Mapping[str, int]]) -> Classes:
    """Return the most frequent languages, and all others as one."""
    order = sorted(keys, key=lambda key: (-sum(count.get(key, 0) for count in counts), key))
    names = {"un": UNKNOWN}
    found: Classes = [(names.get(key, key), [key]) for key in order[:LANGUAGES]]
    return [*found, ("others", order[LANGUAGES:])] if order[LANGUAGES:] else found


def _domains(found: Comparison) -> list[dict[str, Any]]:
    """Return the largest domains with their shares and the lengths of their bars."""
    totals = [one.with_domain for one in found.totals if one is not None]
    unit = "tokens" if found.has_tokens else "words"
    rows = []
    for row in found.domains.largest:
        counts = [row["documents"], row["other_documents"]][: len(totals)]
        shares = [count / max(1, total) for count, total in zip(counts, totals, strict=True)]
        sizes = [row[unit], row[f"other_{unit}"]][: len(totals)]
        rows.append({"domain": row["domain"], "counts": counts, "shares": shares, "sizes": sizes})
    longest = max((share for row in rows for share in row["shares"]), default=0) or 1
    return [row | {"lengths": [100 * share / longest for share in row["shares"]]} for row in rows]


def _shown(value: Any) -> str:
    """Return an option's value for a cell."""
    if value is None:
        return "–"
    text = " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def comparison_text(found: Comparison) -> str:
    """Return the main figures for a terminal: a value and what it is, a line each."""
    lines = []
    for letter, name, totals in zip("AB", found.names, found.totals, strict=True):
        if totals is not None:
            lines.append((f"{totals.documents:,}", f"documents in {letter} ({name})"))
            lines += [("", f"  rows left out: {_left_out(totals)}")] if totals.left_out else []
    if found.contained is not None:
        lines += _across(found)
    for letter, likeness in zip("AB", found.webtext, strict=True):
        if likeness is not None:
            ranking = likeness.ranking
            lines.append(
                (percent(likeness.share), f"of {letter} are from WebText's 1,000 most frequent domains")
            )
            lines.append(
                (f"{ranking.shared:,}", f"of {letter}'s {ranking.top[0]:,} most frequent are among those")
            )
            lines.append((correlation(ranking.correlation), "rank correlation with WebText's"))
    if found.domains.distinct == (0, 0):
        lines.append(("no", "domains: no document has an address"))
    return "\n".join(f"{value:>13}  {text}" for value, text in [*lines, *_changes(found)])


def _across(found: Comparison) -> list[tuple[str, str]]:
    assert found.contained is not None and found.bands is not None and found.words is not None
    first, other = found.contained
    ranking = found.domains.ranking
    lines = [
        (
            percent(first.share),
            f"of A are in B ({first.matched:,}), at a similarity of {found.bands.similarity}",
        ),
        (percent(other.share), f"of B are in A ({other.matched:,})"),
        (f"{found.words.distance:.3f}", "Jensen-Shannon distance of words, base 2"),
    ]
    if min(ranking.top):
        lines.append((percent(ranking.overlap), f"overlap of the {min(ranking.top):,} most frequent domains"))
        lines.append((correlation(ranking.correlation), "rank correlation of domains (Spearman)"))
    return lines


def _changes(found: Comparison) -> list[tuple[str, str]]:
    if found.changes is None:
        return []
    documents = found.changes.documents
    lines = [
        ("option", f"{row['option']}: {_shown(row['before'])} before, {_shown(row['now'])} now")
        for row in found.changes.options
    ]
    lines.append((f"{documents.same:,}", "documents are the same"))
    lines.append((f"{documents.changed:,}", "have another text"))
    for title, rules in (("came; B had", documents.came), ("went; A has", documents.went)):
        lines.append(
            (f"{sum(rule.count for rule in rules):,}", f"{title}:" if rules else title.partition(";")[0])
        )
        lines += [
            (f"{rule.count:,}", f"  {f'{rule.stage}: ' if rule.stage else ''}{rule.reason}") for rule in rules
        ]
    return lines
