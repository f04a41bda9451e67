"""The corpus: which documents go to which side, and the folder that is handed on.

`train/` and `validation/` are Parquet that `datasets.load_dataset` reads as they are. A document's side
follows from its id, which follows from its text: it never changes sides, whatever else the corpus holds.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline import storage
from pipeline.stages import Source, StageOutput

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """How the corpus is laid out."""

    validation_share: float = 0.01
    """Share of the documents held out for validation, 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation share must lie in [0, 1), not {self.validation_share}")


def split_of(document_id: str, validation_share: float) -> Split:
    """Return the side of the document with this id (128 hexadecimal bits)."""
    return "validation" if int(document_id[:13], 16) / 2**52 < validation_share else "train"


def corpus_files(corpus: StageOutput, dropping: list[StageOutput]) -> dict[str, Source]:
    """Return where each file of the published corpus comes from, by its name in the corpus folder."""
    files = {}
    for split in SPLITS:
        for number, source in enumerate(corpus.files(f"{split}.parquet")):
            files[f"{split}/part-{number:05d}.parquet"] = source
    for stage in dropping:  # `stage=…` folders: readers of Parquet datasets make a column of it
        for number, source in enumerate(stage.files("drops.parquet")):
            files[f"drops/stage={stage.stage}/part-{number:05d}.parquet"] = source
    return files


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
