"""A text as numbers: its words' letters, and hashes of runs of words, without a loop over either.

Python would do nothing but loop over words; NumPy does it a text at a time. What counts as a letter is
the caller's to say.
"""

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.filters.scripts import marks_of_words

Letters = npt.NDArray[np.unsignedinteger]  # [letters]: code points, each word followed by a zero
Places = npt.NDArray[np.int64]

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens and the like, within words
_BASE = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: odd, so that it has an inverse mod 2^64
_USUAL_LETTERS = 2**17  # of a document, or of some that are read together: the powers for that many are kept


def fold(text: str) -> str:
    """Return a text without what tells no words apart: compatibility forms (NFKC), the invisible, case."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return text.casefold()


def code_points(text: str) -> Letters:
    """Return a text's code points, [characters], in the narrowest type that holds them: much is ASCII."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    units = text.encode("utf-16-le", "surrogatepass")
    if len(units) == 2 * len(text):  # else some are beyond 16 bits
        return np.frombuffer(units, np.uint16)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def word_letters(points: Letters, *, underscore: bool, marks: bool) -> tuple[Letters, Places]:
    """Return the letters of all words, and the place of the character after each word, [words].

    A word is a run of letters and digits (with `underscore`, of what `\\w` means; with `marks`, of Unicode's
    marks too, which are vowels in India); the last character of `points` must belong to none.
    """
    inside = _word_characters(underscore, marks and points.dtype != np.uint8)[points]
    after = np.zeros_like(inside)
    after[1:] = inside[:-1] & ~inside[1:]
    return (points * inside)[inside | after], np.flatnonzero(after)


def word_spans(letters: Letters) -> tuple[Places, Places]:
    """Return where in the letters each word begins, and where its zero is, [words] each."""
    ends = np.flatnonzero(letters == 0)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    return starts, ends


@cache
def _word_characters(underscore: bool, marks: bool) -> npt.NDArray[np.bool_]:
    """For each code point, whether it can be part of a word."""
    if marks:
        characters = _word_characters(underscore, False).copy()
        characters[[ord(mark) for mark in marks_of_words()]] = True
        return characters
    points = np.arange(0x110000, dtype=np.uint32)
    characters = np.strings.isalnum(points.view("U1"))
    characters[ord("_")] = underscore
    return characters


def span_hashes(letters: Letters, first: Places, last: Places) -> npt.NDArray[np.uint64]:
    """Return a hash of the letters from each of `first` to before each of `last`, [spans].

    It is a polynomial in the letters mod 2^64, of which the upper bits are the better: a difference of two
    prefix sums, brought back to the power at which the span begins (Karp and Rabin, 1987).
    """
    powers, inverses = _usual_powers() if len(letters) <= _USUAL_LETTERS else _powers(len(letters))
    sums = np.cumsum(letters * powers[: len(letters)])  # [letters]; a zero adds nothing
    before = sums[first] - letters[first] * powers[first]
    hashes: npt.NDArray[np.uint64] = (sums[last] - before) * inverses[first]
    return hashes


@cache
def _usual_powers() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return _powers(_USUAL_LETTERS)


def _powers(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the powers 1, 2, … of the polynomial's base mod 2^64, and the inverses of powers 0, 1, …"""
    powers = np.multiply.accumulate(np.full(count, _BASE, np.uint64))
    inverses = np.full(count, pow(_BASE, -1, 2**64), np.uint64)
    inverses[0] = 1
    return powers, np.multiply.accumulate(inverses)
