"""Near-duplicates in a list of texts in memory; `stages.py` finds them in a corpus of any size."""

from collections.abc import Sequence

import numpy as np

from pipeline.dedup.bands import Bands, digests, sketches
from pipeline.dedup.duplicates import Components, Sketches, match
from pipeline.dedup.minhash import DuplicateOptions, normalise, shingle_hashes, signature


def find_duplicates(texts: Sequence[str], options: DuplicateOptions | None = None) -> list[int]:
    """Return for each text the index of the first one that it is a near-duplicate of: its own if of none.

    Near-duplicates of one text form a cluster, also where two of them are less alike than `similarity`.
    """
    options = options or DuplicateOptions()
    if not texts:
        return []
    signatures = np.stack(
        [signature(shingle_hashes(normalise(text), options.shingle_words), options) for text in texts]
    )  # [texts, permutations]
    bands, components = Bands.of(options), Components(len(texts))
    match(digests(signatures), bands.keys(signatures), Sketches([sketches(signatures)]), bands, components)
    first: list[int] = components.roots(np.arange(len(texts))).tolist()
    return first
