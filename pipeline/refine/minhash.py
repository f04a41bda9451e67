"""MinHash signatures of documents: how alike two texts are, told from a few hundred bytes each.

Broder, "On the resemblance and containment of documents" (1997). The signature is datasketch's; the
shingling is ours, because it dominates the cost: each word is hashed once, and the hashes of the
5-word shingles are rolled from those in NumPy.
"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import xxhash

_WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: odd, so that no bit of a hash is lost


@dataclass(frozen=True, kw_only=True)
class DuplicateOptions:
    """When two documents count as the same."""

    similarity: float = 0.7
    """Least estimated Jaccard similarity of the shingles of two near-duplicates, 0 to 1."""
    shingle_words: int = 5
    """Words in a shingle."""
    bands: int = 25
    """Documents that share all rows of any one band are compared: 25 bands of 5 rows bring 99 % of the
    pairs at similarity 0.7 together, 55 % at 0.5, 6 % at 0.3."""
    rows: int = 5
    """Rows in a band; the signature has bands x rows values."""
    seed: int = 1
    """Of the permutations."""

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise ValueError(f"similarity must lie in (0, 1], not {self.similarity}")
        if min(self.shingle_words, self.bands, self.rows) < 1:
            raise ValueError("shingle words, bands and rows must be 1 or more")


def shingle_hashes(text: str, words: int) -> npt.NDArray[np.uint32]:
    """Return the distinct 32-bit hashes of a text's word n-grams, lower-cased, without punctuation.

    A text of fewer words than one shingle has one hash, of all its words.
    """
    tokens = _WORD.findall(text.lower())
    hashed: dict[str, int] = {}
    for token in tokens:
        if token not in hashed:
            hashed[token] = xxhash.xxh3_64_intdigest(token.encode())
    sequence = np.fromiter((hashed[token] for token in tokens), np.uint64, len(tokens))
    size = min(words, len(sequence))
    rolled = np.zeros(len(sequence) - size + 1 if size else 1, np.uint64)
    for offset in range(size):  # Horner's rule over the shingle's words, for all shingles at once, mod 2^64
        rolled = rolled * MULTIPLIER + sequence[offset : offset + len(rolled)]
    return np.unique((rolled >> np.uint64(32)).astype(np.uint32))


def signature(text: str, options: DuplicateOptions) -> npt.NDArray[np.uint32]:
    """Return a document's MinHash signature, [bands x rows]."""
    minhash = _prototype(options.bands * options.rows, options.seed).copy()
    minhash.update_batch(shingle_hashes(text, options.shingle_words).tolist())
    return minhash.hashvalues  # type: ignore[no-any-return]


@cache
def _prototype(permutations: int, seed: int):  # type: ignore[no-untyped-def]  # datasketch has no types
    """An empty MinHash: drawing the permutations is most of its cost, copying it costs little."""
    from datasketch import MinHash

    return MinHash(num_perm=permutations, seed=seed, hashfunc=int)
