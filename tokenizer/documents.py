"""Opens a corpus of any kind: its files checked and grouped for tasks, and their documents in batches."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.corpus.split import LEAST_VALIDATION, SPLITS, Split, validation_limit
from pipeline.runner import storage
from pipeline.runner.executor import run_stage
from pipeline.runner.stages import Counts, InputFile, Stage, Task, in_groups, output_version
from pipeline.sources.batches import DocumentBatch, content_id
from pipeline.sources.files import (
    check_fields,
    find_text_files,
    is_compressed,
    kind_of,
    read_file,
)
from pipeline.sources.options import VALIDATION_SHARE, Reading, TextOptions
from pipeline.sources.tables import measure_parquet

FILES_LOOKED_AT: Final = 10  # of JSON Lines, before any task runs
COMPRESSION: Final = 3  # of text in .gz and .zst, roughly; it only sizes buckets


@dataclass
class Tally:
    """Totals of what a task has read so far."""

    rows: int = 0
    documents: int = 0
    characters: int = 0
    bytes: int = 0  # of the texts in UTF-8
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows

    def add(self, batch: DocumentBatch) -> None:
        """Count a batch."""
        self.rows += batch.rows
        self.documents += len(batch.texts)
        self.characters += batch.characters
        self.bytes += sum(map(len, batch.texts))
        self.left_out.update(batch.left_out)

    @property
    def counts(self) -> Counts:
        """The rows read, those kept as documents, and the others by reason."""
        return Counts(self.rows, self.documents, dict(sorted(self.left_out.items())))


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus, grouped for tasks, and the sizes of its splits."""

    address: str
    files: Mapping[Split, Mapping[str, Sequence[InputFile]]]  # split -> name of a task -> what it reads
    reading: Mapping[Split, Reading]
    text_bytes: Mapping[Split, int]  # by split, approximate
    file_bytes: int


def open_corpus(
    address: str, options: TextOptions | None = None, *, output: str, workers: int | None = None
) -> Corpus:
    """Find and check every file of a corpus, and find out which documents are for validation.

    That takes reading all texts once, on Ray, if neither folders nor file names tell it.

    Args:
        address: a file, a folder or a glob of texts.
        output: folder of the results: texts in it are not read, and the stage keeps there what it has found.
        workers: tasks at once.

    Raises:
        ValueError: there is no corpus or no training document, or a file is damaged or lacks the column.
    """
    options = options or TextOptions()
    found = find_text_files(address, output)
    if found.tells_split and options.validation_share is not None:
        raise ValueError(
            f"--validation-share: {address} has a validation split already; give only the training files to "
            "split them anew"
        )
    names = [name for split in SPLITS for name in found.by_side[split]]
    for name in [name for name in names if kind_of(name) == "JSON Lines"][:FILES_LOOKED_AT]:
        check_fields(name, options.text_column)
    sizes = {name: _measure(name, options.text_column) for name in names}
    of_train = [sizes[name] for name in found.by_side["train"]]
    if not any(size.rows for size in of_train):
        raise ValueError(f"no documents in {address} to train on: its files have no rows")
    reading = Reading(text_column=options.text_column, separator=options.separator)
    group = _one_by_one if found.is_own_layout else in_groups
    corpus = Corpus(
        address=address,
        files={split: group(found.by_side[split]) for split in SPLITS},
        reading=dict.fromkeys(SPLITS, reading),
        text_bytes={split: sum(sizes[name].text_bytes for name in found.by_side[split]) for split in SPLITS},
        file_bytes=sum(size.bytes for size in sizes.values()),
    )
    is_ours = found.is_own_layout and all(size.has_ids for size in of_train)  # without validation by intent
    share = options.validation_share
    if share is None:
        share = 0.0 if found.tells_split or is_ours else VALIDATION_SHARE
    return _split(corpus, share, storage.join(output, ".stages"), workers) if share else corpus


def read_documents(addresses: str | Sequence[str], reading: Reading | None = None) -> Iterator[DocumentBatch]:
    """Yield the documents of one or more files in order, a batch of them in memory at a time.

    Raises:
        ValueError: a file is damaged, or has no such column.
    """
    for address in [addresses] if isinstance(addresses, str) else addresses:
        yield from read_file(address, reading or Reading())


def describe_left_out(counts: Counts) -> str:
    """Return a line about rows that are no documents."""
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts.dropped.items())
    return f"{sum(counts.dropped.values()):,} of {counts.read:,} rows: {reasons}"


@dataclass(frozen=True, slots=True)
class _Size:
    rows: int  # 1 where that is unknown
    text_bytes: int
    bytes: int
    has_ids: bool


def _measure(address: str, text_column: str) -> _Size:
    """Look at a file without reading its texts; check that a Parquet file has the column."""
    size = storage.size_bytes(address)
    if kind_of(address) == "Parquet":
        rows, text_bytes, has_ids = measure_parquet(address, text_column)
        return _Size(rows, text_bytes, size, has_ids)
    return _Size(1, COMPRESSION * size if is_compressed(address) else size, size, has_ids=False)


def _one_by_one(addresses: Iterable[str]) -> dict[str, list[InputFile]]:
    """Give each file of our own layout a task, named after it."""
    return {_stem(address): [InputFile.of(address)] for address in addresses}


def _stem(address: str) -> str:
    return address.rsplit("/", 1)[-1].removesuffix(".parquet")


def _split(corpus: Corpus, share: float, root: str, workers: int | None) -> Corpus:
    """Split the training files by the hash of each text."""
    look = Stage(name="look", work=look_at_files, options=corpus.reading["train"])
    looked = run_stage(look, corpus.files["train"], root, workers=workers)
    ids = sorted({name for partition in looked.partitions for name in partition.notes["smallest_ids"]})
    limit = validation_limit(share, ids[: LEAST_VALIDATION + 1], looked.counts.kept)
    total = sum(partition.notes["bytes"] for partition in looked.partitions)
    files = corpus.files["train"]
    return replace(
        corpus,
        files=dict.fromkeys(SPLITS, files),
        reading={split: replace(corpus.reading[split], side=split, limit=limit) for split in SPLITS},
        text_bytes={"train": total, "validation": int(limit * total)},
    )


@output_version(1)
def look_at_files(task: Task) -> Counts:
    """Stage: count the documents of some files (inputs), and find the smallest ids of their texts."""
    tally, smallest = Tally(), set[str]()
    for batch in read_documents(task.inputs, task.options):
        tally.add(batch)
        smallest = set(sorted(smallest.union(map(content_id, batch.texts)))[: LEAST_VALIDATION + 1])
        task.progress(batch.rows)
    task.notes.update(bytes=tally.bytes, smallest_ids=sorted(smallest))
    return tally.counts
