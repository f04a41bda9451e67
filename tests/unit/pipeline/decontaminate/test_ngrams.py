"""8-grams of numbers stand for 8-grams of words: as many, in the same order, the same where the words are."""

import itertools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.decontaminate.ngrams import CHARACTERS_AT_ONCE, grams_of, grams_of_pieces, in_batches

# Letters of scripts without spaces are words of their own, and marks belong to words.
# few letters, so that words and runs of words come again; with all that separates, joins or vanishes
TEXTS = st.text(st.sampled_from("aab_B' \n\t.é½İ\u0301\u00ad\U00010330中1"), max_size=80)


def plain_grams(text: str) -> list[str]:
    """The 8-grams of a text as strings, by regular expression."""
    visible = re.sub("[\u00ad\u200b-\u200f\u2060\ufeff]", "", unicodedata.normalize("NFKC", text))
    spaced = re.sub("(中[\u0301\u0307]*)", r" \1 ", visible.casefold())
    words = re.findall("(?:[^\\W_]|[\u0301\u0307])+", spaced)
    return [" ".join(words[start : start + 8]) for start in range(len(words) - 7)]


@given(st.lists(TEXTS, max_size=6))
@example(["a b c d e f g h", "", "i", "B C D e f g h i-j"])
@example(["中中1中中a\u0301a", "中\u0301中\u0301 中中中_中中中中"])
def test_hashes_are_the_same_exactly_where_the_words_are(texts: Sequence[str]) -> None:
    grams = grams_of(texts)
    plain = [plain_grams(text) for text in texts]
    assert grams.sizes.tolist() == [len(of_text) for of_text in plain]
    strings = [gram for of_text in plain for gram in of_text]
    pairs = set(zip(strings, grams.hashes.tolist(), strict=True))
    assert len(pairs) == len(set(strings)) == len(set(grams.hashes.tolist()))


@given(TEXTS.map(lambda text: f"{text} a b c d e f g h i j k"), st.data())
def test_a_text_in_pieces_has_the_8_grams_of_the_whole(text: str, data: st.DataObject) -> None:
    blanks = [place + 1 for place, character in enumerate(text) if character in " \n"]
    cuts = sorted(data.draw(st.sets(st.sampled_from(blanks))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert np.concatenate(list(grams_of_pieces(pieces))).tolist() == grams_of([text]).hashes.tolist()


@pytest.mark.parametrize(
    ("tokenised", "written"),
    [
        (
            "the U.S. 's 1 @,@ 000 well @-@ known men did n't <unk>",
            "The U.S.’s 1,000 well-known men did n't “unk”",
        ),
        ("It cost $ 5 or 6 % more , he said .", "it cost $5 or 6% more, he said."),
    ],
)
def test_a_tokenised_set_has_the_8_grams_of_the_text_it_was_made_from(tokenised: str, written: str) -> None:
    one, other = grams_of([tokenised]).hashes, grams_of([written]).hashes
    assert len(one) > 0
    assert one.tolist() == other.tolist()


def test_an_8_gram_has_the_same_hash_wherever_it_stands() -> None:
    alone = grams_of(["one two three four five six seven eight"]).hashes
    for before in (1, 200_000):  # letters; for long texts the hash takes powers that are not kept
        text = f"{'x' * before} one two three four five six seven eight \U00010330"
        assert grams_of(["short", text]).hashes[1] == alone


def test_a_quarter_of_a_million_8_grams_share_no_hash_and_use_all_bits() -> None:
    text = " ".join(f"page {number} of" for number in range(84_000))
    hashes = grams_of([text]).hashes
    # of n = 251,993 hashes of 64 bits, n² / 2 / 2^64 = 2e-9 pairs share one by chance
    assert len(np.unique(hashes)) == len(hashes) == 251_993
    set_share = np.unpackbits(hashes.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.all(np.abs(set_share - 0.5) < 6 * 0.5 / len(hashes) ** 0.5)


@given(st.lists(st.sampled_from([0, 1, 30_000, CHARACTERS_AT_ONCE, 200_000]), max_size=9))
def test_batches_hold_everything_in_order_and_are_small_unless_one_item_is_large(sizes: list[int]) -> None:
    batches = list(in_batches(sizes, lambda size: size))
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= CHARACTERS_AT_ONCE for batch in batches)
    assert all(sum(batch) + after[0] > CHARACTERS_AT_ONCE for batch, after in itertools.pairwise(batches))
