"""Rankings of domains: overlap, correlation with ties, and where the shares differ most."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pipeline.corpus.rankings import compare_rankings, rank_correlation, top_domains

VALUES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30)


@given(VALUES)
def test_rank_correlation_is_spearmans_with_ties(pairs: list[tuple[int, int]]) -> None:
    some, others = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    if len(set(some)) == 1 or len(set(others)) == 1:
        assert rank_correlation(some, others) is None
    else:
        assert rank_correlation(some, others) == pytest.approx(spearmanr(some, others).statistic)


def test_rank_correlation_of_a_known_case_with_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: deviations give (2.25 + 0 + 0 + 2.25) / sqrt(4.5 × 5).
    found = rank_correlation(np.array([1.0, 5, 5, 9]), np.array([10.0, 30, 20, 40]))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))


def test_a_ranking_beside_itself_is_the_same() -> None:
    counts = {f"{number}.org": number % 7 + 1 for number in range(50)}
    found = compare_rankings(counts, counts, sum(counts.values()), sum(counts.values()), number=20)
    assert (found.top, found.shared, found.overlap) == ((20, 20), 20, 1.0)
    assert found.correlation == pytest.approx(1.0)
    assert (found.more, found.less) == ([], [])


def test_only_the_top_counts_for_overlap_and_all_counts_for_correlation() -> None:
    ours = {"a": 9, "b": 8, "c": 7, "d": 1}
    theirs = {"a": 9, "b": 1, "c": 7, "d": 8}
    found = compare_rankings(ours, theirs, 25, 25, number=2)
    assert (found.top, found.shared, found.overlap) == ((2, 2), 1, 0.5)
    assert found.correlation == pytest.approx(spearmanr([9, 8, 1], [9, 1, 8]).statistic)
    assert found.shared_correlation is None  # of one domain
    assert [(one.domain, one.share, one.other_share) for one in found.more] == [("b", 8 / 25, 1 / 25)]
    assert [one.domain for one in found.less] == ["d"]


def test_nothing_beside_something_overlaps_in_nothing() -> None:
    found = compare_rankings({}, {"a": 1, "b": 2}, 0, 3)
    assert (found.top, found.shared, found.overlap, found.correlation) == ((0, 2), 0, 0.0, None)


def test_equal_counts_are_ranked_by_name_whatever_their_order() -> None:
    names = [f"{number:03d}" for number in range(100)]
    shuffled = random.Random(1).sample(names, 100)
    assert list(top_domains((name, 5) for name in shuffled))[:3] == ["000", "001", "002"]
