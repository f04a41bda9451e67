"""In how many documents of its domain a paragraph stands: exact, in memory that does not grow with them.

A row is (domain, paragraph, document), 64 bits of each. The paragraph `DOCUMENT` stands for the document
itself, so that a domain's documents are counted as if all had it. A document that is there twice counts once.
Only hashes are compared: the chance that two paragraphs of a domain are taken for one is 1 in 2^62 a pair.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.boilerplate.paragraphs import DOCUMENT, WHERE
from pipeline.boilerplate.runs import Rows, begins

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Some paragraphs, in their order, [paragraphs] each."""

    domain: npt.NDArray[np.uint64]
    paragraph: npt.NDArray[np.uint64]
    documents: Numbers
    """That have it."""
    of: Numbers
    """All documents of the domain."""


def frequent(pieces: Iterable[Rows], least_documents: int, least_share: float) -> Iterator[Counted]:
    """Yield the paragraphs that many documents of their domain have.

    Args:
        pieces: rows in order, each once.
        least_documents: that have the paragraph.
        least_share: of the domain's documents, 0 to 1, that these are; not asked of "begun anew", which
            is only looked up for what is frequent at the end.
    """
    for found in _counted(pieces):
        share = found.documents / np.maximum(found.of, 1)
        evidence = (found.paragraph & np.uint64(3)) == WHERE.index("begun anew") + 1
        many = (found.documents >= least_documents) & ((share >= least_share) | evidence)
        many &= found.paragraph != DOCUMENT
        yield Counted(found.domain[many], found.paragraph[many], found.documents[many], found.of[many])


def _counted(pieces: Iterable[Rows]) -> Iterator[Counted]:
    """Count the documents of all paragraphs; the last one of a piece may go on in the next."""
    held = np.empty((2, 0), np.uint64)  # that one's domain and paragraph
    documents, of = np.empty(0, np.int64), np.empty(0, np.int64)  # what is known of it
    for piece in pieces:
        keys = np.concatenate([held, piece[:2]], axis=1)
        weights = np.concatenate([documents, np.ones(piece.shape[1], np.int64)])
        starts = np.flatnonzero(begins(keys))
        keys, counts = keys[:, starts], np.add.reduceat(weights, starts)
        totals = _of_domains(keys[1], counts, int(of[0]) if len(of) else 0)
        yield Counted(keys[0, :-1], keys[1, :-1], counts[:-1], totals[:-1])
        held, documents, of = keys[:, -1:], counts[-1:], totals[-1:]
    yield Counted(held[0], held[1], documents, of)


def _of_domains(paragraphs: npt.NDArray[np.uint64], counts: Numbers, before: int) -> Numbers:
    """Return the number of documents of each paragraph's domain: the count of `DOCUMENT` before it."""
    place = np.maximum.accumulate(np.where(paragraphs == DOCUMENT, np.arange(len(paragraphs)), -1))
    return np.where(place >= 0, counts[place], before)
