"""How a corpus uses vocabularies: tokens by kind of line, tokens of each document, uses of each token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.runner import storage
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.sources.options import Reading
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.documents import Tally, read_documents

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

USAGE: Final = "usage.npz"
KINDS: Final = {
    "blank": "only white space",
    "address": "contains `://` or `www.`",
    "code": "begins with a tab or four spaces, or ends with one of `{ } ; > \\`",
    "number": "at least a third of its characters are digits",
    "other script": "most of its letters are not Latin",
    "prose": "everything else",
}
"""The kinds of lines, in the order in which they are tried. A line includes the line feed after it."""


@dataclass(frozen=True)
class Usage:
    """How one vocabulary encodes some documents. Usages of parts can be added."""

    by_kind: Integers  # [KINDS]: tokens that begin in a line of the kind
    uses: Integers  # [size]: how often each id occurs; <|endoftext|> never does
    lengths: Integers  # [L]: tokens per document, distinct and ascending
    documents: Integers  # [L]: number of documents with that many

    @staticmethod
    def none(size: int) -> "Usage":
        """Of no documents."""
        empty = np.zeros(0, np.int64)
        return Usage(np.zeros(len(KINDS), np.int64), np.zeros(size, np.int64), empty, empty)

    @property
    def tokens(self) -> int:
        """The total number of tokens."""
        return int(self.uses.sum())

    def __add__(self, other: "Usage") -> "Usage":
        lengths, places = np.unique(np.concatenate([self.lengths, other.lengths]), return_inverse=True)
        documents = np.zeros(len(lengths), np.int64)
        np.add.at(documents, places, np.concatenate([self.documents, other.documents]))
        return Usage(self.by_kind + other.by_kind, self.uses + other.uses, lengths, documents)


@dataclass(frozen=True, kw_only=True)
class UsageOptions:
    """What a task reads."""

    vocabularies: int
    """How many of the inputs are vocabularies: the last."""
    reading: Reading
    """How the others are read."""


@output_version(2, "gigatoken", "tokenizers")
def measure_usage(task: Task) -> Counts:
    """Stage: encode corpus files (inputs) with one or more vocabularies (the last inputs)."""
    count = len(task.inputs) - task.options.vocabularies
    vocabularies = [load_vocabulary(address) for address in task.inputs[count:]]
    meters = [_Meter(vocabulary) for vocabulary in vocabularies]
    tally, bytes_by_kind = Tally(), np.zeros(len(KINDS), np.int64)
    for batch in read_documents(task.inputs[:count], task.options.reading):
        tally.add(batch)
        if batch.texts:
            sizes, kinds = lines_of(batch.texts)
            bytes_by_kind += np.bincount(kinds, sizes, len(KINDS)).astype(np.int64)
            for meter in meters:
                meter.add(batch.texts, sizes, kinds)
        task.progress(batch.rows)
    arrays = {
        f"{name}_{i}": array for i, meter in enumerate(meters) for name, array in vars(meter.usage).items()
    }
    np.savez_compressed(task.folder / USAGE, allow_pickle=False, **arrays)
    task.notes.update(characters=tally.characters, bytes=tally.bytes, bytes_by_kind=bytes_by_kind.tolist())
    return tally.counts


def read_usage(address: str) -> list[Usage]:
    """Read what a task measured: one usage per vocabulary."""
    with storage.open_read(address) as file, np.load(file, allow_pickle=False) as arrays:
        names = Usage.__dataclass_fields__
        count = len(arrays.files) // len(names)
        return [Usage(**{name: arrays[f"{name}_{i}"] for name in names}) for i in range(count)]


def lines_of(texts: Sequence[bytes]) -> tuple[Integers, Integers]:
    """Cut texts into lines: the bytes of each, line feed included, and its kind as an index into `KINDS`."""
    documents = pc.split_pattern(pa.array(texts, pa.large_binary()).cast(pa.large_string()), "\n")
    lines = documents.flatten()
    sizes = pc.binary_length(lines).to_numpy().astype(np.int64) + 1
    last = np.cumsum(pc.list_value_length(documents).to_numpy()) - 1
    sizes[last] -= 1
    return sizes, _kinds(lines)


def _kinds(lines: pa.Array) -> Integers:
    conditions = [
        ~_matches(lines, r"\S"),
        _matches(lines, r"://|www\."),
        _matches(lines, r"^(\t|    )|[{};>\\]\s*$"),
        3 * _occurrences(lines, r"\d") >= pc.utf8_length(lines).to_numpy(),
        _mostly_other_script(lines),
    ]
    return np.select(conditions, range(len(conditions)), default=len(conditions)).astype(np.int64)


def _mostly_other_script(lines: pa.Array) -> Booleans:
    found = _matches(lines, r"[^\x00-\x7f]")  # few lines do, and counting letters is slow
    some = lines.filter(pa.array(found))
    found[found] = _occurrences(some, r"\pL") > 2 * _occurrences(some, r"\p{Latin}")
    return found


def _matches(lines: pa.Array, pattern: str) -> Booleans:
    return np.array(pc.match_substring_regex(lines, pattern))


def _occurrences(lines: pa.Array, pattern: str) -> Integers:
    return np.array(pc.count_substring_regex(lines, pattern), np.int64)


class _Meter:
    """Adds up the usage of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.usage = Usage.none(vocabulary.size)
        self._encoder = Encoder(vocabulary)
        self._sizes = vocabulary.byte_lengths

    def add(self, texts: Sequence[bytes], line_sizes: Integers, kinds: Integers) -> None:
        """Encode some documents; the sizes and kinds are those of their lines in order."""
        encoded = [self._encoder.encode(text) for text in texts]
        ids = np.concatenate(encoded)
        ends = np.cumsum(self._sizes[ids])
        assert ends[-1] == line_sizes.sum(), "tokens that are not the text"
        starts = np.concatenate([[0], ends[:-1]])
        line_of = np.searchsorted(np.cumsum(line_sizes), starts, side="right")
        lengths, documents = np.unique([len(part) for part in encoded], return_counts=True)
        by_kind = np.bincount(kinds[line_of], minlength=len(KINDS))
        uses = np.bincount(ids, minlength=len(self._sizes))
        self.usage += Usage(by_kind, uses, lengths.astype(np.int64), documents.astype(np.int64))
