"""The shell of the overlap stages: read evaluation sets, pass a corpus by them, count or drop."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decontaminate.bloom import BloomFilter
from pipeline.decontaminate.ngrams import WORDS, Grams, grams_of, in_batches
from pipeline.decontaminate.overlap import (
    REASON,
    EvaluationSet,
    Finder,
    Overlap,
    OverlapLimits,
    describe,
    filter_of,
    is_too_much,
    overlaps,
    read_grams,
    read_set,
)
from pipeline.decontaminate.plain_texts import TextOptions, is_one_text
from pipeline.runner import storage
from pipeline.runner.records import DOCUMENTS, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import FilterWriter, read_rows

GRAMS, FILTER, FOUND = "grams.npz", "filter.bloom", "found.npz"
RANDOM_STRINGS = 1_000_000  # as many as the GPT-2 paper tried
MOST_OVERLAPPING = 10  # documents that are reported, for each evaluation set


@output_version(2)
def collect_grams(task: Task) -> Counts:
    """Write the 8-grams of an evaluation set (the input) to `GRAMS`."""
    options: TextOptions = task.options
    found = read_set(task.inputs[0], options)
    found.write(task.folder / GRAMS)
    task.notes.update(texts=found.texts, grams=int(found.counts.sum()), distinct=len(found.grams))
    task.progress(found.texts)
    return Counts(found.texts, found.texts)


@output_version(2)
def make_filter(task: Task) -> Counts:
    """Write a Bloom filter of the 8-grams of all evaluation sets (the inputs) to `FILTER`, and try it out."""
    made = filter_of(EvaluationSet.read(address).grams for address in task.inputs)
    made.write(task.folder / FILTER)
    task.notes.update(
        distinct=made.elements,
        bytes=len(made.bits),
        probes=made.probes,
        false_positive_rate=made.false_positive_rate,
        random_strings=RANDOM_STRINGS,
        random_strings_found=random_strings_found(made, RANDOM_STRINGS),
    )
    return Counts(made.elements, made.elements)


def random_strings_found(bloom: BloomFilter, count: int) -> int:
    """Return how many of so many strings of eight random words of seven letters pass: they are in no set."""
    chance = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
    passed = 0
    for start in range(0, count, 1_000):
        words = chance.choice(letters, (min(1_000, count - start), WORDS, 8))
        words[..., -1] = ord(" ")
        passed += len(bloom.find(grams_of([row.tobytes().decode() for row in words]).hashes))
    return passed


@dataclass(frozen=True, kw_only=True)
class DecontaminationOptions:
    """What counts as too much, and what the evaluation sets are called."""

    limits: OverlapLimits
    names: Sequence[str]


@output_version(2)
def decontaminate(task: Task) -> Counts:
    """Drop the documents that overlap an evaluation set too much. Inputs: documents, filter, 8-grams."""
    options: DecontaminationOptions = task.options
    finder = _finder(task.inputs[1:])
    with FilterWriter(task.folder, "documents.parquet", DOCUMENTS) as writer:
        for documents, grams in _documents(task, DOCUMENTS.names):
            details = _too_much(finder.overlaps(grams), options)
            for number, document in enumerate(documents):
                detail = details.get(number)
                writer.put(document if detail is None else Drop(REASON, document["url"], detail))
    return writer.counts


def _too_much(found: Sequence[Sequence[Overlap]], options: DecontaminationOptions) -> dict[int, str]:
    """Return which documents go, and for each the set of which it has the longest passage."""
    worst: dict[int, tuple[int, str]] = {}
    for name, of_set in zip(options.names, found, strict=True):
        for overlap in of_set:
            words, _ = worst.get(overlap.document, (0, ""))
            if is_too_much(overlap, options.limits) and overlap.words_in_a_row > words:
                worst[overlap.document] = (overlap.words_in_a_row, describe(overlap, name))
    return {document: detail for document, (_, detail) in worst.items()}


@output_version(2)
def find_in_documents(task: Task) -> Counts:
    """Write to `FOUND` which 8-grams of the evaluation sets a corpus file has. Inputs as `decontaminate`'s.

    Noted are its 8-grams, and for each set the documents that hold the most of it.
    """
    tally = _Tally(_finder(task.inputs[1:]))
    read = 0
    for documents, grams in _documents(task, ["url", "text"]):
        read += len(documents)
        tally.add(grams, [document["url"] for document in documents])
    tally.write(task)
    return Counts(read, read)


@output_version(2)
def find_in_texts(task: Task) -> Counts:
    """Do the same for a file of plain text or records, such as a set's own training split."""
    address, options = task.inputs[0], task.options
    tally = _Tally(_finder(task.inputs[1:]))
    read = int(is_one_text(address, options))
    for grams in read_grams(address, options):
        read += 0 if is_one_text(address, options) else len(grams.sizes)
        tally.add(grams, None)
    task.progress(read)
    tally.write(task)
    return Counts(read, read)


class _Tally:
    """Which 8-grams of each evaluation set have been seen, and where the most of them."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._found = [np.zeros(len(evaluation.grams), np.bool_) for evaluation in finder.sets]
        self._most: list[list[dict[str, Any]]] = [[] for _ in finder.sets]
        self._grams = 0

    def add(self, grams: Grams, urls: Sequence[str] | None) -> None:
        """Look some texts up."""
        self._grams += len(grams.hashes)
        for number, found in enumerate(self._finder.find(grams.hashes)):
            self._found[number][found[1]] = True
            if urls is not None:
                seen = overlaps(*found, grams.sizes, self._finder.sets[number])
                rows = [_as_row(overlap, urls[overlap.document]) for overlap in seen]
                self._most[number] = most_overlapping([*self._most[number], *rows])

    def write(self, task: Task) -> None:
        """Write what was seen, a bit for each 8-gram, and note the rest."""
        bits = {str(number): np.packbits(found) for number, found in enumerate(self._found)}
        np.savez(task.folder / FOUND, allow_pickle=False, **bits)
        task.notes.update(grams=self._grams, documents=self._most)


def _as_row(overlap: Overlap, url: str) -> dict[str, Any]:
    words, share = overlap.words_in_a_row, round(overlap.share, 4)
    return {"url": url, "grams": overlap.grams, "share": share, "words_in_a_row": words}


def most_overlapping(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the documents that hold the most distinct 8-grams of a set, the first of them first."""
    return heapq.nsmallest(
        MOST_OVERLAPPING, documents, key=lambda document: (-document["grams"], document["url"])
    )


def read_found(address: str, sizes: Sequence[int]) -> list[npt.NDArray[np.bool_]]:
    """Return for each set, of so many distinct 8-grams, which of them a task has seen, [distinct] each."""
    with storage.open_read(address) as file, np.load(file, allow_pickle=False) as arrays:
        return [
            np.unpackbits(arrays[str(number)], count=size).astype(np.bool_)
            for number, size in enumerate(sizes)
        ]


def _finder(inputs: Sequence[str]) -> Finder:
    """Read the filter, and the 8-grams of each set."""
    return Finder([EvaluationSet.read(address) for address in inputs[1:]], BloomFilter.read(inputs[0]))


def _documents(task: Task, columns: Sequence[str]) -> Iterator[tuple[list[dict[str, Any]], Grams]]:
    """Yield the documents of a task's first input, some at a time, with their 8-grams."""
    rows = read_rows(task.inputs[0], columns)
    for documents in in_batches(rows, lambda document: len(document["text"] or "")):
        yield documents, grams_of([document["text"] or "" for document in documents])
        task.progress(len(documents))
