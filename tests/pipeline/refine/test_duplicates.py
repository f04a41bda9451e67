"""Near-duplicates are found and only they, and what stays does not depend on the order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.refine.duplicates import cluster
from pipeline.refine.minhash import DuplicateOptions, shingle_hashes, signature

OPTIONS = DuplicateOptions()


def words(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"w{number}" for number in random.integers(0, 50_000, count)]


def with_changes(base: list[str], changes: int, seed: int) -> list[str]:
    """The same text with some words replaced, far from each other."""
    changed = list(base)
    for place in range(0, len(base), len(base) // changes)[:changes]:
        changed[place] = f"other{seed}x{place}"
    return changed


def exact_jaccard(one: list[str], other: list[str], size: int = 5) -> float:
    sets = [{tuple(text[i : i + size]) for i in range(len(text) - size + 1)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def keepers(texts: list[str], rank: list[int] | None = None) -> list[int]:
    signatures = np.array([signature(text, OPTIONS) for text in texts])
    order = np.array(rank if rank is not None else range(len(texts)), np.int64)
    return [int(number) for number in cluster(signatures, order, OPTIONS).keeper]


def test_signatures_estimate_the_jaccard_similarity_of_shingles() -> None:
    base = words(0, 1000)
    for changes in (5, 20, 60):
        other = with_changes(base, changes, 1)
        estimate = np.mean(signature(" ".join(base), OPTIONS) == signature(" ".join(other), OPTIONS))
        # 125 permutations: one standard deviation is at most 0.045
        assert abs(estimate - exact_jaccard(base, other)) < 0.14


def test_planted_near_duplicates_fall_together_and_nothing_else_does() -> None:
    texts, family = [], []
    for number in range(60):
        base = words(number, 400)
        texts.append(" ".join(base))
        family.append(number)
        if number % 3 == 0:  # Jaccard 0.86, well above the threshold
            other = with_changes(base, 6, number)
            assert exact_jaccard(base, other) > 0.8
            texts.append(" ".join(other))
            family.append(number)
        if number % 3 == 1:  # Jaccard 0.4, well below
            other = with_changes(base, 40, number)
            assert exact_jaccard(base, other) < 0.45
            texts.append(" ".join(other))
            family.append(1000 + number)
    kept = keepers(texts)
    assert [family[keeper] for keeper in kept] == family
    assert len(set(kept)) == len(set(family))


def test_the_document_of_lowest_rank_stays() -> None:
    base = words(1, 300)
    texts = [" ".join(with_changes(base, 2, seed)) for seed in range(4)]
    assert keepers(texts, [2, 0, 3, 1]) == [1, 1, 1, 1]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_survivors_do_not_depend_on_the_order(order: list[int]) -> None:
    texts = [" ".join(with_changes(words(number // 3, 200), 1 + number % 3, number)) for number in range(12)]
    straight = {texts[keeper] for keeper in keepers(texts)}
    shuffled = [texts[number] for number in order]
    assert {shuffled[keeper] for keeper in keepers(shuffled, order)} == straight


def test_case_and_punctuation_do_not_tell_documents_apart() -> None:
    text = "It was the best of times, it was the worst of times; it was the age of wisdom."
    assert np.array_equal(shingle_hashes(text, 5), shingle_hashes(text.upper().replace(",", " --"), 5))


def test_order_of_words_does_tell_documents_apart() -> None:
    assert not np.array_equal(shingle_hashes("a b c d e", 5), shingle_hashes("e d c b a", 5))


@pytest.mark.parametrize("text", ["", "one", "one two", "   ", "."])
def test_texts_shorter_than_a_shingle_have_one_hash(text: str) -> None:
    assert len(shingle_hashes(text, 5)) == 1


def test_no_documents_are_no_clusters() -> None:
    assert len(cluster(np.empty((0, 125), np.uint32), np.empty(0, np.int64), OPTIONS).keeper) == 0


@pytest.mark.parametrize("wrong", [{"similarity": 0.0}, {"similarity": 1.5}, {"bands": 0}])
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        DuplicateOptions(**wrong)  # type: ignore[arg-type]
