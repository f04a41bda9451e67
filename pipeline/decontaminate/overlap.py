"""What documents and evaluation sets have in common, in 8-grams; and how much of it is too much.

The GPT-2 paper put the 8-grams of its training set into Bloom filters. At a false-positive rate of 1e-8 that
is 38 bits each, 38 GB for the 8 thousand million of 40 GB of text. Here the evaluation sets, which are
small, are in the filter, and the corpus passes by: memory does not grow with it. What passes the filter is
looked up in the sets themselves, so that nothing is counted that only looks like a match.

GPT-3 (Brown et al. 2020, appendix C) first dropped every document that shared one 13-gram with a test, and
found that this punishes long documents for chance. What is too much here is a passage, or a share of the
whole: a page that quotes a sentence stays, one that holds a paragraph of a test goes, however long it is. The
limit on the share is for copies that differ in a word here and there, such as the originals of sets in which
rare words are "<unk>": their passages are short and many.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.decontaminate.bloom import BloomFilter
from pipeline.decontaminate.ngrams import WORDS, Grams, Hashes, grams_of, grams_of_pieces, in_batches
from pipeline.decontaminate.plain_texts import TextOptions, is_one_text, read_pieces, read_texts
from pipeline.dedup.letters import Places
from pipeline.runner import storage
from pipeline.runner.names import bare

REASON = "evaluation overlap"


@dataclass(frozen=True, kw_only=True)
class OverlapLimits:
    """When a document overlaps an evaluation set too much; any one of the three is enough."""

    decontaminate_words: int = 50
    """Drop documents with a passage of so many words in a row, all 8-grams of which occur in one evaluation
    set. Quotations are shorter, and most phrases and notices that stand on many pages."""
    decontaminate_share: float = 0.25
    """Drop documents of whose 8-grams this share or more, in (0, 1], occurs in one evaluation set."""
    decontaminate_example_words: int = 13
    """Drop documents that hold a whole text of a set of records or lines, if it has so many words or more."""

    def __post_init__(self) -> None:
        for name in ("decontaminate_words", "decontaminate_example_words"):
            if getattr(self, name) < WORDS:
                option = name.replace("_", " ")
                raise ValueError(
                    f"{option} must be {WORDS} or more, not {getattr(self, name)}: the search uses 8-grams"
                )
        if not 0 < self.decontaminate_share <= 1:
            raise ValueError(f"decontaminate share must lie in (0, 1], not {self.decontaminate_share}")


@dataclass(frozen=True)
class EvaluationSet:
    """The 8-grams of an evaluation set."""

    grams: Hashes  # [distinct], ascending
    counts: Places  # [distinct]: how often each occurs in the set
    examples: Places  # [examples, 3]: first 8-gram, last one, how many; ascending, of a set of several texts
    texts: int

    def write(self, path: Path) -> None:
        """Write the set to a local file."""
        np.savez(path, grams=self.grams, counts=self.counts, examples=self.examples, texts=self.texts)

    @staticmethod
    def read(address: str) -> "EvaluationSet":
        """Read what `write` wrote."""
        with storage.open_read(address) as file, np.load(file, allow_pickle=False) as arrays:
            return EvaluationSet(arrays["grams"], arrays["counts"], arrays["examples"], int(arrays["texts"]))

    def find(self, hashes: Hashes) -> tuple[Places, Places]:
        """Return which of some hashes are in the set, and which 8-gram of the set each of these is."""
        places, after = (np.searchsorted(self.grams, hashes, side=side) for side in ("left", "right"))
        found = np.flatnonzero(places < after)
        return found, places[found]


def read_grams(address: str, options: TextOptions) -> Iterator[Grams]:
    """Yield the 8-grams of a file of plain text or records, some texts or a piece of a long one at a time.

    Raises:
        ValueError: the file is damaged, or not what the options say.
    """
    if is_one_text(address, options):
        for hashes in grams_of_pieces(read_pieces(address)):
            yield Grams(hashes, np.array([len(hashes)]))
    else:
        for batch in in_batches(read_texts(address, options), len):
            yield grams_of(batch)


def find_sets(sources: Sequence[str], options: TextOptions) -> list[str]:
    """Return the files of evaluation sets, and look into each: mistakes should show before hours of work.

    Raises:
        ValueError: there are none, or one has no text of 8 words, or is not laid out as the options say.
    """
    found = storage.find_files(sources, lambda _: True, "evaluation set")
    if not found:
        raise ValueError("no evaluation set is named")
    for address in found:
        if not storage.size_bytes(address):
            raise ValueError(f"{address} is empty, where an evaluation set was expected")
        if not any(len(grams.hashes) for grams in read_grams(address, options)):
            raise ValueError(f"no text of {WORDS} words or more in {address}")
    return found


def names_of(addresses: Sequence[str]) -> list[str]:
    """Return what to call evaluation sets: their files' names, with as many folders as make them distinct."""
    parts = [bare(address).split("/") for address in addresses]
    depths = range(1, 1 + max(map(len, parts), default=1))
    named = (["/".join(part[-depth:]) for part in parts] for depth in depths)
    numbered = [f"{part[-1]}, {number}" for number, part in enumerate(parts, 1)]  # alike but for a query
    return next((names for names in named if len(set(names)) == len(names)), numbered)


