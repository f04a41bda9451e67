"""Which documents of one corpus have a near-duplicate in the other, band by band, whatever their order.

As for duplicates within a corpus (`pipeline/dedup/duplicates.py`), documents that agree in a band share a
bucket, a pair passes if enough of the values of both signatures agree, and one thing is left out to keep the
cost linear: of a bucket with more than `LEADERS` different texts of a side, the first `LEADERS` in the order
of their content are compared with the other side's documents. Every choice is made by content, so nothing
depends on the order of the documents, the files or the workers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.compare.signatures import EXACT, PLACE
from pipeline.dedup.bands import Bands
from pipeline.dedup.duplicates import LEADERS, Keys, Numbers, Sketches

NONE = -1


@dataclass(frozen=True)
class Matches:
    """For documents of either side the one on the other side that was found first."""

    partner: Numbers  # [documents], NONE where there is none
    agreeing: Numbers  # [documents], values that agree in both signatures

    def table(self) -> Numbers:
        """Return what is known, [matches, 3]: document, partner, values that agree."""
        found = np.flatnonzero(self.partner != NONE)
        return np.stack([found, self.partner[found], self.agreeing[found]], axis=1)


def match_across(
    keys: Keys, first: int, band_keys: Iterable[Keys], sketches: Sketches, bands: Bands
) -> Matches:
    """Match the documents of two corpora, as far as these bands bring them together.

    Args:
        keys: exact key and place of each document, [documents, at least 2].
        first: how many of them are of the first corpus; they stand before those of the other.
        band_keys: for each band, [documents].
        sketches: of all documents.
        bands: how many values must agree.
    """
    found = Matches(np.full(len(keys), NONE), np.zeros(len(keys), np.int64))
    originals = _originals(keys, first)
    sides = [np.unique(part) for part in (originals[:first], originals[first:])]
    _match_exact(sides, keys, found, bands)
    for band in band_keys:
        some, others = (_in_buckets(side, band, keys) for side in sides)
        for members, leaders in ((others, some), (some, others)):
            for ours, theirs in _pairs(members, leaders, found):
                agreeing = sketches.agreeing(ours, theirs)
                passed = agreeing >= bands.least_agreeing
                _note(found, ours[passed], theirs[passed], agreeing[passed])
    return Matches(found.partner[originals], found.agreeing[originals])


def _originals(keys: Keys, first: int) -> Numbers:
    """Return for each document the one that stands for all of its side with the same words, [documents].

    It is the one with the smallest place: a million copies are compared once.
    """
    documents = np.arange(len(keys))
    order = np.lexsort((keys[:, PLACE], keys[:, EXACT], documents >= first))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = keys[order[1:], EXACT] != keys[order[:-1], EXACT]
    is_first[first : first + 1] = True  # the other side begins
    originals = np.empty(len(order), np.int64)
    originals[order] = order[is_first][np.cumsum(is_first) - 1]
    return originals


def _match_exact(sides: list[Numbers], keys: Keys, found: Matches, bands: Bands) -> None:
    """Match the documents with the same words."""
    some, others = (keys[side, EXACT] for side in sides)
    _, here, there = np.intersect1d(some, others, assume_unique=True, return_indices=True)
    ours, theirs = sides[0][here], sides[1][there]
    found.partner[ours], found.partner[theirs] = theirs, ours
    found.agreeing[ours] = found.agreeing[theirs] = bands.permutations


@dataclass(frozen=True)
class _Buckets:
    """Documents of one side in the order of their band key, then of their words."""

    documents: Numbers
    bucket: Keys  # [documents]


def _in_buckets(side: Numbers, band: Keys, keys: Keys) -> _Buckets:
    order = np.lexsort((keys[side, EXACT], band[side]))
    return _Buckets(side[order], band[side][order])


def _pairs(members: _Buckets, leaders: _Buckets, found: Matches) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield arrays of pairs to compare: members, and the other side's leaders of their buckets turn by turn.

    What was matched in one turn is not compared in the next.
    """
    begin = np.searchsorted(leaders.bucket, members.bucket, side="left")
    end = np.searchsorted(leaders.bucket, members.bucket, side="right")
    ours = members.documents
    for turn in range(LEADERS):
        open_ = (begin + turn < end) & (found.partner[ours] == NONE)
        if not open_.any():
            return
        ours, begin, end = ours[open_], begin[open_], end[open_]
        yield ours, leaders.documents[begin + turn]


def _note(found: Matches, ours: Numbers, theirs: Numbers, agreeing: Numbers) -> None:
    """Write down pairs that passed, on both sides; of several for one leader, the first."""
    found.partner[ours], found.agreeing[ours] = theirs, agreeing
    leaders, where = np.unique(theirs, return_index=True)
    is_new = found.partner[leaders] == NONE
    leaders, where = leaders[is_new], where[is_new]
    found.partner[leaders], found.agreeing[leaders] = ours[where], agreeing[where]
