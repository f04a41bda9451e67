"""Bands follow from the threshold, and their odds are what they are said to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.bands import LEAST_CAUGHT, Bands, digests, sketches
from pipeline.dedup.minhash import DuplicateOptions


def signatures(similarity: float, pairs: int, values: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signatures of pairs of documents whose values agree as those of that similarity do."""
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 2**32, (2, pairs, values), np.uint32)
    return one, np.where(random.random((pairs, values)) < similarity, one, other)


@pytest.mark.slow
@given(st.floats(0.001, 1), st.integers(16, 512))
@settings(deadline=None, max_examples=30)
def test_any_threshold_has_bands_that_fit_the_signature(threshold: float, permutations: int) -> None:
    bands = Bands.of(DuplicateOptions(similarity=threshold, permutations=permutations))
    assert 1 <= bands.bands * bands.rows <= permutations
    assert 1 <= bands.least_agreeing <= permutations
    assert bands.caught(threshold) >= LEAST_CAUGHT or bands.rows == 1
    assert bands.found(1.0) == pytest.approx(1)


def test_the_default_finds_what_it_should() -> None:
    bands = Bands.of(DuplicateOptions())
    assert bands.found(0.85) > 0.99
    assert bands.found(0.6) < 0.001


def test_at_threshold_one_only_equal_signatures_pass() -> None:
    bands = Bands.of(DuplicateOptions(similarity=1.0))
    assert (bands.bands, bands.rows, bands.least_agreeing) == (1, 128, 128)


@pytest.mark.parametrize("threshold", [0.3, 0.8])
@pytest.mark.parametrize("distance", [-0.1, -0.03, 0.0, 0.05])
def test_the_share_that_is_found_is_the_share_that_is_told(threshold: float, distance: float) -> None:
    bands = Bands.of(DuplicateOptions(similarity=threshold, permutations=64))
    one, other = signatures(threshold + distance, 20_000, 64, seed=1)
    compared = (bands.keys(one) == bands.keys(other)).any(axis=0)
    passed = (sketches(one) == sketches(other)).sum(axis=1) >= bands.least_agreeing
    # 20,000 pairs: three standard deviations are at most 3 × sqrt(0.25 / 20,000) = 0.011
    assert np.mean(compared) == pytest.approx(bands.caught(threshold + distance), abs=0.011)
    assert np.mean(compared & passed) == pytest.approx(bands.found(threshold + distance), abs=0.011)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.8, 1.0])
def test_a_byte_of_each_value_is_enough_to_estimate(similarity: float) -> None:
    one, other = signatures(similarity, 2_000, 128, seed=2)
    agreeing = (sketches(one) == sketches(other)).sum(axis=1)
    estimate = Bands.of(DuplicateOptions()).estimate(agreeing)
    assert np.mean(estimate) == pytest.approx(similarity, abs=0.003)
    assert np.all(np.abs(estimate - np.mean(one == other, axis=1)) < 0.05)


def test_digests_are_the_same_for_the_same_signatures_only() -> None:
    one, other = signatures(0.99, 1_000, 128, seed=3)
    assert np.array_equal(digests(one) == digests(other), (one == other).all(axis=1))


def test_the_description_names_bands_rows_and_both_rates() -> None:
    printed = Bands.of(DuplicateOptions(similarity=0.8)).describe()
    assert "21 × 6" in printed
    for row in ("similarity", "by bands", "and verified"):
        assert f"\n  {row} " in printed
    assert "0.80" in printed
