"""How far apart two corpora are in their words: shares, and the Jensen-Shannon distance.

Lin, "Divergence measures based on the Shannon entropy" (1991). The divergence of two distributions P and Q
with the mean M is (KL(P‖M) + KL(Q‖M)) / 2; with logarithms to base 2 it lies between 0 and 1 bit. Its square
root is a distance (Endres and Schindelin, 2003): 0 for the same words in the same shares, 1 where no word is
shared.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int64]

BOTH: Final = pa.schema([("word", pa.large_binary()), ("count", pa.int64()), ("other_count", pa.int64())])
SHOWN: Final = 30  # words that tell the most, on either side
LONGEST_SHOWN: Final = 60  # characters
_UNIT: Final = 2**60  # of a divergence: whole numbers add up to the same in any order


@dataclass(frozen=True, kw_only=True)
class TellingWord:
    """A word that one corpus has more often, by its part in the divergence."""

    word: str
    count: int
    other_count: int
    bits: float


@dataclass(frozen=True, kw_only=True)
class WordLikeness:
    """Two vocabularies side by side."""

    distinct: tuple[int, int]
    shared: int
    """Distinct words that both have."""
    covered: tuple[float, float]
    """Share of each corpus's words, as often as they occur, that the other one has at all; 0 to 1."""
    divergence_bits: float
    """Jensen-Shannon divergence, 0 to 1 bit."""
    more: Sequence[TellingWord]
    """Words that the first corpus has more often, those first that tell the most."""
    less: Sequence[TellingWord]
    """Words that the other one has more often."""

    @property
    def distance(self) -> float:
        """Jensen-Shannon distance to base 2: the root of the divergence, 0 to 1."""
        return math.sqrt(self.divergence_bits)


def divergence_parts(counts: Numbers, others: Numbers, totals: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return what each word adds to the Jensen-Shannon divergence, in bits, [words].

    Args:
        counts: of each word in the first corpus, [words].
        others: in the other.
        totals: all words of either corpus.
    """
    shares = [side / max(1, total) for side, total in zip((counts, others), totals, strict=True)]
    middle = (shares[0] + shares[1]) / 2
    parts = np.zeros(len(counts))
    for share in shares:
        there = share > 0
        parts[there] += share[there] * np.log2(share[there] / middle[there]) / 2
    return np.maximum(parts, 0.0)


def compare_bucket(tables: Iterable[pa.Table], totals: tuple[int, int]) -> dict[str, Any]:
    """Compare the counts of one bucket of words: JSON that `add_up` takes.

    Args:
        tables: of the schema `BOTH`, each word once.
        totals: all words of either corpus.
    """
    names = ("distinct", "other_distinct", "shared", "covered", "other_covered", "divergence")
    found = dict.fromkeys(names, 0)
    more: list[dict[str, Any]] = []
    less: list[dict[str, Any]] = []
    for table in tables:
        counts, others = (table[name].to_numpy() for name in ("count", "other_count"))
        there, there_too = counts > 0, others > 0
        both = there & there_too
        parts = divergence_parts(counts, others, totals)
        telling = np.round(parts, 15)  # the last digits may depend on where in an array a value stands
        found["distinct"] += int(there.sum())
        found["other_distinct"] += int(there_too.sum())
        found["shared"] += int(both.sum())
        found["covered"] += int(counts[both].sum())
        found["other_covered"] += int(others[both].sum())
        found["divergence"] += int(np.rint(parts * _UNIT).astype(np.int64).sum())
        gains = counts.astype(np.float64) * totals[1] - others.astype(np.float64) * totals[0]
        more = _most_telling([*more, *_rows(table, telling, gains > 0)])
        less = _most_telling([*less, *_rows(table, telling, gains < 0)])
    return found | {"more": more, "less": less}


def _rows(
    table: pa.Table, parts: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return the words that may be among those that tell the most; of equals, the first in their order."""
    places = np.flatnonzero(chosen & (parts > 0))
    places = np.sort(places[np.argsort(-parts[places], kind="stable")[:SHOWN]])
    rows = table.take(pa.array(places)).to_pylist()
    words = (row["word"].decode(errors="replace") for row in rows)
    return [
        row | {"word": word[:LONGEST_SHOWN] + "…" * (len(word) > LONGEST_SHOWN), "bits": bits}
        for row, word, bits in zip(rows, words, parts[places].tolist(), strict=True)
    ]


def _most_telling(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return heapq.nsmallest(SHOWN, rows, key=lambda row: (-row["bits"], row["word"]))


def add_up(buckets: Sequence[dict[str, Any]], totals: tuple[int, int]) -> WordLikeness:
    """Put together what was found in all buckets."""

    def sum_of(name: str) -> int:
        return sum(bucket[name] for bucket in buckets)

    telling = {
        side: [TellingWord(**row) for row in _most_telling(row for bucket in buckets for row in bucket[side])]
        for side in ("more", "less")
    }
    return WordLikeness(
        distinct=(sum_of("distinct"), sum_of("other_distinct")),
        shared=sum_of("shared"),
        covered=(sum_of("covered") / max(1, totals[0]), sum_of("other_covered") / max(1, totals[1])),
        divergence_bits=min(1.0, round(sum_of("divergence") / _UNIT, 12)),
        **telling,
    )
