"""Which documents came and went between two builds, and by which rule.

A document is known by its address without the scheme, as links are. One that is in one build only was dropped
by a rule of the other (its row in `drops/`), or is not among the other's links at all. Of several rows for
one address the one of the last step counts: it is the step that the address reached.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import xxhash

from pipeline.corpus.card import DECIDING_NOTHING
from pipeline.runner.records import Drop
from pipeline.web.urls import parse

SAMPLES: Final = 4  # of each rule
NO_LINK: Final = "not among the links"
UNKNOWN: Final = "no reason recorded"
OF_OTHERS: Final = frozenset({"duplicate link", "duplicate submission"})
"""Reasons that say of a further submission that it is one: the link itself goes on."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Documents that one build has and the other has not, by what kept them from the other."""

    stage: str
    """The step that dropped them; empty where none did."""
    reason: str
    count: int
    samples: list[dict[str, Any]]
    """`url`, `title`, `detail` of the drop, and `moved`: where the other build has the text."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What became of the documents of two builds; the counts add up to either."""

    same: int
    """Documents with the same address and text."""
    changed: int
    """With the same address and another text."""
    changed_samples: list[dict[str, Any]]
    """`url`, `title`, and the `characters` of now and before."""
    came: list[Rule]
    """Documents of the newer build that the earlier one has not."""
    went: list[Rule]
    """Documents of the earlier build that the newer one has not."""
    moved: int
    """Documents that came whose text the earlier build has under another address."""
    moved_away: int
    """Documents that went whose text the newer build has under another address."""


def key_of(url: str, is_raw: bool = False) -> str:
    """Return what an address is known by: all but its scheme.

    Args:
        url: the address.
        is_raw: whether it may be as it was submitted, and not in canonical form.
    """
    address = parse(url) if is_raw else None
    return url.partition("://")[2] if address is None or isinstance(address, Drop) else address.key


def order_of(stages: Iterable[str], steps: Sequence[str]) -> dict[str, int]:
    """Return for each stage that dropped something the place of its step; those of sources are of `pages`."""
    pages = steps.index("pages") if "pages" in steps else -1

    def place(stage: str) -> int:
        fitting = [n for n, step in enumerate(steps) if stage == step or stage.startswith(f"{step}_")]
        return max(fitting, default=pages)

    return {stage: place(stage) for stage in stages}


@dataclass
class Fate:
    """What is known in one build of an address that is no document of it."""

    order: int = -1
    stage: str = ""
    reason: str = ""
    detail: str = ""
    has_link: bool = False

    def add_drop(self, order: int, stage: str, reason: str, detail: str) -> None:
        """Take note of a drop; of two in one step the one of the smaller reason counts."""
        if reason not in OF_OTHERS and (-order, stage, reason, detail) < self._rank:
            self.order, self.stage, self.reason, self.detail = order, stage, reason, detail

    @property
    def _rank(self) -> tuple[int, str, str, str]:
        return (-self.order, self.stage, self.reason, self.detail) if self.reason else (2, "", "", "")

    def rule(self, knows_links: bool) -> tuple[str, str]:
        """Return stage and reason."""
        if self.reason:
            return self.stage, self.reason
        return "", NO_LINK if knows_links and not self.has_link else UNKNOWN


@dataclass
class Tally:
    """What is counted of one bucket of addresses, or of all."""

    same: int = 0
    changed: int = 0
    moved: list[int] = field(default_factory=lambda: [0, 0])
    rules: list[Counter[tuple[str, str]]] = field(default_factory=lambda: [Counter(), Counter()])
    samples: list[dict[tuple[str, str], list[dict[str, Any]]]] = field(default_factory=lambda: [{}, {}])
    changed_samples: list[dict[str, Any]] = field(default_factory=list)

    def add_document(self, side: int, document: Row, rule: tuple[str, str], detail: str, moved: str) -> None:
        """Count a document that one build has only."""
        self.rules[side][rule] += 1
        self.moved[side] += bool(moved)
        sample = {"url": document["url"], "title": document["title"], "detail": detail, "moved": moved}
        self.samples[side][rule] = _first([*self.samples[side].get(rule, []), sample])

    def add_common(self, ours: Row, theirs: Row) -> None:
        """Count an address that is a document of both builds."""
        if ours["id"] == theirs["id"]:
            self.same += 1
            return
        self.changed += 1
        characters = [ours["characters"], theirs["characters"]]
        sample = {"url": ours["url"], "title": ours["title"], "characters": characters}
        self.changed_samples = _first([*self.changed_samples, sample])

    def to_json(self) -> dict[str, Any]:
        """Return what was counted as plain data."""
        sides = [
            [
                {"stage": rule[0], "reason": rule[1], "count": count, "samples": self.samples[side][rule]}
                for rule, count in sorted(self.rules[side].items())
            ]
            for side in (0, 1)
        ]
        return {
            "same": self.same,
            "changed": self.changed,
            "moved": self.moved,
            "changed_samples": self.changed_samples,
            "sides": sides,
        }


def add_up(parts: Sequence[Mapping[str, Any]]) -> Changes:
    """Put together what was counted of all buckets."""
    sides = [_rules([rule for part in parts for rule in part["sides"][side]]) for side in (0, 1)]
    moved = [sum(part["moved"][side] for part in parts) for side in (0, 1)]
    return Changes(
        same=sum(part["same"] for part in parts),
        changed=sum(part["changed"] for part in parts),
        changed_samples=_first([sample for part in parts for sample in part["changed_samples"]]),
        came=sides[0],
        went=sides[1],
        moved=moved[0],
        moved_away=moved[1],
    )


def _rules(rows: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Add up the rows of one rule, and put the most frequent first."""
    counts, samples = Counter[tuple[str, str]](), dict[tuple[str, str], list[dict[str, Any]]]()
    for row in rows:
        rule = row["stage"], row["reason"]
        counts[rule] += row["count"]
        samples[rule] = _first([*samples.get(rule, []), *row["samples"]])
    order = sorted(counts, key=lambda rule: (-counts[rule], rule))
    return [Rule(stage=rule[0], reason=rule[1], count=counts[rule], samples=samples[rule]) for rule in order]


def _first(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a few, chosen by a hash of their addresses."""
    return heapq.nsmallest(SAMPLES, samples, key=lambda sample: _lot(sample["url"]))


def _lot(url: str) -> tuple[int, str]:
    return xxhash.xxh3_64_intdigest(url.encode()), url


def changed_options(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options in which two builds differ: `option`, and its value `now` and `before`.

    One that only one of them has, since another version wrote it, has None on the other side. Those that
    decide nothing (where the output lies, how many workers) are left out.
    """
    now, before = (dict(_flat(options)) for options in (ours, theirs))
    return [
        {"option": name, "now": now.get(name), "before": before.get(name)}
        for name in sorted(now.keys() | before.keys())
        if now.get(name) != before.get(name) and name.rpartition(".")[2] not in DECIDING_NOTHING
    ]


def _flat(options: Mapping[str, Any], within: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value
