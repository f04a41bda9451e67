"""Near-duplicates across two corpora: found as a loop over all pairs finds them, whatever the order."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import xxhash

from pipeline.compare import matching
from pipeline.compare.matching import NONE, Matches, match_across
from pipeline.dedup.bands import Bands, sketches
from pipeline.dedup.duplicates import Sketches
from pipeline.dedup.minhash import DuplicateOptions, exact_key, normalise, shingle_hashes, signature

OPTIONS = DuplicateOptions()
BANDS = Bands.of(OPTIONS)


def made_text(seed: int, words: int = 120) -> str:
    chance = random.Random(seed)
    return " ".join(f"w{chance.randrange(5000)}" for _ in range(words))


def edited(text: str, words: int) -> str:
    """The text with its last words replaced."""
    kept = text.split()[:-words] if words else text.split()
    return " ".join([*kept, *(f"new{number}" for number in range(words))])


def matched(some: Sequence[str], others: Sequence[str]) -> Matches:
    texts = [*some, *others]
    letters = [normalise(text) for text in texts]
    signatures = np.stack([signature(shingle_hashes(one, OPTIONS.shingle_words), OPTIONS) for one in letters])
    keys = np.array(
        [
            (int.from_bytes(exact_key(one)[:8], "little"), xxhash.xxh3_64_intdigest(text.encode()))
            for one, text in zip(letters, texts, strict=True)
        ],
        np.uint64,
    )
    return match_across(keys, len(some), BANDS.keys(signatures), Sketches([sketches(signatures)]), BANDS)


def in_other(some: Sequence[str], others: Sequence[str]) -> tuple[list[bool], list[bool]]:
    found = (matched(some, others).partner != NONE).tolist()
    return found[: len(some)], found[len(some) :]


def test_a_corpus_that_has_two_fifths_of_another_has_two_fifths_of_it() -> None:
    others = [made_text(seed) for seed in range(100)]
    some = [*others[:40], *(made_text(seed) for seed in range(1000, 1017))]
    here, there = in_other(some, others)
    assert here == [True] * 40 + [False] * 17
    assert there == [True] * 40 + [False] * 60


def test_a_corpus_is_in_itself_whole_copies_included() -> None:
    texts = [made_text(seed) for seed in range(20)] + [made_text(3)] * 5
    assert in_other(texts, texts) == ([True] * 25, [True] * 25)


def test_copies_have_the_partner_with_the_same_words() -> None:
    texts = [made_text(1), made_text(2)]
    found = matched(texts, [texts[1].upper() + "!", edited(texts[0], 2)])
    assert found.partner.tolist() == [3, 2, 1, 0]
    assert found.agreeing[[1, 2]].tolist() == [OPTIONS.permutations] * 2
    assert BANDS.least_agreeing <= found.agreeing[0] < OPTIONS.permutations


def test_all_pairs_that_pass_are_found_and_no_others() -> None:
    texts = [made_text(seed) for seed in range(30)]
    others = [edited(text, number) for number, text in enumerate(texts)]  # ever less alike
    signatures = [
        signature(shingle_hashes(normalise(text), OPTIONS.shingle_words), OPTIONS)
        for text in [*texts, *others]
    ]
    bytes_ = sketches(np.stack(signatures))
    agreeing = (bytes_[:30] == bytes_[30:]).sum(axis=1)
    passing = agreeing >= BANDS.least_agreeing
    here, there = in_other(texts, others)
    assert here == there
    assert not any(found and not passes for found, passes in zip(here, passing, strict=True))
    surely = agreeing >= 0.9 * OPTIONS.permutations  # of which the bands miss less than one in a million
    assert all(found for found, sure in zip(here, surely, strict=True) if sure) and surely.sum() >= 3
    assert here[:2] == [True, True] and not here[-1]


def test_order_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "LEADERS", 2)  # so that a bucket has more than its leaders
    page = made_text(1)
    some = [edited(page, words) for words in range(8)] + [made_text(seed) for seed in range(5)]
    others = [edited(page, words) for words in range(3, 12)] + [made_text(seed) for seed in range(3, 9)]

    def pairs(some: Sequence[str], others: Sequence[str]) -> set[tuple[str, str, int]]:
        texts, found = [*some, *others], matched(some, others)
        return {
            (texts[number], texts[partner], int(agreeing))
            for number, (partner, agreeing) in enumerate(zip(found.partner, found.agreeing, strict=True))
            if partner != NONE
        }

    expected = pairs(some, others)
    assert expected
    for seed in range(6):
        chance = random.Random(seed)
        assert pairs(chance.sample(some, len(some)), chance.sample(others, len(others))) == expected


def test_a_bucket_of_many_is_compared_with_its_leaders_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    usual = Sketches.agreeing

    def counting(self: Sketches, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(some)
        return usual(self, some, others)

    monkeypatch.setattr(Sketches, "agreeing", counting)
    monkeypatch.setattr(matching, "LEADERS", 3)
    page = made_text(1, words=2000)
    words = page.split()
    # All share half of their text: they meet in some band now and then, and pass in none.
    texts = [" ".join([*words[:1000], *made_text(seed, words=1000).split()]) for seed in range(2, 402)]
    here, there = in_other(texts[:200], texts[200:])
    assert not any(here) and not any(there)
    assert compared <= 2 * 3 * 200 * BANDS.bands


@pytest.mark.parametrize(("some", "others"), [([], ["one two"]), (["one two"], []), (["a"], ["b"])])
def test_nothing_is_in_nothing(some: list[str], others: list[str]) -> None:
    assert in_other(some, others) == ([False] * len(some), [False] * len(others))
