"""Which documents of a corpus are for training and which for validation.

A document's side follows from its id, which follows from its text: it does not change sides, whatever else
the corpus holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """How the corpus is laid out."""

    validation_share: float = 0.01
    """Share of the documents held out for validation, 0 to 1; of a small corpus ten, or a tenth."""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation share must lie in [0, 1), not {self.validation_share}")


LEAST_VALIDATION = 10  # documents, so that a corpus of a few hundred can be validated at all


def place_of(document_id: str) -> float:
    """Return where an id (128 hexadecimal bits) lies between 0 and 1; ids are spread evenly."""
    return int(document_id[:13], 16) / 2**52


def validation_limit(validation_share: float, smallest_ids: Sequence[str], documents: int) -> float:
    """Return the place below which documents are for validation.

    Args:
        validation_share: the limit, unless too few documents lie below it.
        smallest_ids: the `LEAST_VALIDATION + 1` smallest ids of the corpus, or all if there are fewer.
        documents: of the whole corpus.
    """
    least = min(LEAST_VALIDATION, max(1, documents // 10))
    if not validation_share or least >= len(smallest_ids):
        return validation_share
    return max(validation_share, place_of(sorted(smallest_ids)[least]))
