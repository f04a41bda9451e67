"""Which words to learn from: all of them, or those that occur often enough to fit into memory.

SentencePiece keeps all distinct words in memory, with a list of positions for each pair. As measured
(`tests/benchmarks/bench_vocabulary.py`), that takes 65 to 85 bytes per byte of a word at 50,257 entries, for
hundreds of thousands of words. The estimate below is within a fifth of that, mostly above it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runner.sums import read_sums
from tokenizer.bpe.word_counts import COUNTS

BYTES_PER_WORD = 250
BYTES_PER_WORD_BYTE = 50


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is left out of learning: words that occur fewer than `at_least` times."""

    at_least: int
    words: int
    words_cut: int
    occurrences: int
    occurrences_cut: int


@dataclass
class _Class:
    """All words with the same count."""

    words: int = 0
    bytes: int = 0


def find_cut(addresses: Sequence[str], memory_bytes: int) -> Cut:
    """Find the smallest count such that all words with that count or more fit into memory.

    Args:
        addresses: files of counts, no word in two of them.
        memory_bytes: memory that SentencePiece may use for words.
    """
    classes = _by_count(table for address in addresses for table in read_sums(address, COUNTS))
    at_least, kept_words, kept_occurrences, taken = max(classes, default=0) + 1, 0, 0, 0
    for count in sorted(classes, reverse=True):
        taken += BYTES_PER_WORD * classes[count].words + BYTES_PER_WORD_BYTE * classes[count].bytes
        if taken > memory_bytes:
            break
        at_least, kept_words = count, kept_words + classes[count].words
        kept_occurrences += count * classes[count].words
    words = sum(found.words for found in classes.values())
    occurrences = sum(count * found.words for count, found in classes.items())
    if kept_words == words:
        at_least = 1
    return Cut(
        at_least=at_least,
        words=words,
        words_cut=words - kept_words,
        occurrences=occurrences,
        occurrences_cut=occurrences - kept_occurrences,
    )


def _by_count(tables: Iterable[pa.Table]) -> dict[int, _Class]:
    """Add up how many words there are of each count, and their bytes."""
    words, sizes = Counter[int](), Counter[int]()
    for table in tables:
        lengths = pc.binary_length(table["word"])
        grouped = pa.table({"count": table["count"], "bytes": lengths}).group_by("count", use_threads=False)
        found = grouped.aggregate([("bytes", "sum"), ("bytes", "count")]).to_pydict()
        for count, size, number in zip(found["count"], found["bytes_sum"], found["bytes_count"], strict=True):
            words[count] += number
            sizes[count] += size
    return {count: _Class(words[count], sizes[count]) for count in words}
