"""Signatures are datasketch's, over the 5-word shingles of the normalised text."""

import re
import unicodedata
from functools import cache

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.dedup.minhash import DuplicateOptions, exact_key, normalise, shingle_hashes, signature

TEXT = (
    "It was the best of times, it was the worst of times; and so on. \u201cCafé\u201d n\u2019est 2 naïve_x."
)


# Letters that no spaces stand between: kana and Han; Thai, Lao, Tibetan, Burmese and Khmer.
UNSPACED = [(0x3005, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)]
UNSPACED += [(0xE01, 0xEFF), (0xF40, 0xFBC), (0x1000, 0x109F), (0x1780, 0x17D3)]


@cache
def is_mark(character: str) -> bool:
    is_variation = "VARIATION SELECTOR" in unicodedata.name(character, "")
    return unicodedata.category(character) in ("Mn", "Mc") and not is_variation


@cache
def is_unspaced(character: str) -> bool:
    is_letter = unicodedata.category(character)[0] == "L"
    return is_letter and any(first <= ord(character) <= last for first, last in UNSPACED)


def plain_words(text: str) -> list[str]:
    """The words of a text, one character after another."""
    text = unicodedata.normalize("NFKC", text).casefold()
    foreign = sum(ord(character) >= 0x300 and not 0x2000 <= ord(character) < 0x2C00 for character in text)
    if not foreign or foreign < 0.2 * len(text):
        return re.findall(r"\w+", text)
    words = [""]
    for character in text:
        is_inside = character.isalnum() or character == "_" or is_mark(character)
        is_apart = words[-1] and is_unspaced(words[-1][0]) and not is_mark(character)
        if is_unspaced(character) or is_apart or not is_inside:
            words.append("")
        if is_inside:
            words[-1] += character
    return list(filter(None, words))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50), st.sampled_from([16, 128, 500]), st.integers(0, 9))
@settings(deadline=None)
def test_signatures_are_those_of_datasketch(hashes: list[int], permutations: int, seed: int) -> None:
    reference = MinHash(num_perm=permutations, seed=seed, hashfunc=int)
    reference.update_batch(hashes)
    ours = signature(np.array(hashes, np.uint32), DuplicateOptions(permutations=permutations, seed=seed))
    assert np.array_equal(ours, reference.hashvalues)


def test_a_signature_of_a_long_text_is_that_of_its_parts_together() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**32, 10_000, np.uint32)
    parts = [signature(part, DuplicateOptions()) for part in np.split(hashes, [10, 4_096, 8_200])]
    assert np.array_equal(signature(hashes, DuplicateOptions()), np.min(parts, axis=0))


@given(st.text(), st.integers(1, 6))
@example(TEXT, 5)
@example("ab c a bc abc ab c", 1)
@example("東京の夏、x9東 ab", 2)
@example("हिन्दी में लिखा हुआ", 2)
@example("ที่นี่มีน้ำ ab ทที่", 3)
@example("a\u0301 \u0301b", 1)
@settings(deadline=None)
def test_shingles_have_the_same_hash_where_their_words_are_the_same(text: str, size: int) -> None:
    words = plain_words(text)
    if not words or re.search("[\u00ad\u200b-\u200f\u2060\ufeff]", text):
        return  # the next tests
    size = min(size, len(words))
    shingles = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    hashes = shingle_hashes(normalise(text), size).tolist()
    assert len(hashes) == len(shingles)
    assert len(set(zip(shingles, hashes, strict=True))) == len(set(shingles)) == len(set(hashes))


def test_a_shingle_has_the_same_hash_wherever_it_stands() -> None:
    text = "It was the best of"
    alone = shingle_hashes(normalise(text), 5)
    for before in (1, 70_000):  # letters; for long texts the hash takes powers that are not kept
        assert np.isin(alone, shingle_hashes(normalise(f"{'x' * before} {text} {'y ' * 5}"), 5)).all()


def test_a_hundred_thousand_shingles_hardly_ever_share_a_hash() -> None:
    text = " ".join(f"page {number} of" for number in range(40_000))
    hashes = shingle_hashes(normalise(text), 5)
    # of n = 119,996 hashes of 32 bits, n² / 2 / 2^32 = 1.7 pairs share one by chance
    assert len(set(hashes.tolist())) > len(hashes) - 12


@pytest.mark.parametrize(
    "same",
    [
        TEXT.upper(),
        TEXT.replace(",", " --").replace(" ", "\n\n"),
        unicodedata.normalize("NFD", TEXT),
        TEXT.replace("worst", "wor\u00adst").replace("best", "be\u200bst"),
        TEXT.replace("2", "\uff12").replace("\u2019", "'"),
        f"  {TEXT}\t",
    ],
)
def test_exact_duplicates_have_the_same_words(same: str) -> None:
    assert exact_key(normalise(same)) == exact_key(normalise(TEXT))


@pytest.mark.parametrize(
    "other",
    [TEXT.replace("best", "worst"), TEXT.replace("n\u2019est", "nest"), TEXT + " x", TEXT[:-2], "", "!"],
)
def test_other_words_make_another_text(other: str) -> None:
    assert exact_key(normalise(other)) != exact_key(normalise(TEXT))


def test_order_of_words_tells_documents_apart() -> None:
    one, other = (shingle_hashes(normalise(text), 5) for text in ("a b c d e", "e d c b a"))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("text", ["", "one", "one two", "   ", ".", "☃ ☃", "\udc80"])
def test_texts_shorter_than_a_shingle_have_one_hash(text: str) -> None:
    assert len(shingle_hashes(normalise(text), 5)) == 1


def test_texts_without_a_word_differ_by_their_characters() -> None:
    assert len({exact_key(normalise(text)) for text in ("", " \n ", "!", "?", "! ?", "!?")}) == 4


@pytest.mark.parametrize(
    "wrong", [{"similarity": 0.0}, {"similarity": 1.5}, {"shingle_words": 0}, {"permutations": 5}]
)
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        DuplicateOptions(**wrong)  # type: ignore[arg-type]
