"""The overlap study as people and machines read it, with the GPT-2 paper's figures beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PAPER = {
    "PTB": (0.88, 2.67),
    "WikiText-2": (1.63, 0.66),
    "enwik8": (6.31, 7.50),
    "text8": (3.94, 2.34),
    "WikiText-103": (2.42, 9.09),
    "1BW": (3.75, 13.19),
}
"""Percent of a test set's 8-grams in WebText's training set and in its own (Radford et al. 2019, table 6)."""


@dataclass(frozen=True, kw_only=True)
class SetOverlap:
    """What was found of one evaluation set."""

    name: str
    address: str
    texts: int
    grams: int  # each counted as often as it stands in the set
    found: int  # of these
    distinct: int
    distinct_found: int
    documents: Sequence[Mapping[str, Any]]  # of the corpus, that hold the most of it

    @property
    def share(self) -> float:
        """Of all 8-grams."""
        return self.found / self.grams

    @property
    def distinct_share(self) -> float:
        """Of the distinct 8-grams."""
        return self.distinct_found / self.distinct


@dataclass(frozen=True, kw_only=True)
class Study:
    """What was looked for, in what, how, and what came of it."""

    searched: str  # corpus or files
    grams: int  # 8-grams that were looked at there
    bloom: Mapping[str, Any]  # what `make_filter` notes
    sets: Sequence[SetOverlap]

    @property
    def chance_of_collision(self) -> float:
        """The chance that an 8-gram is counted that does not occur: one of so many shares its 64-bit hash."""
        return self.grams / 2**64


def to_json(study: Study) -> dict[str, Any]:
    """Return the study as plain data."""
    return {
        "searched": study.searched,
        "grams": study.grams,
        "chance_of_collision": study.chance_of_collision,
        "filter": dict(study.bloom),
        "sets": [
            asdict(one) | {"share": one.share, "distinct_share": one.distinct_share} for one in study.sets
        ],
        "paper_percent": {
            name: {"webtext": webtext, "own_training_set": own} for name, (webtext, own) in PAPER.items()
        },
    }


def to_markdown(study: Study) -> str:
    """Return the study as a page."""
    return "\n".join([*_head(study), *_paper(), *_proof(study), *_documents(study)])


def _head(study: Study) -> Iterator[str]:
    yield f"# Overlap with {study.searched}"
    yield ""
    yield "Which share of each evaluation set's 8-grams occurs there. Words are runs of letters and digits,"
    yield "lower-cased; an 8-gram does not go from one text into the next. The first share counts an 8-gram"
    yield "as often as it stands in the set, the second once."
    yield ""
    yield "| evaluation set | texts | 8-grams | found | share | distinct | found | share |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for one in study.sets:
        every = f"{one.grams:,} | {one.found:,} | {one.share:.2%}"
        once = f"{one.distinct:,} | {one.distinct_found:,} | {one.distinct_share:.2%}"
        yield f"| {_cell(one.name)} | {one.texts:,} | {every} | {once} |"
    yield ""


def _paper() -> Iterator[str]:
    yield "The GPT-2 paper (Radford et al. 2019, table 6) does not say which of the two it gives:"
    yield ""
    yield f"| of its test 8-grams | {' | '.join(PAPER)} |"
    yield f"|---|{'---:|' * len(PAPER)}"
    for row, title in enumerate(("in WebText's training set", "in its own training set")):
        yield f"| {title} | {' | '.join(f'{shares[row]:.2f}%' for shares in PAPER.values())} |"
    yield ""


def _proof(study: Study) -> Iterator[str]:
    bloom, size = study.bloom, f"{study.bloom['bytes'] / 1e6:,.2f} MB"
    yield f"**False positives.** {bloom['distinct']:,} distinct 8-grams are in a Bloom filter of {size}."
    yield f"By the bits that are set it lets others pass at a rate of {bloom['false_positive_rate']:.1e}; the"
    yield f"paper's bound is 1e-8. Of {bloom['random_strings']:,} random strings of eight words it let"
    yield f"{bloom['random_strings_found']:,} pass. {study.grams:,} 8-grams were looked at, and those that"
    yield "passed were looked up among the sets' 64-bit hashes: one that does not occur is counted with a"
    yield f"chance of {study.chance_of_collision:.1e}."
    yield ""


def _documents(study: Study) -> Iterator[str]:
    for one in study.sets:
        if one.documents:
            yield f"## Documents with the most of {one.name}"
            yield ""
            yield "| document | 8-grams of the set | share of its own | words in a row |"
            yield "|---|---:|---:|---:|"
            for document in one.documents:
                counts = f"{document['grams']:,} | {document['share']:.1%} | {document['words_in_a_row']:,}"
                yield f"| {_cell(document['url'])} | {counts} |"
            yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
