"""MinHash signatures of documents: how alike two texts are, estimated from a few hundred bytes each.

Broder, "On the resemblance and containment of documents" (1997). The signature is datasketch's, value
for value. Words, shingles and permutations are computed in NumPy, because Python would do nothing else:
no loop over words or shingles is left.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.dedup.letters import Letters, code_points, fold, span_hashes, word_letters, word_spans
from pipeline.filters.scripts import apart

LEAST_OTHER_SHARE = 0.2
"""Share of a text's characters in other scripts from which on it is read as theirs are. An English text with
words of Chinese or Hindi in it has less, and keeps the signature that it always had."""
_SHINGLES_AT_ONCE = 4096  # 2 MB of permuted hashes: they stay in the cache


@dataclass(frozen=True, kw_only=True)
class DuplicateOptions:
    """When two documents count as the same."""

    similarity: float = 0.8
    """Jaccard similarity, in (0, 1], of the shingles of two near-duplicates. The bands follow from it."""
    shingle_words: int = 5
    """Words in a shingle, or letters where a script has no spaces between words."""
    permutations: int = 128
    """Values in a signature: four times as many halve the error of the estimated similarity."""
    seed: int = 1
    """Of the permutations."""

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise ValueError(f"similarity must lie in (0, 1], not {self.similarity}")
        if self.shingle_words < 1:
            raise ValueError(f"shingle words must be 1 or more, not {self.shingle_words}")
        if not 16 <= self.permutations <= 512:
            raise ValueError(f"permutations must be 16 to 512, not {self.permutations}")


def normalise(text: str) -> Letters:
    """Return a text's words: what is the same in two exact duplicates.

    Unicode's compatibility forms (NFKC), case, soft hyphens and other invisible characters, white space
    and punctuation do not count. A word is a run of letters, digits and underscores; a text
    without any is taken for one word.

    Where much is in other scripts than ours, marks belong to words, and of scripts without spaces each
    letter is one: so that shingles are of letters there.
    """
    text = fold(text)
    points = code_points(f"{text} ")
    if other := _is_in_other_scripts(points):
        points = code_points(f"{apart(text)} ")
    letters, ends = word_letters(points, underscore=True, marks=other)
    if not len(ends):
        letters = code_points("".join(text.split()) + "\0")
    return letters.astype(np.uint32)


def _is_in_other_scripts(points: Letters) -> bool:
    """Say whether a good part of a text, which a space follows, is beyond Latin letters and symbols."""
    if points.dtype == np.uint8:
        return False
    least = max(1, LEAST_OTHER_SHARE * (len(points) - 1))
    other = np.count_nonzero(points >= 0x300)
    if other < least:
        return False
    return bool(other - np.count_nonzero((points >= 0x2000) & (points < 0x2C00)) >= least)


def exact_key(letters: Letters) -> bytes:
    """Return 128 bits that two texts share only if they are exact duplicates."""
    return xxhash.xxh3_128_digest(letters.tobytes())


def shingle_hashes(letters: Letters, words: int) -> npt.NDArray[np.uint32]:
    """Return the 32-bit hashes of a text's word n-grams, in their order, [shingles].

    A text of fewer words than one shingle has one hash, of all its words.
    """
    starts, ends = word_spans(letters)
    size = min(words, len(ends))
    hashes = span_hashes(letters, starts[: len(ends) - size + 1], ends[size - 1 :])  # [shingles]
    return (hashes >> np.uint64(32)).astype(np.uint32)


def signature(hashes: npt.NDArray[np.uint32], options: DuplicateOptions) -> npt.NDArray[np.uint32]:
    """Return the MinHash signature of a set of hashes, [permutations]: that of datasketch's `MinHash`."""
    factors, summands = _permutations(options.permutations, options.seed)
    mixed = _finalise(hashes)
    least = np.full(options.permutations, 2**32 - 1, np.uint32)
    for start in range(0, len(mixed), _SHINGLES_AT_ONCE):
        permuted = factors * mixed[start : start + _SHINGLES_AT_ONCE]  # [permutations, shingles], mod 2^32
        permuted += summands
        np.minimum(least, permuted.min(axis=1), out=least)
    return least


def _finalise(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """MurmurHash3's finaliser, which datasketch's "affine32" scheme begins with."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


@cache
def _permutations(count: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Return the factors and summands of datasketch's permutations, [permutations, 1] each."""
    from datasketch import MinHash

    factors, summands = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return factors[:, None], summands[:, None]
