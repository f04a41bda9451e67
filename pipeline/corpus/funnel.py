"""The funnel: what each step read, kept and dropped, in the terminal and as JSON.

It sums exactly: each step keeps what it reads less what it drops, and the next step reads what it kept.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pipeline.runner import storage
from pipeline.runner.json_file import read_as
from pipeline.runner.stages import Counts

Key = TypeVar("Key", str, tuple[str, str, int])
FUNNEL: Final = "funnel.json"  # of a corpus folder


@dataclass(frozen=True)
class Step:
    """One row of the funnel: what went in, what came out, and why the rest did not."""

    name: str
    unit: str  # what came out, in words
    counts: Counts
    sources: Mapping[str, int] = field(default_factory=dict)  # where what came out is from, if from several
    changed: Mapping[str, int] = field(default_factory=dict)  # what was done to what came out, in words


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
            "dropped": dict(by_size(step.counts.dropped)),
        }
        | ({"sources": dict(by_size(step.sources))} if step.sources else {})
        | ({"changed": dict(step.changed)} if step.changed else {})
        for step in steps
    ]


def read_funnel(corpus: str) -> dict[str, Any]:
    """Return what `funnel.json` of a corpus folder says; nothing where there is none or it is damaged."""
    try:
        return read_as(dict[str, Any], storage.join(corpus, FUNNEL))
    except (OSError, ValueError):
        return {}


@dataclass(frozen=True, kw_only=True)
class _NamedStep:
    step: str


@dataclass(frozen=True, kw_only=True)
class _Steps:
    steps: Sequence[_NamedStep] = ()


def read_step_names(corpus: str) -> list[str]:
    """Return the names of the steps in `funnel.json` of a corpus folder, in their order.

    Raises:
        ValueError: the file is damaged.
    """
    return [step.step for step in read_as(_Steps, storage.join(corpus, FUNNEL)).steps]


def steps_of(funnel: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Turn what `funnel_json` returned back into steps."""
    return [
        Step(
            step["step"],
            step["unit"],
            Counts(step["read"], step["kept"], step["dropped"]),
            step.get("sources", {}),
            step.get("changed", {}),
        )
        for step in funnel
    ]


def funnel_text(steps: Sequence[Step]) -> str:
    """Return the funnel as lines for a terminal: each step's survivors, then its drops by reason."""
    lines = []
    if steps:
        lines.append(f"{steps[0].counts.read:>13,}  {source_unit(steps)}")
    for step in steps:
        lines += [f"{-count:>13,}    {reason}" for reason, count in by_size(step.counts.dropped)]
        lines.append(f"{step.counts.kept:>13,}  {step.unit}")
        lines += [f"{count:>13,}      from {source}" for source, count in by_size(step.sources)]
        lines += [f"{count:>13,}      {what}" for what, count in step.changed.items()]
    return "\n".join(lines)


def source_unit(steps: Sequence[Step]) -> str:
    """What the funnel begins with."""
    return "submissions" if steps[0].name == "submissions" else "pages in the archives"


def by_size(counts: Mapping[Key, int]) -> list[tuple[Key, int]]:
    """Return what was counted, such as reasons, the most frequent first; equals in their own order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
