"""How alike two corpora are in the domains that their documents are from."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOP_DOMAINS = 1_000
DIFFERENCES = 12  # domains that are shown on either side

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A domain that has a larger part of one corpus than of the other."""

    domain: str
    share: float  # of one's documents, 0 to 1
    other_share: float


@dataclass(frozen=True, kw_only=True)
class RankingLikeness:
    """Two rankings of domains side by side: those with the most documents on each side."""

    top: tuple[int, int]
    """Domains in each ranking: `TOP_DOMAINS`, or all where there are fewer."""
    shared: int
    """Domains that are in both."""
    correlation: float | None
    """Spearman's, -1 to 1, of the document counts of all domains that are in either ranking, ties at their
    mean rank. None where one side's counts are all the same."""
    shared_correlation: float | None
    """The same, of the domains that are in both."""
    more: Sequence[Difference]
    """Where the first corpus has the larger share, by the difference."""
    less: Sequence[Difference]
    """Where the other one has."""

    @property
    def overlap(self) -> float:
        """Shared domains as a share of the shorter ranking, 0 to 1; 0 where one has none."""
        return self.shared / min(self.top) if min(self.top) else 0.0


def top_domains(counts: Iterable[tuple[str, int]], number: int = TOP_DOMAINS) -> dict[str, int]:
    """Return the domains with the highest counts, by name where those are the same."""
    return dict(heapq.nsmallest(number, counts, key=lambda item: (-item[1], item[0])))


def compare_rankings(
    counts: Counts, others: Counts, total: int, other_total: int, *, number: int = TOP_DOMAINS
) -> RankingLikeness:
    """Compare the domains of two corpora.

    Args:
        counts: documents by domain; at least of the domains that are in either side's ranking.
        others: the same, of the other corpus.
        total: what the shares are of: documents of the first corpus.
        other_total: of the other.
        number: of domains in a ranking.
    """
    tops = [
        top_domains(((name, count) for name, count in side.items() if count), number)
        for side in (counts, others)
    ]
    either, both = sorted(tops[0].keys() | tops[1].keys()), sorted(tops[0].keys() & tops[1].keys())
    differences = [
        Difference(
            domain=name,
            share=counts.get(name, 0) / max(1, total),
            other_share=others.get(name, 0) / max(1, other_total),
        )
        for name in either
    ]
    by_gain = sorted(differences, key=lambda one: (one.other_share - one.share, one.domain))
    by_loss = sorted(differences, key=lambda one: (one.share - one.other_share, one.domain))
    return RankingLikeness(
        top=(len(tops[0]), len(tops[1])),
        shared=len(both),
        correlation=_correlation(either, counts, others),
        shared_correlation=_correlation(both, counts, others),
        more=[one for one in by_gain[:DIFFERENCES] if one.share > one.other_share],
        less=[one for one in by_loss[:DIFFERENCES] if one.share < one.other_share],
    )


def _correlation(names: Sequence[str], counts: Counts, others: Counts) -> float | None:
    sides = [np.array([side.get(name, 0) for name in names], np.float64) for side in (counts, others)]
    return rank_correlation(*sides)


def rank_correlation(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float | None:
    """Return Spearman's rank correlation of pairs of values, equal ones at their mean rank, -1 to 1.

    None where it is not defined: fewer than two pairs, or all values of one side the same.
    """
    from scipy.stats import spearmanr

    if len(some) < 2 or np.ptp(some) == 0 or np.ptp(others) == 0:
        return None
    return float(spearmanr(some, others).statistic)
