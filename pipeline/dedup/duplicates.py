"""From signatures to clusters of near-duplicates: compared within buckets, joined where they pass.

A bucket holds the documents that agree in one band. The clusters are the connected components of all
pairs that share a bucket and pass, so that of A like B like C one document stays, however unlike A and C
are. One thing is left out, to keep the cost linear where a million pages of one kind share a bucket:
in a bucket of more than `LEADERS` different signatures, only pairs with one of the first `LEADERS` are
compared. They come in the order of their content, so that nothing depends on the order of the documents,
the partitions or the workers.

All of it on arrays, a band at a time: 20 million documents are 160 MB a column, and the sketches are
mapped from disk. Here a document is its number, from 0.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.dedup.bands import Bands

Numbers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

LEADERS = 64  # of a bucket, with which all others are compared
PAIRS_AT_ONCE = 2**16


class Sketches:
    """The sketches of all documents, which lie in several arrays, [documents, permutations] each."""

    def __init__(self, parts: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def rows(self, documents: Numbers) -> npt.NDArray[np.uint8]:
        """Return the sketches of some documents, [documents, permutations]."""
        rows = np.empty((len(documents), self._parts[0].shape[1]), np.uint8)
        where = np.searchsorted(self._ends, documents, side="right")
        for number in np.unique(where):
            part, here = self._parts[number], where == number
            rows[here] = part[documents[here] - (self._ends[number] - len(part))]
        return rows

    def agreeing(self, some: Numbers, others: Numbers) -> Numbers:
        """Return in how many values the documents of each pair agree, [pairs]."""
        counts = np.empty(len(some), np.int64)
        for start in range(0, len(some), PAIRS_AT_ONCE):
            piece = slice(start, start + PAIRS_AT_ONCE)
            same = self.rows(some[piece]) == self.rows(others[piece])
            counts[piece] = same.sum(axis=1, dtype=np.uint16)
        return counts


class Components:
    """Documents that hang together: a forest in which every tree leads to its smallest number."""

    def __init__(self, documents: int) -> None:
        self._parent = np.arange(documents)

    def roots(self, documents: Numbers) -> Numbers:
        """Return the smallest number that each document hangs together with."""
        found = self._parent[documents]
        while not np.array_equal(above := self._parent[found], found):
            found = above
        self._parent[documents] = found
        return found

    def join(self, some: Numbers, others: Numbers) -> None:
        """Let the documents of each pair hang together."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        nodes, ends = np.unique(
            np.concatenate([self.roots(some), self.roots(others)]), return_inverse=True
        )  # the roots that are touched, from the smallest
        edges = (np.ones(len(some), np.bool_), (ends[: len(some)], ends[len(some) :]))
        _, label = connected_components(coo_array(edges, shape=(len(nodes), len(nodes))), directed=False)
        _, first = np.unique(label, return_index=True)
        self._parent[nodes] = nodes[first[label]]

    def matches(self) -> Numbers:
        """Return what says all of it: each document that is not its own root, with the root, [matches, 2]."""
        everyone = np.arange(len(self._parent))
        roots = self.roots(everyone)
        changed = np.flatnonzero(roots != everyone)
        return np.stack([changed, roots[changed]], axis=1)


def match(
    digests: Keys, band_keys: Iterable[Keys], sketches: Sketches, bands: Bands, components: Components
) -> None:
    """Join the near-duplicates among documents, as far as these bands bring them together.

    Args:
        digests: of whole signatures, [documents].
        band_keys: for each band, [documents].
        sketches: of all documents.
        bands: how many values must agree.
        components: what is joined there already is not compared again.
    """
    distinct = _distinct(digests, components)
    for keys in band_keys:
        for leaders, followers in _pairs(keys[distinct], digests[distinct], distinct, components):
            passed = sketches.agreeing(leaders, followers) >= bands.least_agreeing
            components.join(leaders[passed], followers[passed])


def _distinct(digests: Keys, components: Components) -> Numbers:
    """Join the documents of the same signature, and return one of each: a million copies are one."""
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(digests)))
    components.join(copies, first[group[copies]])
    return np.sort(first)


def _pairs(
    keys: Keys, digests: Keys, documents: Numbers, components: Components
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield arrays of pairs to compare: the leaders of all buckets, turn by turn, with those after them.

    What was joined in one turn need not be compared in the next.
    """
    order = np.argsort(keys)
    order = order[_in_company(keys[order])]
    order = order[np.lexsort((digests[order], keys[order]))]
    members, bucket = documents[order], keys[order]
    for _ in range(LEADERS):
        if not len(members):
            return
        first = np.ones(len(members), np.bool_)
        first[1:] = bucket[1:] != bucket[:-1]
        leaders = members[first][np.cumsum(first) - 1]
        leaders, members, bucket = leaders[~first], members[~first], bucket[~first]
        apart = components.roots(leaders) != components.roots(members)
        yield leaders[apart], members[apart]
        open_ = _open(bucket, components.roots(members))
        members, bucket = members[open_], bucket[open_]


def _in_company(ordered: Keys) -> npt.NDArray[np.bool_]:
    """For each of some keys in order, whether it is there more than once."""
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(ordered), np.bool_)
    shared[1:] = same
    shared[:-1] |= same
    return shared


def _open(bucket: Keys, roots: Numbers) -> npt.NDArray[np.bool_]:
    """For each member, whether not all members of its bucket hang together yet."""
    if not len(bucket):
        return np.empty(0, np.bool_)
    starts = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1]]))
    is_open = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
    return np.repeat(is_open, np.diff(starts, append=len(bucket)))
