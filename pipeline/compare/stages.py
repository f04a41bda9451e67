"""The shell of a comparison: survey documents, compare words and domains, match across, show samples.

Inputs of both corpora go to one task with those of the first before those of the other; the options say how
many belong to the first.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compare import domains, words
from pipeline.compare.matching import NONE, match_across
from pipeline.compare.signatures import COUNTED_WORDS, EXACT, KEY_COLUMNS, PLACE, TwoSides, mapped
from pipeline.compare.survey import DOMAINS, WORDS, Columns, Survey, SurveyOptions, scattered
from pipeline.corpus.figures import excerpt_of
from pipeline.dedup.bands import Bands
from pipeline.dedup.duplicates import Sketches
from pipeline.dedup.minhash import DuplicateOptions
from pipeline.dedup.stages import BANDS_A_TASK, mapped_array
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.sums import Sums, read_sums, write_sums
from pipeline.sources.batches import DocumentBatch
from pipeline.sources.files import read_file
from pipeline.sources.options import Reading
from pipeline.sources.tokens import load_token_ids

DOMAINS_FILE: Final = "domains.parquet"
RESULT: Final = "result.json"
MATCHES: Final = "matches.npy"
SAMPLES: Final = 6  # of each kind
LONGEST_SHOWN: Final = 500  # characters of an address or a title


def words_file(bucket: int) -> str:
    """The file of one bucket of a task's words."""
    return f"words-{bucket:04d}.parquet"


@output_version(1, "pycld2", "publicsuffixlist", "datasketch", "gigatoken")
def survey_documents(task: Task) -> Counts:
    """Count the documents of some files, and write words, domains and signatures.

    Inputs: the `tokenizer.json`, if tokens are counted; the files.
    """
    options: SurveyOptions = task.options
    tokens = load_token_ids(task.inputs[0]) if options.has_vocabulary else None
    with Survey(task.folder, options, tokens) as survey:
        for batch in _batches(task.inputs[options.has_vocabulary :], options.reading):
            survey.add(batch)
            task.progress(batch.rows)
        survey.finish()
    with ExitStack() as stack:
        paths = [task.folder / words_file(number) for number in range(options.word_buckets)]
        files = [stack.enter_context(pq.ParquetWriter(path, WORDS, compression="zstd")) for path in paths]
        for parts in scattered(survey.words.total(), options.word_buckets):
            for file, part in zip(files, parts, strict=True):
                file.write_table(part)
    write_sums(survey.domains.total(), task.folder / DOMAINS_FILE, DOMAINS)
    totals = survey.totals
    task.notes.update(totals.to_json())
    return Counts(totals.rows, totals.documents, dict(sorted(totals.left_out.items())))


def _batches(addresses: Sequence[str], reading: Reading) -> Iterator[DocumentBatch]:
    for address in addresses:
        yield from read_file(address, reading)


@dataclass(frozen=True, kw_only=True)
class SidesOptions:
    """Which inputs belong to which corpus, and what is known of both."""

    first: int
    """How many of the inputs are of the first corpus."""
    totals: tuple[int, int] = (0, 0)
    """All words of either."""


@output_version(1)
def compare_words(task: Task) -> Counts:
    """Compare one bucket of words: `RESULT`. Inputs: its file of each surveying task."""
    options: SidesOptions = task.options
    both = Sums(task.folder, words.BOTH)
    read = 0
    for number, address in enumerate(task.inputs):
        for table in read_sums(address, WORDS):
            nothing = pa.array(np.zeros(len(table), np.int64))
            columns = [table["count"], nothing] if number < options.first else [nothing, table["count"]]
            both.add(pa.table([table["word"], *columns], schema=words.BOTH))
            read += len(table)
            task.progress(len(table))
    _write_json(task, words.compare_bucket(both.total(), options.totals))
    return Counts(read, read)


@output_version(2, "publicsuffixlist")
def compare_domains(task: Task) -> Counts:
    """Compare the domains of both corpora, and each with WebText's list: `RESULT`. Inputs: their files."""
    options: SidesOptions = task.options
    both, labels = Sums(task.folder, domains.BOTH), Sums(task.folder, domains.BOTH)
    read = 0
    for number, address in enumerate(task.inputs):
        for table in read_sums(address, DOMAINS):
            nothing = [pa.array(np.zeros(len(table), np.int64))] * 3
            counts = [table[name] for name in DOMAINS.names[1:]]
            columns = [*counts, *nothing] if number < options.first else [*nothing, *counts]
            both.add(pa.table([table["name"], *columns], schema=domains.BOTH))
            read += len(table)
            task.progress(len(table))

    def noting_labels() -> Iterator[pa.Table]:
        for table in both.total():
            for named in domains.by_label([table]):
                labels.add(named)
            yield table

    found = domains.compare_domains(noting_labels())
    likeness = domains.likeness_by_labels(labels.total())
    _write_json(task, {"domains": found, "webtext": likeness})
    return Counts(read, read)


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """How documents are matched across."""

    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    first: int
    """How many surveying tasks are of the first corpus."""


@output_version(1)
def match_documents(task: Task) -> Counts:
    """Match the documents of both corpora in some of the bands: `MATCHES`, [matches, 3].

    Inputs: keys, sketches and band keys of each surveying task, by turns.
    """
    options: MatchOptions = task.options
    bands = Bands.of(options.duplicates)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        keys = [mapped(address, scratch, np.uint64, KEY_COLUMNS) for address in task.inputs[0::3]]
        sketches = [
            mapped(address, scratch, np.uint8, options.duplicates.permutations)
            for address in task.inputs[1::3]
        ]
        count = _bands_of_task(bands.bands, int(task.name))
        band_parts = [mapped(address, scratch, np.uint64, count) for address in task.inputs[2::3]]
        sides = TwoSides(sizes=[len(part) for part in keys], first_partitions=options.first)
        each_band = (np.concatenate([part[:, band] for part in band_parts]) for band in range(count))
        found = match_across(np.concatenate(keys), sides.first, each_band, Sketches(sketches), bands)
        np.save(task.folder / MATCHES, found.table())
    task.progress(sides.total)
    return Counts(sides.total, sides.total)


