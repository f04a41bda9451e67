"""What a run has to tell: the funnel in the terminal and as JSON, the dataset card, the charts.

The funnel sums exactly: each step keeps what it reads less what it drops, and the next step reads what
it kept.
"""

import html
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.stages import Counts

STATISTICS = pa.schema([("domain", pa.string()), ("karma", pa.int32()), ("characters", pa.int64())])
"""What `statistics` needs to know of each document."""


@dataclass(frozen=True)
class Step:
    """One row of the funnel: what went in, what came out, and why the rest did not."""

    name: str
    unit: str  # what came out, in words
    counts: Counts


@dataclass(frozen=True)
class Statistics:
    """What the corpus holds, in numbers."""

    documents: Mapping[str, int]  # by split
    characters: Mapping[str, int]  # by split
    domains: Sequence[tuple[str, int]]  # those with the most documents
    lengths: Sequence[tuple[str, int]]  # documents by length in characters, as "1,024-2,047"
    karma: Sequence[tuple[str, int]]  # documents by karma


def check_funnel(steps: Sequence[Step]) -> None:
    """Make sure that nothing vanished between one step and the next."""
    for before, after in itertools.pairwise(steps):
        assert before.counts.kept == after.counts.read, f"{before.name} kept {before.counts}, then {after}"


def funnel_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the funnel as plain data."""
    return [
        {
            "step": step.name,
            "unit": step.unit,
            "read": step.counts.read,
            "kept": step.counts.kept,
            "dropped": dict(_by_size(step.counts.dropped)),
        }
        for step in steps
    ]


def read_funnel(corpus: str) -> dict[str, Any]:
    """Return what `funnel.json` of a corpus folder says; nothing where there is none or it is damaged."""
    try:
        told = json.loads(storage.read_text(storage.join(corpus, "funnel.json")))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def steps_of(funnel: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Turn what `funnel_json` returned back into steps."""
    return [
        Step(step["step"], step["unit"], Counts(step["read"], step["kept"], step["dropped"]))
        for step in funnel
    ]


def funnel_text(steps: Sequence[Step]) -> str:
    """Return the funnel as lines for a terminal: each step's survivors, then its drops by reason."""
    lines = []
    if steps:
        lines.append(f"{steps[0].counts.read:>13,}  {_source(steps)}")
    for step in steps:
        lines += [f"{-count:>13,}    {reason}" for reason, count in _by_size(step.counts.dropped)]
        lines.append(f"{step.counts.kept:>13,}  {step.unit}")
    return "\n".join(lines)


def _source(steps: Sequence[Step]) -> str:
    """What the funnel begins with."""
    return "submissions" if steps[0].name == "submissions" else "pages in the archives"


