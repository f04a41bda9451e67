"""The shell of the split: take the duplicates out of a partition, and write each side's documents."""

import contextlib
from collections import Counter
from dataclasses import dataclass

from pipeline.corpus.split import SPLITS, place_of
from pipeline.runner.records import DOCUMENTS, DROPS
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import TableWriter, read_rows


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which documents are for validation: those whose id lies below a place between 0 and 1."""

    validation_limit: float


@output_version(1)
def split_documents(task: Task) -> Counts:
    """Take the duplicates out and write each side's documents. Inputs: documents, their duplicates."""
    options: SplitOptions = task.options
    documents_address, drops_address = task.inputs
    drops = {row["url"]: row for row in read_rows(drops_address)}
    read, dropped = 0, Counter[str]()
    with contextlib.ExitStack() as stack:
        drops_writer = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        sides = {
            split: stack.enter_context(TableWriter(task.folder / f"{split}.parquet", DOCUMENTS))
            for split in SPLITS
        }
        for document in read_rows(documents_address, DOCUMENTS.names):
            read += 1
            if drop := drops.get(document["url"]):
                drops_writer.write(drop)
                dropped[drop["reason"]] += 1
            else:
                held_out = place_of(document["id"]) < options.validation_limit
                sides["validation" if held_out else "train"].write(document)
            task.progress(1)
    task.notes["documents"] = {split: sides[split].rows for split in SPLITS}
    return Counts(read, read - dropped.total(), dict(sorted(dropped.items())))
