"""Runs the stages of a comparison, and puts together what they found."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from pipeline.compare import change_stages, changes, stages, words
from pipeline.compare.changes import Changes
from pipeline.compare.domains import DomainLikeness
from pipeline.compare.sides import SIDES, Side
from pipeline.compare.signatures import KEYS, SKETCHES, bands_file
from pipeline.compare.survey import SurveyOptions, Totals
from pipeline.compare.words import WordLikeness
from pipeline.corpus.likeness import WebTextLikeness
from pipeline.dedup.bands import Bands
from pipeline.dedup.stages import band_tasks
from pipeline.runner import storage
from pipeline.runner.executor import run_stage
from pipeline.runner.inputs import Inputs, flat, gathered, joined
from pipeline.runner.json_text import parse_as
from pipeline.runner.stages import InputFile, Partition, Stage, StageOutput, Work

BYTES_A_WORD_BUCKET: Final = 2**30  # of files

Content = TypeVar("Content")


@dataclass(frozen=True, kw_only=True)
class Containment:
    """How much of one corpus the other one has."""

    documents: int
    words: int
    matched: int
    """Documents that have a near-duplicate in the other corpus."""
    matched_words: int
    exact: int
    """Of the matched ones, those with the very same words."""

    @property
    def share(self) -> float:
        """Share of the documents that the other corpus has, 0 to 1."""
        return self.matched / max(1, self.documents)

    @property
    def word_share(self) -> float:
        """Share of the words, 0 to 1, that are in documents that the other corpus has."""
        return self.matched_words / max(1, self.words)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A document to look at."""

    url: str
    title: str
    characters: int
    excerpt: str
    similarity: float | None = None
    """Estimated Jaccard similarity to its near-duplicate in the other corpus, if it has one."""
    partner: str = ""
    """Address of that one."""