def _by_size(dropped: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons with their counts, the most frequent first."""
    return sorted(dropped.items(), key=lambda item: (-item[1], item[0]))


def statistics(splits: Mapping[str, pa.Table]) -> Statistics:
    """Summarise the documents of each split; the tables have the schema `STATISTICS`."""
    whole = pa.concat_tables(splits.values())
    domains = pc.value_counts(whole["domain"]).to_pylist()
    domains = sorted(((d["values"], d["counts"]) for d in domains), key=lambda item: (-item[1], item[0]))
    return Statistics(
        documents={split: len(table) for split, table in splits.items()},
        characters={split: pc.sum(table["characters"]).as_py() or 0 for split, table in splits.items()},
        domains=domains[:20],
        lengths=_by_powers_of_two(whole["characters"]),
        karma=_by_powers_of_two(whole["karma"]),
    )


def _by_powers_of_two(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Count values between one power of two and the next, the empty classes in between too."""
    counts: dict[int, int] = {}
    for pair in pc.value_counts(values).to_pylist():
        power = max(0, int(math.log2(max(1, pair["values"] or 0))))
        counts[power] = counts.get(power, 0) + pair["counts"]
    powers = range(min(counts), max(counts) + 1) if counts else range(0)
    return [(f"{2**p:,} to {2 ** (p + 1) - 1:,}", counts.get(p, 0)) for p in powers]


def dataset_card(steps: Sequence[Step], numbers: Statistics, languages: Sequence[str], command: str) -> str:
    """Return a Hugging Face dataset card: README.md of the corpus folder."""
    total = sum(numbers.documents.values())
    splits = "\n".join(
        f"| {split} | {numbers.documents[split]:,} | {numbers.characters[split]:,} |"
        for split in numbers.documents
    )
    rows = "\n".join(
        f"| {step.name} | {step.counts.read:,} | {step.counts.kept:,} | "
        + (", ".join(f"{reason} {count:,}" for reason, count in _by_size(step.counts.dropped)) or "none")
        + " |"
        for step in steps
    )
    return f"""---
language:
{"".join(f"- {language}" + chr(10) for language in languages or ["multilingual"])}task_categories:
- text-generation
size_categories:
- {_size_category(total)}
tags:
- webtext
configs:
- config_name: default
  data_files:
  - split: train
    path: train/*.parquet
  - split: validation
    path: validation/*.parquet
---

# A WebText-style corpus

Text of web pages that were linked from Reddit and liked there, after the recipe of GPT-2's WebText:
outbound links with enough karma, text only, no Wikipedia, no duplicates. Made with Outbound:

    {command}

| split | documents | characters |
|---|---:|---:|
{splits}

## How it came about

| step | in | out | dropped |
|---|---:|---:|---|
{rows}

Each step keeps what it reads less what it drops. `funnel.json` has the same numbers for machines,
`report.html` has charts, and `drops/` names every dropped address with its step and reason.

## Columns

`id` (first 128 bits of the SHA-256 of the text), `text`, `url`, `domain`, `title`, `date` (as the page
says, may be empty), `language`, `language_score` (its share of the text), `karma` (highest score of any
submission of the link), `subreddit`, `first_seen` (on Reddit, UTC), `characters`.

## Before you pass it on

The texts belong to their authors: that they are on the web does not license their republication, and
the dumps of Reddit come with terms of their own. What can usually be shared is the list of addresses
and the code that made the corpus from them; whoever has both can build the corpus again. The texts were
written by people about people: expect personal data, bias and offence in them, as in WebText.
"""


def _size_category(documents: int) -> str:
    """Return the hub's name for a data set's size."""
    classes = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    classes += [(10**7, "1M<n<10M"), (10**8, "10M<n<100M")]
    return next((name for limit, name in classes if documents < limit), "100M<n<1B")


_STYLE = """
:root { color-scheme: light dark; --bar: #3572b0; --drop: #c9713a; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; }
td { padding: .15rem .6rem .15rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.n { text-align: right; font-variant-numeric: tabular-nums; width: 7rem; }
td.l { width: 19rem; overflow-wrap: anywhere; }
tr.kept td { font-weight: 600; } tr.drop td.l { padding-left: 1.4rem; }
.bar { height: .8rem; background: var(--bar); border-radius: 2px; min-width: 1px; }
tr.drop .bar { background: var(--drop); }
code { font-size: .85em; overflow-wrap: anywhere; }
"""


def report_html(steps: Sequence[Step], numbers: Statistics, command: str) -> str:
    """Return one self-contained page with the funnel and the corpus's distributions as bars."""
    rows: list[tuple[str, str, int]] = []
    if steps:
        rows.append(("kept", _source(steps), steps[0].counts.read))
    for step in steps:
        rows += [("drop", reason, count) for reason, count in _by_size(step.counts.dropped)]
        rows.append(("kept", step.unit, step.counts.kept))
    splits = ", ".join(
        f"{numbers.documents[split]:,} documents ({numbers.characters[split]:,} characters) for {split}"
        for split in numbers.documents
    )
    charts = "".join(
        f"<h2>{title}</h2>{_bars([('', label, count) for label, count in values])}"
        for title, values in (
            ("Documents by length in characters", numbers.lengths),
            ("Documents by karma", numbers.karma),
            ("Domains with the most documents", numbers.domains),
        )
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Corpus report</title><style>{_STYLE}</style></head><body>
<h1>Corpus report</h1>
<p>{splits}.</p>
<p><code>{html.escape(command)}</code></p>
<h2>Funnel</h2>{_bars(rows)}{charts}
</body></html>
"""


def _bars(rows: Sequence[tuple[str, str, int]]) -> str:
    """Return a table of labelled bars from (class, label, count), the greatest count at full width."""
    greatest = max((count for _, _, count in rows), default=0) or 1
    lines = (
        f'<tr class="{kind}"><td class="l">{html.escape(label)}</td><td class="n">{count:,}</td>'
        f'<td><div class="bar" style="width:{100 * count / greatest:.2f}%"></div></td></tr>'
        for kind, label, count in rows
    )
    return f"<table>{''.join(lines)}</table>"
