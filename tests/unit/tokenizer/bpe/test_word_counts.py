"""Counted words come in order, and the rarest are left out where memory ends."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runner.sums import write_sums
from tokenizer.bpe.rare_words import BYTES_PER_WORD, BYTES_PER_WORD_BYTE, Cut, find_cut
from tokenizer.bpe.word_counts import COUNTS, CountedWords

PART = st.dictionaries(st.binary(max_size=3), st.integers(1, 5), max_size=12)


def table(counts: dict[bytes, int]) -> pa.Table:
    return pa.table([list(counts), list(counts.values())], schema=COUNTS)


def test_words_of_several_files_come_in_order_and_rare_ones_are_left_out(tmp_path: Path) -> None:
    for name, counts in {"1": {b"a": 3, b"c": 1}, "2": {b"b": 2, b"d": 1}, "3": {}}.items():
        write_sums([table(counts)], tmp_path / name, COUNTS)
    words = CountedWords([str(tmp_path / name) for name in "123"], at_least=2)
    assert list(words) == list(words) == [(b"a", 3), (b"b", 2)]


@given(PART.filter(bool), st.integers(0, 6000))
def test_the_cut_keeps_the_most_frequent_words_that_fit_and_tells_what_goes(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[bytes, int], memory_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "counts"
    write_sums([table(counts)], path, COUNTS)
    cut = find_cut([str(path)], memory_bytes)
    kept = dict(CountedWords([str(path)], cut.at_least))

    def taken(words: set[bytes]) -> int:
        return sum(BYTES_PER_WORD + BYTES_PER_WORD_BYTE * len(word) for word in words)

    assert taken(set(kept)) <= memory_bytes
    gone = set(counts) - set(kept)
    if gone:  # one class more would not fit
        next_count = max(counts[word] for word in gone)
        assert taken(set(kept) | {word for word in gone if counts[word] == next_count}) > memory_bytes
    assert cut == Cut(
        at_least=cut.at_least,
        words=len(counts),
        words_cut=len(gone),
        occurrences=sum(counts.values()),
        occurrences_cut=sum(counts[word] for word in gone),
    )
    assert (cut.at_least == 1) == (not gone)
