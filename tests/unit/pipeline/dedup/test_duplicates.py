"""Clusters are the connected components of the pairs that share a bucket and pass, at linear cost."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import duplicates
from pipeline.dedup.bands import Bands, digests, sketches
from pipeline.dedup.duplicates import Components, Numbers, Sketches, match
from pipeline.dedup.minhash import DuplicateOptions

Signatures = npt.NDArray[np.uint32]


def families(seed: int, count: int, family: int, similarity: float, values: int = 128) -> Signatures:
    """Signatures of `count` families, in each of which so many values are those of the family."""
    random = np.random.default_rng(seed)
    base = np.repeat(random.integers(0, 2**32, (count, values), np.uint32), family, axis=0)
    own = random.integers(0, 2**32, base.shape, np.uint32)
    kept = random.random(base.shape) < similarity
    return np.where(kept, base, own)


def clusters(signatures: Signatures, bands: Bands, cuts: list[int] | None = None) -> Numbers:
    """The root of each document; the sketches may lie in several parts."""
    components = Components(len(signatures))
    parts = np.split(sketches(signatures), cuts or [])
    match(digests(signatures), bands.keys(signatures), Sketches(parts), bands, components)
    return components.roots(np.arange(len(signatures)))


def compared_one_by_one(signatures: Signatures, bands: Bands, leaders: int) -> list[int]:
    """The same, by comparing all pairs of each bucket, the first one of which is one of its first."""
    whole, bytes_ = digests(signatures), sketches(signatures)
    root = {number: min(np.flatnonzero(whole == digest)) for number, digest in enumerate(whole)}
    distinct = sorted(set(root.values()), key=lambda number: whole[number])
    pairs = set()
    for keys in bands.keys(signatures):
        buckets: dict[int, list[int]] = {}
        for number in distinct:
            buckets.setdefault(int(keys[number]), []).append(number)
        for bucket in buckets.values():
            pairs |= {
                pair
                for place, pair in (
                    (bucket.index(pair[0]), pair) for pair in itertools.combinations(bucket, 2)
                )
                if place < leaders
            }
    for one, other in pairs:
        if (bytes_[one] == bytes_[other]).sum() >= bands.least_agreeing:
            low, high = sorted((root[one], root[other]))
            root = {number: low if now == high else now for number, now in root.items()}
    return [int(root[number]) for number in range(len(signatures))]


@pytest.mark.slow
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.floats(0.3, 1.0),
    st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    st.sampled_from([1, 2, 64]),
    st.lists(st.integers(0, 60), max_size=3),
)
@settings(deadline=None, max_examples=150)
def test_clusters_are_those_of_comparing_one_by_one(
    seed: int, family: int, similarity: float, threshold: float, leaders: int, cuts: list[int]
) -> None:
    signatures = families(seed, 5, family, similarity, values=16)
    bands = Bands.of(DuplicateOptions(similarity=threshold, permutations=16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "LEADERS", leaders)
        found = clusters(signatures, bands, sorted(cuts))
    assert found.tolist() == compared_one_by_one(signatures, bands, leaders)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.8]), st.sampled_from([2, 64]))
@settings(deadline=None, max_examples=12)
def test_clusters_depend_on_neither_the_order_nor_the_grouping_of_bands(
    seed: int, threshold: float, leaders: int
) -> None:
    signatures = families(seed, 10, 12, 0.85)
    bands = Bands.of(DuplicateOptions(similarity=threshold))
    order = np.random.default_rng(seed).permutation(len(signatures))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "LEADERS", leaders)
        straight = clusters(signatures, bands)
        shuffled = clusters(signatures[order], bands)
        together = Components(len(signatures))
        parts = Sketches([sketches(signatures)])
        for some in np.array_split(bands.keys(signatures), 3):
            task = Components(len(signatures))
            match(digests(signatures), some, parts, bands, task)
            found = task.matches()
            together.join(found[:, 0], found[:, 1])
    assert np.array_equal(together.roots(np.arange(len(signatures))), straight)
    same = straight[order][:, None] == straight[order][None, :]
    assert np.array_equal(same, shuffled[:, None] == shuffled[None, :])


def test_a_chain_is_one_cluster() -> None:
    chain = [families(1, 1, 1, 1.0)[0]]
    for step in range(1, 5):  # each has 13 values that the one before has not: similarity 0.9, 0.8, 0.7, 0.6
        following = chain[-1].copy()
        following[step * 13 : step * 13 + 13] = step
        chain.append(following)
    assert set(clusters(np.array(chain), Bands.of(DuplicateOptions()))) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [1.0, 0.95])
def test_a_hundred_thousand_copies_are_compared_a_few_times_each(
    similarity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = families(1, 1, 100_000, similarity)
    bands = Bands.of(DuplicateOptions())
    compared = 0
    agreeing = Sketches.agreeing

    def counting(self: Sketches, some: Numbers, others: Numbers) -> Numbers:
        nonlocal compared
        compared += len(some)
        return agreeing(self, some, others)

    monkeypatch.setattr(Sketches, "agreeing", counting)
    assert np.mean(clusters(signatures, bands) == 0) > 0.999
    assert compared <= 2 * bands.bands * len(signatures)


def test_documents_that_only_share_a_bucket_stay_apart_at_linear_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signatures = np.random.default_rng(1).integers(0, 2**32, (5_000, 128), np.uint32)
    signatures[:, :6] = 7  # one band is the same in all
    compared = 0
    agreeing = Sketches.agreeing

    def counting(self: Sketches, some: Numbers, others: Numbers) -> Numbers:
        nonlocal compared
        compared += len(some)
        return agreeing(self, some, others)

    monkeypatch.setattr(Sketches, "agreeing", counting)
    assert len(set(clusters(signatures, Bands.of(DuplicateOptions())))) == len(signatures)
    assert 0 < compared <= duplicates.LEADERS * len(signatures)


@pytest.mark.parametrize("documents", [0, 1])
def test_no_documents_are_no_clusters(documents: int) -> None:
    signatures = families(1, documents, 1, 1.0)
    assert clusters(signatures, Bands.of(DuplicateOptions())).tolist() == list(range(documents))


@given(
    st.integers(1, 30).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)))),
        )
    )
)
def test_components_lead_to_their_smallest_number(case: tuple[int, list[list[tuple[int, int]]]]) -> None:
    count, rounds = case
    components, label = Components(count), list(range(count))
    for pairs in rounds:
        ends = np.array(pairs, np.int64).reshape(-1, 2)
        components.join(ends[:, 0], ends[:, 1])
        for one, other in pairs:
            low, high = sorted((label[one], label[other]))
            label = [low if now == high else now for now in label]
    assert components.roots(np.arange(count)).tolist() == label
    again = Components(count)
    again.join(components.matches()[:, 0], components.matches()[:, 1])
    assert again.roots(np.arange(count)).tolist() == label
