"""The results as a table, beside published ones, with how each was computed."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.runner.markdown import table
from trainer.evaluation.paper import PUBLISHED, REMARKS, SIZES

Record = Mapping[str, Any]

FIGURES = ("set", "figure", "this model", *SIZES)
MANNERS = ("set", "split", "detokenizer", "context", "stride", "tokens", "divided by")


def as_markdown(report: Record) -> str:
    """Return a whole evaluation as Markdown."""
    results = report["results"]
    parts = [
        f"# Zero-shot evaluation of {report['model']}",
        _aligned([FIGURES, *(row for task, record in results.items() for row in _figures(task, record))]),
        "The sizes are OpenAI's, with the figures of the GPT-2 paper's table 3 (HellaSwag: llm.c's).\n"
        "Accuracies are in percent; for everything else lower is better. Texts start after\n"
        "`<|endoftext|>`, each of their tokens is predicted once, and where line ends are listed below,\n"
        "they count as words.",
        _aligned([MANNERS, *(_manner(record) for record in results.values())]),
        *([remarks] if (remarks := _remarks(results)) else []),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(task: str, record: Record) -> list[tuple[str, ...]]:
    rows = []
    for unit, value in record["figures"].items():
        theirs = PUBLISHED.get((task, unit), (None,) * len(SIZES))
        rows.append((record["title"], unit, *(shown(unit, figure) for figure in (value, *theirs))))
    return rows


def _manner(record: Record) -> tuple[str, ...]:
    """Return what comparisons of results need to know."""
    counts = ", ".join(f"{count:,} {name}" for name, count in record["counts"].items() if name != "tokens")
    numbers = (record["context"], record["stride"], record["counts"]["tokens"])
    return (record["title"], record["split"], record["detokenizer"], *(f"{n:,}" for n in numbers), counts)


def _remarks(results: Record) -> str:
    lines = [
        f"- {record['title']}: {remark}"
        for task, record in results.items()
        for remark in (*record["notes"], *REMARKS.get(task, ()))
    ]
    return "\n".join(lines)


def shown(unit: str, value: float | None) -> str:
    """Return a result with a sensible number of digits."""
    if value is None:
        return ""
    if value >= 1e6:
        return f"{value:.2e}"
    return f"{value:,.3f}" if unit.startswith(("bits", "loss")) else f"{value:,.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns that hold only numbers are aligned to the right."""
    head, *body = rows
    right = [all(not text.strip("0123456789,.e+") for text in column) for column in zip(*body, strict=True)]
    return "\n".join(table(head, body, right=right or [False] * len(head)))
