"""From signatures to survivors: candidates by band, compared, clustered; one document of each stays.

All of it on arrays, a band at a time: 20 million documents are 80 MB a column, and the signatures may
be a memory map. Nothing depends on the order of the documents: which one stays is decided by karma,
then length, then id.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.refine.minhash import MULTIPLIER, DuplicateOptions

Signatures = npt.NDArray[np.uint32]  # [documents, bands x rows]


@dataclass(frozen=True)
class Clusters:
    """For each document the one that stays in its stead (itself if it stays), and how alike the two are."""

    keeper: npt.NDArray[np.int64]  # [documents]
    similarity: npt.NDArray[np.float32]  # [documents], estimated Jaccard, 1.0 for a keeper


def cluster(signatures: Signatures, rank: npt.NDArray[np.int64], options: DuplicateOptions) -> Clusters:
    """Find near-duplicates among documents.

    Args:
        signatures: [documents, bands x rows].
        rank: [documents], a permutation of 0..documents-1; of a cluster, the lowest rank stays.
        options: bands, rows and the least similarity of a pair.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    documents = len(signatures)
    pairs = list(_pairs(signatures, rank, options))
    edges = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)  # [edges, 2]
    graph = coo_array(
        (np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(documents, documents)
    )
    _, component = connected_components(graph, directed=False)  # [documents]
    best = np.full(documents, -1, np.int64)  # [components]: the lowest-ranking document of each
    by_rank_descending = np.argsort(-rank)
    best[component[by_rank_descending]] = by_rank_descending  # the last one written stays
    keeper = best[component]
    similarity = np.ones(documents, np.float32)
    removed = np.flatnonzero(keeper != np.arange(documents))
    similarity[removed] = [np.mean(signatures[i] == signatures[keeper[i]]) for i in removed]
    return Clusters(keeper, similarity)


def _pairs(
    signatures: Signatures, rank: npt.NDArray[np.int64], options: DuplicateOptions
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield arrays [pairs, 2] of documents that share a band and are similar enough."""
    for band in range(options.bands):
        key = np.zeros(len(signatures), np.uint64)  # [documents], a hash of the band's rows
        for row in range(band * options.rows, (band + 1) * options.rows):
            key = key * MULTIPLIER + signatures[:, row]
        _, bucket, sizes = np.unique(key, return_inverse=True, return_counts=True)
        order = np.lexsort((rank, bucket))  # by bucket, the best document of each first
        ends = np.cumsum(sizes)
        for index in np.flatnonzero(sizes > 1):
            members = order[ends[index] - sizes[index] : ends[index]]
            yield from _similar_within(signatures, members, options.similarity)


def _similar_within(
    signatures: Signatures, members: npt.NDArray[np.int64], similarity: float
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the pairs of one bucket: each document with the first earlier one that it is similar to.

    Comparing with leaders only keeps a bucket of n copies at n comparisons, not n squared.
    """
    while len(members) > 1:
        leader, members = members[0], members[1:]
        alike = np.mean(signatures[members] == signatures[leader], axis=1) >= similarity
        found = members[alike]
        if len(found):
            yield np.stack([np.full(len(found), leader), found], axis=1)
        members = members[~alike]