@dataclass(frozen=True, kw_only=True)
class BuildChanges:
    """What changed between two builds."""

    documents: Changes
    options: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One corpus beside another, or beside WebText's domains alone."""

    names: tuple[str, str | None]
    totals: tuple[Totals, Totals | None]
    has_tokens: bool
    webtext: tuple[WebTextLikeness | None, WebTextLikeness | None]
    domains: DomainLikeness
    words: WordLikeness | None = None
    bands: Bands | None = None
    """How near-duplicates were found."""
    contained: tuple[Containment, Containment] | None = None
    samples: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    """`only_a`, `only_b`, and `both`: documents of the first corpus with their near-duplicates."""
    changes: BuildChanges | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it all as plain data, derived figures too."""
        return {
            "corpora": [
                {"name": name, **totals.to_json()}
                for name, totals in zip(self.names, self.totals, strict=True)
                if totals is not None
            ],
            "webtext_domains": [_plain(one, "share") for one in self.webtext],
            "domains": _plain(self.domains),
            "words": _plain(self.words, "distance"),
            "near_duplicates": None
            if self.bands is None or self.contained is None
            else {
                **{"similarity": self.bands.similarity, "bands": self.bands.notes()},
                "sides": [_plain(side, "share", "word_share") for side in self.contained],
            },
            "samples": {
                kind: [dataclasses.asdict(one) for one in shown] for kind, shown in self.samples.items()
            },
            "changes": _plain(self.changes),
        }


def _plain(value: Any, *derived: str) -> Any:
    """Return a dataclass as plain data, with properties of its own and the overlap of its ranking."""
    if value is None:
        return None
    content = dataclasses.asdict(value) | {name: getattr(value, name) for name in derived}
    if hasattr(value, "ranking"):
        content["ranking"]["overlap"] = value.ranking.overlap
    return content


class Comparer:
    """Runs the stages one after the other.

    Args:
        sides: one corpus, or two.
        survey: how their documents are read.
        output: folder of the results, which stages keep their files in.
        vocabulary: address of the `tokenizer.json` that tokens are counted with.
        workers: tasks at once.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        survey: SurveyOptions,
        output: str,
        *,
        vocabulary: str = "",
        workers: int | None = None,
    ) -> None:
        self._sides, self._workers = sides, workers
        self._root = storage.join(output, ".stages")
        self._inputs: dict[str, Sequence[InputFile]] = {
            f"{letter}-{name}": files
            for letter, side in zip(SIDES, sides, strict=False)
            for name, files in side.files.items()
        }
        self._first = len(sides[0].files)
        # A power of two, so that another corpus beside it seldom changes what is written of this one.
        buckets = 1 << (sum(side.size_bytes for side in sides) // BYTES_A_WORD_BUCKET).bit_length()
        self._vocabulary = [InputFile.of(vocabulary)] if vocabulary else []
        self._options = dataclasses.replace(
            survey, word_buckets=buckets, has_vocabulary=bool(vocabulary), has_signatures=len(sides) > 1
        )

    def compare(self) -> Comparison:
        """Run all stages.

        Raises:
            ValueError: a corpus has no documents, or a file is damaged.
        """
        inputs = {name: [*self._vocabulary, *files] for name, files in self._inputs.items()}
        surveyed = self._run("survey", stages.survey_documents, inputs, self._options)
        totals = self._totals(surveyed)
        sides = stages.SidesOptions(first=self._first, totals=(totals[0].words, totals[-1].words))
        found = self._run(
            "domains", stages.compare_domains, {"all": surveyed.files(stages.DOMAINS_FILE)}, sides
        )
        content = _result(found.partitions[0])
        comparison = Comparison(
            names=(self._sides[0].name, self._sides[1].name if len(totals) > 1 else None),
            totals=(totals[0], totals[1] if len(totals) > 1 else None),
            has_tokens=bool(self._vocabulary),
            domains=parse_as(DomainLikeness, content["domains"]),
            webtext=parse_as(tuple[WebTextLikeness | None, WebTextLikeness | None], content["webtext"]),
        )
        if len(totals) == 1:
            return comparison
        contained, samples = self._near_duplicates(surveyed)
        return dataclasses.replace(
            comparison,
            words=self._words(surveyed, sides),
            bands=Bands.of(self._options.duplicates),
            contained=contained,
            samples=samples,
            changes=self._changes(totals),
        )

    def _totals(self, surveyed: StageOutput) -> list[Totals]:
        """Add up what was counted of each corpus."""
        totals = [Totals() for _ in self._sides]
        for number, partition in enumerate(surveyed.partitions):
            totals[number >= self._first].add(partition.notes)
        for side, found in zip(self._sides, totals, strict=True):
            if not found.documents:
                reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(found.left_out.items()))
                raise ValueError(f"no documents in {side.corpus}: {reasons or 'its files have no rows'}")
        return totals

    def _words(self, surveyed: StageOutput, sides: stages.SidesOptions) -> WordLikeness:
        buckets = gathered([surveyed], self._options.word_buckets, stages.words_file)
        compared = self._run("words", stages.compare_words, buckets, sides)
        return words.add_up([_result(partition) for partition in compared.partitions], sides.totals)

    def _near_duplicates(
        self, surveyed: StageOutput
    ) -> tuple[tuple[Containment, Containment], dict[str, list[Shown]]]:
        """Match the documents of both corpora, and fetch some to look at."""
        duplicates = self._options.duplicates
        matching = {
            f"{task:05d}": flat(surveyed, KEYS, SKETCHES, bands_file(task)) for task in band_tasks(duplicates)
        }
        options = stages.MatchOptions(duplicates=duplicates, first=self._first)
        matched = self._run("matches", stages.match_documents, matching, options)
        found = matched.files(stages.MATCHES)
        judging = stages.JudgeOptions(duplicates=duplicates, matches=len(found), first=self._first)
        judged = self._run(
            "judged", stages.judge_documents, {"all": [*found, *surveyed.files(KEYS)]}, judging
        )
        sides = _result(judged.partitions[0])["sides"]
        names = [field.name for field in dataclasses.fields(Containment)]
        first, other = (parse_as(Containment, {name: side[name] for name in names}) for side in sides)
        return (first, other), self._samples(surveyed, sides)

    def _samples(self, surveyed: StageOutput, sides: Sequence[Mapping[str, Any]]) -> dict[str, list[Shown]]:
        places = [place for side in sides for place in side["only"]]
        both = sides[0]["both"]
        wanted: dict[str, set[int]] = {}
        names = [partition.name for partition in surveyed.partitions]
        for place in [*places, *both, *(pair["partner"] for pair in both)]:
            wanted.setdefault(names[place["partition"]], set()).add(place["row"])
        options = stages.SampleOptions(
            reading=self._options.reading,
            columns=self._options.columns,
            rows={name: sorted(rows) for name, rows in sorted(wanted.items())},
        )
        inputs = {name: self._inputs[name] for name in names if name in wanted}
        shown = self._run("samples", stages.show_documents, inputs, options)
        known = {partition.name: partition.notes["shown"] for partition in shown.partitions}

        def document(place: Mapping[str, Any], **more: Any) -> Shown:
            return Shown(**known[names[place["partition"]]][str(place["row"])], **more)

        return {
            "only_a": [document(place) for place in sides[0]["only"]],
            "only_b": [document(place) for place in sides[1]["only"]],
            "both": [
                document(pair, similarity=pair["similarity"], partner=document(pair["partner"]).url)
                for pair in both
            ],
        }

    def _changes(self, totals: Sequence[Totals]) -> BuildChanges | None:
        """Say what changed, if both corpora are from builds of ours."""
        newer, earlier = (side.build for side in self._sides)
        if newer is None or earlier is None:
            return None
        buckets = 1 + sum(side.documents for side in totals) // change_stages.DOCUMENTS_A_BUCKET
        files = change_stages.build_files(newer, earlier, buckets)
        scattered = self._run("by_address", change_stages.scatter_build, files.inputs, files.options)
        documents, ids, fates = (
            gathered([scattered], buckets, partial(change_stages.bucket_name, kind))
            for kind in ("documents", "ids", "fates")
        )
        moving = self._run("moved", change_stages.find_moved, ids, files.options)
        moved = gathered([moving], buckets, partial(change_stages.bucket_name, "moved"))
        judging = change_stages.JudgeOptions(knows_links=files.knows_links)
        inputs = joined(joined(documents, fates), moved)
        judged = self._run("changes", change_stages.judge_changes, inputs, judging)
        return BuildChanges(
            documents=changes.add_up([_result(partition) for partition in judged.partitions]),
            options=changes.changed_options(newer.options, earlier.options),
        )

    def _run(self, name: str, work: Work, inputs: Inputs, options: object) -> StageOutput:
        return run_stage(
            Stage(name=name, work=work, options=options), inputs, self._root, workers=self._workers
        )


def _result(partition: Partition) -> Any:
    return json.loads(storage.read_text(storage.join(partition.address, stages.RESULT)))
