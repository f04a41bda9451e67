"""The 8-grams of texts, as numbers: what the overlap of an evaluation set with a corpus is counted in.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 4: 8-grams of strings
"normalized to contain only lower-cased alphanumeric words with a single space as a delimiter". Here a word
is a run of letters and digits after `letters.fold`, so that "John 's @-@" of a tokenised set and "John’s -"
of the web are the same words. Marks belong to words; of scripts without spaces each letter is one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.dedup.letters import Letters, Places, code_points, fold, span_hashes, word_letters, word_spans
from pipeline.filters.scripts import apart

WORDS = 8
CHARACTERS_AT_ONCE = 2**16  # of short texts: their arrays stay in the cache

Hashes = npt.NDArray[np.uint64]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Grams:
    """The 8-grams of some texts, one text after another.

    The hash has 64 bits: an 8-gram that is not among the N of a corpus is found there all the same with a
    chance of N / 2^64, which is 4e-10 for the 8 thousand million of 40 GB.
    """

    hashes: Hashes  # [grams], in the order of the text
    sizes: Places  # [texts]: 8-grams of each; a text of n words has n - 7, or none


def grams_of(texts: Sequence[str]) -> Grams:
    """Return the 8-grams of some texts."""
    folded = [apart(fold(text)) for text in texts]
    letters, ends = word_letters(code_points("\n".join([*folded, ""])), underscore=False, marks=True)
    text_ends = np.cumsum([len(text) + 1 for text in folded])
    words = np.diff(np.searchsorted(ends, text_ends), prepend=0)  # [texts]
    owner = np.repeat(np.arange(len(texts)), words)  # [words]
    within = owner[: 1 - WORDS] == owner[WORDS - 1 :]  # no 8-gram begins in one text and ends in another
    return Grams(_hash(letters, within), np.maximum(words - (WORDS - 1), 0))


def grams_of_pieces(pieces: Iterable[str]) -> Iterator[Hashes]:
    """Yield the 8-grams of one long text that comes in pieces, each cut at white space."""
    held: Letters = np.zeros(0, np.uint8)  # the last words before the piece, which 8-grams begin in
    for piece in pieces:
        letters, _ = word_letters(code_points(f"{apart(fold(piece))}\n"), underscore=False, marks=True)
        letters = np.concatenate([held, letters])
        starts, _ = word_spans(letters)
        yield _hash(letters)
        held = letters[starts[max(0, len(starts) - (WORDS - 1))] :] if len(starts) else letters


def _hash(letters: Letters, wanted: npt.NDArray[np.bool_] | slice = slice(None)) -> Hashes:
    """Return the hashes of all runs of 8 words, [words - 7], or of those that are wanted."""
    starts, ends = word_spans(letters)
    return mix(span_hashes(letters, starts[: 1 - WORDS][wanted], ends[WORDS - 1 :][wanted]))


def mix(values: Hashes) -> Hashes:
    """Spread each value over all 64 bits, one to one: the finaliser of MurmurHash3."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def in_batches(items: Iterable[Item], characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Gather what is to be read together: as many items as have some thousands of words, or a long one."""
    batch: list[Item] = []
    total = 0
    for item in items:
        size = characters(item)
        if batch and total + size > CHARACTERS_AT_ONCE:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
