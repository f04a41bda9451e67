"""Vocabularies side by side: the Jensen-Shannon distance, and the words that tell the most."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from pipeline.compare.words import BOTH, WordLikeness, add_up, compare_bucket

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1)


def compared(
    some: dict[str, int], others: dict[str, int], *, buckets: int = 1, rows: int = 100
) -> WordLikeness:
    totals = (sum(some.values()), sum(others.values()))
    words = sorted(some.keys() | others.keys())
    parts = []
    for bucket in range(buckets):
        mine = words[bucket::buckets]
        tables = []
        for start in range(0, len(mine), rows):
            piece = mine[start : start + rows]
            columns = [[word.encode() for word in piece]]
            columns += [[side.get(word, 0) for word in piece] for side in (some, others)]
            tables.append(pa.table(columns, schema=BOTH))
        parts.append(compare_bucket(tables, totals))
    return add_up(parts, totals)


@given(COUNTS, COUNTS)
def test_distance_is_jensen_and_shannons_to_base_two(some: dict[str, int], others: dict[str, int]) -> None:
    words = sorted(some.keys() | others.keys())
    shares = [np.array([side.get(word, 0) for word in words], float) for side in (some, others)]
    expected = jensenshannon(*shares, base=2)
    assert compared(some, others).distance == pytest.approx(expected, abs=1e-5)


def test_distance_of_a_known_case() -> None:
    # P = (1, 0) and Q = (1/2, 1/2), M = (3/4, 1/4): (log2(4/3) + (log2(2/3) + log2(2)) / 2) / 2 = 0.3113 bits
    found = compared({"a": 4}, {"a": 3, "b": 3})
    assert found.divergence_bits == pytest.approx(0.311278, abs=1e-6)
    assert found.distance == pytest.approx(0.557923, abs=1e-6)


def test_the_same_words_are_at_distance_nought_and_no_shared_word_at_one() -> None:
    same = compared({"a": 3, "b": 1}, {"a": 300, "b": 100})
    assert (same.distance, same.covered, same.more, same.less) == (0.0, (1.0, 1.0), [], [])
    apart = compared({"a": 3}, {"b": 1})
    assert (apart.distance, apart.covered, apart.shared, apart.distinct) == (1.0, (0.0, 0.0), 0, (1, 1))


def test_shares_are_of_words_as_often_as_they_occur() -> None:
    found = compared({"a": 3, "b": 1}, {"a": 1, "c": 4, "d": 5})
    assert (found.distinct, found.shared, found.covered) == ((2, 3), 1, (0.75, 0.1))
    assert [(word.word, word.count, word.other_count) for word in found.more] == [("a", 3, 1), ("b", 1, 0)]
    assert [word.word for word in found.less] == ["d", "c"]


def test_buckets_and_blocks_change_nothing() -> None:
    chance = random.Random(1)
    some, others = (
        Counter(f"w{int(chance.paretovariate(0.6)) % 3000}" for _ in range(9000)) for _ in range(2)
    )
    expected = compared(some, others)
    for buckets, rows in ((1, 7), (5, 100), (3, 11)):
        assert compared(some, others, buckets=buckets, rows=rows) == expected
    assert len(expected.more) == len(expected.less) == 30
    assert expected.more == sorted(expected.more, key=lambda word: (-word.bits, word.word))


def test_a_long_word_is_shown_cut() -> None:
    found = compared({"x" * 5000: 1, "a": 1}, {"a": 1})
    assert found.more[0].word == "x" * 60 + "…"