def read_set(address: str, options: TextOptions) -> EvaluationSet:
    """Read an evaluation set; memory grows with the number of its words.

    Raises:
        ValueError: the file is damaged, or not what the options say.
    """
    nothing = np.zeros(0, np.uint64)
    hashes, firsts, lasts, sizes = [nothing], [nothing], [nothing], [np.zeros(0, np.int64)]
    for grams in read_grams(address, options):
        hashes.append(grams.hashes)
        sizes.append(grams.sizes)
        ends = np.cumsum(grams.sizes)[grams.sizes > 0]
        firsts.append(grams.hashes[ends - grams.sizes[grams.sizes > 0]])
        lasts.append(grams.hashes[ends - 1])
    distinct, counts = np.unique(np.concatenate(hashes), return_counts=True)
    if is_one_text(address, options):
        return EvaluationSet(distinct, counts, np.zeros((0, 3), np.int64), 1)
    size = np.concatenate(sizes)
    bounds = [np.searchsorted(distinct, np.concatenate(some)) for some in (firsts, lasts)]
    examples = np.unique(np.stack([*bounds, size[size > 0]], axis=1), axis=0)
    return EvaluationSet(distinct, counts, examples, len(size))


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one document has in common with one evaluation set."""

    document: int  # its place among those that were looked at together
    grams: int  # distinct 8-grams of the set that it holds
    share: float  # of its own 8-grams that are the set's
    words_in_a_row: int  # of its longest passage
    example_words: int  # of the longest text of the set that it holds whole; 0 if none


def overlaps(positions: Places, places: Places, sizes: Places, evaluation: EvaluationSet) -> list[Overlap]:
    """Sum up what was found in some documents, for those in which anything was.

    Args:
        positions: of the 8-grams that were found, ascending, among those of all these documents.
        places: which 8-gram of the set each of them is.
        sizes: 8-grams of each document.
        evaluation: the set.
    """
    if not len(positions):
        return []
    document = np.searchsorted(np.cumsum(sizes), positions, side="right")
    goes_on = (np.diff(positions) == 1) & (np.diff(document) == 0)
    run_ends = np.append(np.flatnonzero(~goes_on), len(positions) - 1)
    here = np.arange(len(positions))
    run = run_ends[np.searchsorted(run_ends, here)] - here + 1  # 8-grams from here to the end of the passage
    whole = _whole_examples(places, run, evaluation.examples)
    first = np.flatnonzero(np.diff(document, prepend=-1))  # [documents with any]
    pairs = np.unique(document * np.int64(len(evaluation.grams)) + places) // len(evaluation.grams)
    held = np.unique(pairs, return_counts=True)[1]
    found = np.diff(first, append=len(positions))
    columns = (
        document[first],
        held,
        found / sizes[document[first]],
        np.maximum.reduceat(run, first) + WORDS - 1,
        np.maximum.reduceat(whole, first),
    )
    return [Overlap(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _whole_examples(places: Places, run: Places, examples: Places) -> Places:
    """Return how many words the longest example has that begins at each 8-gram found and is there whole."""
    first, last, size = examples.T
    low, high = (np.searchsorted(first, places, side=side) for side in ("left", "right"))
    count = high - low  # [found]: examples that begin so
    here = np.repeat(np.arange(len(places)), count)  # [candidates]
    example = np.arange(len(here)) - np.repeat(np.cumsum(count) - count - low, count)
    fits = size[example] <= run[here]
    here, example = here[fits], example[fits]
    whole = places[here + size[example] - 1] == last[example]
    words = np.zeros(len(places), np.int64)
    np.maximum.at(words, here[whole], size[example[whole]] + WORDS - 1)
    return words


def is_too_much(overlap: Overlap, limits: OverlapLimits) -> bool:
    """Say whether a document with this overlap is to be dropped."""
    return (
        overlap.words_in_a_row >= limits.decontaminate_words
        or overlap.share >= limits.decontaminate_share
        or overlap.example_words >= limits.decontaminate_example_words
    )


def describe(overlap: Overlap, name: str) -> str:
    """Tell of an overlap with the set of that name."""
    example = f", a whole example of {overlap.example_words:,}" if overlap.example_words else ""
    words = f"{overlap.words_in_a_row:,} words in a row{example}"
    return f"{name}: {words}, {overlap.share:.1%} of its 8-grams"


class Finder:
    """Looks documents up in evaluation sets."""

    def __init__(self, sets: Sequence[EvaluationSet], bloom: BloomFilter) -> None:
        self.sets = sets
        self._bloom = bloom

    def find(self, hashes: Hashes) -> Iterator[tuple[Places, Places]]:
        """Yield for each set which of some 8-grams it has, ascending, and which of its own these are."""
        passing = self._bloom.find(hashes)
        for evaluation in self.sets:
            found, places = evaluation.find(hashes[passing])
            yield passing[found], places

    def overlaps(self, grams: Grams) -> list[list[Overlap]]:
        """Return for each set what each of some documents has in common with it, if anything."""
        return [
            overlaps(*found, grams.sizes, evaluation)
            for found, evaluation in zip(self.find(grams.hashes), self.sets, strict=True)
        ]


def filter_of(sets: Iterable[Hashes]) -> BloomFilter:
    """Make one filter of the 8-grams of several sets."""
    return BloomFilter.of(np.unique(np.concatenate(list(sets))))
