"""The filter forgets nothing, lets others pass no more often than it says, and knows when it is damaged."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decontaminate.bloom import BloomFilter

NUMBERS = st.sets(st.integers(0, 2**64 - 1), max_size=300)


def array(numbers: set[int]) -> np.ndarray:
    return np.array(sorted(numbers), np.uint64)


def random_numbers(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


@given(NUMBERS, NUMBERS)
def test_every_element_is_found_whatever_else_is_asked(elements: set[int], others: set[int]) -> None:
    bloom = BloomFilter.of(array(elements))
    asked = array(elements | others)
    places = bloom.find(asked)
    assert np.all(np.diff(places) > 0)
    assert set(asked[places].tolist()) >= elements


@pytest.mark.parametrize(("elements", "rate"), [(1, 1e-3), (5_000, 1e-2), (100_000, 1e-3), (100_000, 1e-4)])
def test_others_pass_as_often_as_the_filter_says(elements: int, rate: float) -> None:
    """At rates that can be counted: passes of 2 million strangers are binomial, within five deviations."""
    bloom = BloomFilter.of(random_numbers(elements), rate)
    strangers = 2_000_000
    passed = len(bloom.find(random_numbers(strangers, seed=1)))
    expected = strangers * bloom.false_positive_rate
    assert bloom.false_positive_rate <= rate
    assert abs(passed - expected) <= 5 * math.sqrt(expected) + 1


@pytest.mark.parametrize("elements", [0, 1, 1_000, 21_000, 30_000, 300_000])
def test_the_rate_of_the_paper_is_kept_at_any_size_and_memory_is_told(elements: int) -> None:
    bloom = BloomFilter.of(random_numbers(elements))
    assert bloom.false_positive_rate <= 1e-8
    assert len(bloom.bits) == 2**13 or 6 * elements <= len(bloom.bits) <= 12 * elements
    assert not len(bloom.find(random_numbers(1_000_000, seed=1)))  # expected: 0.01 or less


def test_a_filter_comes_back_from_its_file(tmp_path: Path) -> None:
    elements = random_numbers(1_000)
    path = tmp_path / "filter"
    BloomFilter.of(elements).write(path)
    back = BloomFilter.read(str(path))
    assert len(back.find(elements)) == back.elements == 1_000
    assert back.false_positive_rate == BloomFilter.of(elements).false_positive_rate


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, "no Bloom filter"),
        (8, "of version 0, not 1"),
        (16, "damaged"),
        (24, "damaged"),
        (5_000, "damaged"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, place: int, message: str) -> None:
    path = tmp_path / "filter"
    BloomFilter.of(random_numbers(10)).write(path)
    written = bytearray(path.read_bytes())
    written[place] ^= 1
    path.write_bytes(written)
    with pytest.raises(ValueError, match=message):
        BloomFilter.read(str(path))


@pytest.mark.parametrize(
    ("size", "message"), [(0, "no Bloom"), (30, "no Bloom"), (36, "damaged"), (99, "damaged")]
)
def test_a_cut_file_is_told(tmp_path: Path, size: int, message: str) -> None:
    path = tmp_path / "filter"
    BloomFilter.of(random_numbers(10)).write(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=message):
        BloomFilter.read(str(path))