def _bands_of_task(bands: int, task: int) -> int:
    return min(BANDS_A_TASK, bands - task * BANDS_A_TASK)


@output_version(1)
def judge_documents(task: Task) -> Counts:
    """Put the matches of all tasks together, and choose samples of each kind: `RESULT`.

    Inputs: the matches of each task; the keys of each surveying task. The tasks' numbers come in `matches`.
    """
    options: JudgeOptions = task.options
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        keys = [
            mapped(address, scratch, np.uint64, KEY_COLUMNS) for address in task.inputs[options.matches :]
        ]
        sides = TwoSides(sizes=[len(part) for part in keys], first_partitions=options.first)
        partner, agreeing = np.full(sides.total, NONE), np.zeros(sides.total, np.int64)
        for address in reversed(task.inputs[: options.matches]):  # so that the first task's matches stay
            found = mapped_array(address, scratch)
            partner[found[:, 0]], agreeing[found[:, 0]] = found[:, 1], found[:, 2]
        judged = [_judged(side, keys, sides, partner, agreeing, options) for side in (0, 1)]
    _write_json(task, {"sides": judged})
    task.progress(sides.total)
    return Counts(sides.total, sides.total)


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """What the judging reads."""

    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    matches: int
    """How many files of matches come first."""
    first: int
    """How many surveying tasks are of the first corpus."""


def _judged(
    side: int,
    keys: Sequence[npt.NDArray[np.uint64]],
    sides: TwoSides,
    partner: npt.NDArray[np.int64],
    agreeing: npt.NDArray[np.int64],
    options: JudgeOptions,
) -> dict[str, Any]:
    """Return how much of one corpus is in the other, and which documents to show: those of the least keys."""
    bands = Bands.of(options.duplicates)
    span = range(sides.first_partitions) if side == 0 else range(sides.first_partitions, len(sides.sizes))
    texts = np.concatenate([part[:, EXACT] for part in keys])
    whole = dict.fromkeys(("documents", "words", "matched", "matched_words", "exact"), 0)
    chosen: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
    start = 0 if side == 0 else sides.first
    for partition in span:
        part = keys[partition]
        here = slice(start, start := start + len(part))
        matched, counted = partner[here] != NONE, part[:, COUNTED_WORDS]
        whole["documents"] += len(part)
        whole["words"] += int(counted.sum())
        whole["matched"] += int(matched.sum())
        whole["matched_words"] += int(counted[matched].sum())
        exact = matched & (agreeing[here] == options.duplicates.permutations)
        whole["exact"] += int((part[exact, EXACT] == texts[partner[here][exact]]).sum())
        for kind in (True, False):
            rows = np.flatnonzero(matched == kind)
            rows = rows[np.lexsort((part[rows, PLACE], part[rows, EXACT]))]
            rows = rows[np.unique(part[rows, EXACT], return_index=True)[1][:SAMPLES]]  # each text once
            places = [(int(part[row, EXACT]), int(part[row, PLACE]), here.start + int(row)) for row in rows]
            chosen[kind] = sorted([*chosen[kind], *places])[: len(sides.sizes) * SAMPLES]
    samples = {kind: _distinct(places) for kind, places in chosen.items()}
    return whole | {
        "only": [_place(sides, number) for number in samples[False]],
        "both": [
            _place(sides, number)
            | {
                "similarity": round(float(bands.estimate(agreeing[number])), 2),
                "partner": _place(sides, int(partner[number])),
            }
            for number in samples[True]
        ],
    }


def _distinct(places: Sequence[tuple[int, int, int]]) -> list[int]:
    """Return the numbers of the first documents, each text once."""
    by_text = {exact: number for exact, _, number in reversed(places)}
    return [by_text[exact] for exact in sorted(by_text)][:SAMPLES]


def _place(sides: TwoSides, document: int) -> dict[str, Any]:
    partition, row = sides.place(document)
    return {"partition": partition, "row": row}


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Which documents of each task's files are shown."""

    reading: Reading
    columns: Columns = field(default_factory=Columns)
    rows: Mapping[str, Sequence[int]]
    """By the name of the task, the numbers of its documents, ascending."""


@output_version(1)
def show_documents(task: Task) -> Counts:
    """Note address, title and beginning of some documents. Inputs: the files."""
    options: SampleOptions = task.options
    wanted = set(options.rows[task.name])
    done, shown = 0, {}
    for batch in _batches(task.inputs, options.reading):
        for row in sorted(wanted & set(range(done, done + len(batch.texts)))):
            values, columns = batch.values[row - done], options.columns
            text = batch.texts[row - done].decode()
            shown[str(row)] = {
                "url": columns.found(columns.url, values)[:LONGEST_SHOWN],
                "title": columns.found(columns.title, values)[:LONGEST_SHOWN],
                "characters": len(text),
                "excerpt": excerpt_of(text),
            }
        done += len(batch.texts)
        task.progress(len(batch.texts))
        if len(shown) == len(wanted):
            break
    task.notes["shown"] = shown
    return Counts(len(shown), len(shown))


def _write_json(task: Task, content: Any) -> None:
    def plain(value: Any) -> Any:
        assert dataclasses.is_dataclass(value) and not isinstance(value, type), f"{value!r} is no JSON"
        return dataclasses.asdict(value)

    (task.folder / RESULT).write_text(json.dumps(content, default=plain), encoding="utf-8")
