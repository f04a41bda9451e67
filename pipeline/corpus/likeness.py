"""How like WebText a corpus is, by OpenAI's list of WebText's 1,000 most frequent domains."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.corpus.rankings import RankingLikeness, compare_rankings, top_domains
from pipeline.web.urls import domain_label

_LIST = Path(__file__).with_name("webtext_domains.tsv")


@dataclass(frozen=True, kw_only=True)
class WebTextLikeness:
    """A corpus beside the published list."""

    ranking: RankingLikeness
    """The corpus's domains and the list's. Shares are of what each side's 1,000 most frequent domains have
    together, since OpenAI published no total over all domains."""
    documents: int
    """Of the corpus, with a known domain."""
    listed: int
    """Of them, those from a domain on the list."""

    @property
    def share(self) -> float:
        """Share of the documents that are from a domain on the list, 0 to 1."""
        return self.listed / self.documents if self.documents else 0.0


@cache
def webtext_domains() -> Mapping[str, int]:
    """Return OpenAI's list: how often each domain occurs in WebText, by its name without a public suffix.

    Names are in lower case. The one row without a name is left out.
    """
    rows = (line.split("\t") for line in _LIST.read_text().splitlines() if not line.startswith("#"))
    return {name.lower(): int(count) for name, count in rows if name}


def likeness_to_webtext(domains: Iterable[tuple[str | None, int]]) -> WebTextLikeness | None:
    """Compare a corpus with WebText; None where none of its documents has a domain.

    Args:
        domains: registrable domains or hosts, and the documents of each; what has no name is left out.
    """
    ours = Counter[str]()
    for domain, documents in domains:
        if domain:
            ours[domain_label(domain)] += documents
    return likeness_of_labels(ours, ours.total())


def likeness_of_labels(labels: Mapping[str, int], documents: int) -> WebTextLikeness | None:
    """Compare a corpus with WebText; None where none of its documents has a domain.

    Args:
        labels: domains without their public suffix, and the documents of each; at least those on the list,
            and the 1,000 with the most documents.
        documents: all that have a domain.
    """
    if not documents:
        return None
    reference = webtext_domains()
    totals = (sum(top_domains(side.items()).values()) for side in (labels, reference))
    ranking = compare_rankings(labels, reference, *totals)
    listed = sum(labels.get(name, 0) for name in reference)
    return WebTextLikeness(ranking=ranking, documents=documents, listed=listed)
