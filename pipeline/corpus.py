"""The corpus: which documents go to which side, and the folder that is handed on.

`train/` and `validation/` are Parquet that `datasets.load_dataset` reads as they are. A document's side
follows from its id, which follows from its text: it does not change sides, whatever else the corpus holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.runner import storage
from pipeline.runner.stages import Source, StageOutput

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


def corpus_files(corpus: StageOutput, dropping: Sequence[StageOutput]) -> dict[str, Source]:
    """Return where each file of the published corpus comes from, by its name in the corpus folder.

    Files without a row are left out, but for one of each side, so that the side can be read.
    """
    files = {}
    for split in SPLITS:
        sizes = [partition.notes["documents"][split] for partition in corpus.partitions]
        for number, (partition, size) in enumerate(zip(corpus.partitions, sizes, strict=True)):
            if size or (not number and not any(sizes)):
                files[f"{split}/part-{number:05d}.parquet"] = partition.file(f"{split}.parquet")
    for stage in dropping:  # `stage=…` folders: readers of Parquet datasets make a column of it
        for number, partition in enumerate(stage.partitions):
            if partition.counts.dropped:
                files[f"drops/stage={stage.stage}/part-{number:05d}.parquet"] = partition.file(
                    "drops.parquet"
                )
    return {name: source for name, source in files.items() if source is not None}


def parquet_files(corpus: str, split: Split) -> list[str]:
    """Return the addresses of one side's files.

    Raises:
        ValueError: there is no such folder, or nothing in it.
    """
    if not storage.exists(corpus):
        raise ValueError(f"no corpus at {corpus}: build one with pipeline/build_webtext.py")
    files = storage.list_files(storage.join(corpus, split), ".parquet")
    if not files:
        raise ValueError(f"no Parquet files in {storage.join(corpus, split)}")
    return files
