"""The corpus: the folder that is handed on.

`train/` and `validation/` are Parquet that `datasets.load_dataset` reads as they are.
"""

from collections.abc import Sequence

from pipeline.corpus.split import SPLITS, Split
from pipeline.runner import storage
from pipeline.runner.stages import InputFile, StageOutput


def corpus_files(corpus: StageOutput, dropping: Sequence[StageOutput]) -> dict[str, InputFile]:
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
