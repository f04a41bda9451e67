"""Counts add up to the same whether they fit into memory or go to disk in runs."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenizer.bpe import word_counts
from tokenizer.bpe.rare_words import BYTES_PER_WORD, BYTES_PER_WORD_BYTE, Cut, find_cut
from tokenizer.bpe.word_counts import (
    COUNTS,
    CountedWords,
    WordCounts,
    merge_sorted,
    read_counts,
    write_counts,
)

PART = st.dictionaries(st.binary(max_size=3), st.integers(1, 5), max_size=12)


def table(counts: dict[bytes, int]) -> pa.Table:
    return pa.table([list(counts), list(counts.values())], schema=COUNTS)


def pairs(tables: list[pa.Table]) -> list[tuple[bytes, int]]:
    return [pair for part in tables for pair in zip(*part.to_pydict().values(), strict=True)]


def added(parts: list[dict[bytes, int]]) -> list[tuple[bytes, int]]:
    whole = Counter[bytes]()
    for part in parts:
        whole.update(part)
    return sorted(whole.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART, max_size=8), bytes_in_memory=st.sampled_from([0, 200, 10**9]))
def test_sums_are_the_same_whenever_words_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[dict[bytes, int]], bytes_in_memory: int
) -> None:
    monkeypatch.setattr(word_counts, "BYTES_IN_MEMORY", bytes_in_memory)
    monkeypatch.setattr(word_counts, "ROWS_PER_BLOCK", 2)
    counts = WordCounts(tmp_path)
    for part in parts:
        counts.add(table(part))
    assert pairs(list(counts.total())) == added(parts)
    assert not list(tmp_path.iterdir())


@given(st.lists(st.lists(PART, max_size=4), max_size=4))
def test_merging_is_adding_up_in_order(sources: list[list[dict[bytes, int]]]) -> None:
    cut = [[dict(rows[i : i + 2]) for i in range(0, len(rows), 2)] for rows in map(added, sources)]
    merged = merge_sorted([iter([table(part) for part in source]) for source in cut])
    assert pairs(list(merged)) == added([part for source in sources for part in source])


def test_little_more_than_the_bound_is_held_however_much_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_counts, "BYTES_IN_MEMORY", 2**20)
    held = []
    for parts in (20, 200):
        before = pa.total_allocated_bytes()
        counts, most = WordCounts(tmp_path), 0
        for part in range(parts):
            counts.add(table({b"word %d of part %d" % (word, part): 1 for word in range(2_000)}))
            most = max(most, pa.total_allocated_bytes() - before)
        held.append(most)
        assert sum(map(len, counts.total())) == parts * 2_000
    assert held[1] < 1.2 * held[0] < 1.2 * 2**21


def test_words_of_several_files_come_in_order_and_rare_ones_are_left_out(tmp_path: Path) -> None:
    for name, counts in {"1": {b"a": 3, b"c": 1}, "2": {b"b": 2, b"d": 1}, "3": {}}.items():
        write_counts([table(counts)], tmp_path / name)
    words = CountedWords([str(tmp_path / name) for name in "123"], at_least=2)
    assert list(words) == list(words) == [(b"a", 3), (b"b", 2)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert write_counts([table({b"\x00\xff": 2**40}), table({}), table({b"x": 1})], tmp_path / "counts") == 2
    assert pairs(list(read_counts(str(tmp_path / "counts")))) == [(b"\x00\xff", 2**40), (b"x", 1)]


@given(PART.filter(bool), st.integers(0, 6000))
def test_the_cut_keeps_the_most_frequent_words_that_fit_and_tells_what_goes(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[bytes, int], memory_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "counts"
    write_counts([table(counts)], path)
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
