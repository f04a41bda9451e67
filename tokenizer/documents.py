"""The corpus as this room reads it: its files, checked, and their documents a batch at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.corpus import SPLITS, parquet_files
from pipeline.stages import Counts, Source

DOCUMENTS_PER_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents of a file: their ids, and their texts in UTF-8. Only texts that are there count."""

    rows: int  # read, those without a text included
    ids: Sequence[bytes]
    texts: Sequence[bytes]


@dataclass
class Tally:
    """What a task has read so far."""

    rows: int = 0
    documents: int = 0
    characters: int = 0
    bytes: int = 0  # of the texts in UTF-8

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.rows += batch.rows
        self.documents += len(batch.texts)
        self.characters += sum(len(text.decode()) for text in batch.texts)
        self.bytes += sum(map(len, batch.texts))

    @property
    def counts(self) -> Counts:
        """What became of the documents: those without a text are dropped."""
        empty = self.rows - self.documents
        return Counts(self.rows, self.documents, {"no text": empty} if empty else {})


@dataclass(frozen=True)
class Corpus:
    """The Parquet files of a corpus, and what its splits hold."""

    files: Mapping[str, Mapping[str, Source]]  # split -> name without suffix -> file
    characters: Mapping[str, int]  # by split
    parquet_bytes: int


def open_corpus(address: str) -> Corpus:
    """Look at every file of a corpus without reading its texts.

    Raises:
        ValueError: no corpus, no documents to train on, or a file that is cut, damaged or lacks a column.
    """
    parquet_files(address, "train")  # says what is wrong with a corpus that has none
    addresses = {split: storage.list_files(storage.join(address, split), ".parquet") for split in SPLITS}
    sizes = {split: [_measure(name) for name in names] for split, names in addresses.items()}
    if not any(size.documents for size in sizes["train"]):
        raise ValueError(f"no documents in {storage.join(address, 'train')}: its files have no rows")
    return Corpus(
        files={split: {_stem(name): Source.of(name) for name in names} for split, names in addresses.items()},
        characters={split: sum(size.characters for size in sizes[split]) for split in SPLITS},
        parquet_bytes=sum(size.bytes for split in SPLITS for size in sizes[split]),
    )


def read_documents(address: str) -> Iterator[Batch]:
    """Yield a file's documents in order, a batch of them in memory at a time.

    Raises:
        ValueError: the file is damaged, or a text is not UTF-8.
    """
    with storage.open_read(address) as file:
        try:
            for batch in pq.ParquetFile(file).iter_batches(DOCUMENTS_PER_BATCH, columns=["id", "text"]):
                batch.validate(full=True)  # Parquet readers take the writer's word for UTF-8
                yield _with_text(batch)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"cannot read {address}: {error}") from error


def _with_text(batch: pa.RecordBatch) -> Batch:
    """Take the documents that have a text."""
    kept = batch.filter(pc.fill_null(pc.not_equal(batch["text"], ""), False))
    ids, texts = (kept[name].cast(pa.large_binary()).to_pylist() for name in ("id", "text"))
    return Batch(batch.num_rows, ids, texts)


@dataclass(frozen=True, slots=True)
class _Size:
    """How much a file holds."""

    documents: int
    characters: int
    bytes: int


def _measure(address: str) -> _Size:
    """Look at a file's footer, its columns' types and its documents' lengths."""
    try:
        with storage.open_read(address) as file:
            table = pq.ParquetFile(file)
            _check_columns(table.schema_arrow)
            characters = pc.sum(table.read(columns=["characters"])["characters"]).as_py() or 0
            return _Size(table.metadata.num_rows, characters, file.seek(0, 2))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"cannot read {address}: {error}") from error


def _check_columns(schema: pa.Schema) -> None:
    """Refuse a table that lacks what this room reads."""
    for name, is_right in _COLUMNS.items():
        if name not in schema.names:
            raise ValueError(f"no column {name!r} among {', '.join(schema.names)}")
        if not is_right(schema.field(name).type):
            raise ValueError(f"column {name!r} holds {schema.field(name).type}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_COLUMNS = {"id": _is_text, "text": _is_text, "characters": pa.types.is_integer}


def _stem(address: str) -> str:
    return address.rsplit("/", 1)[-1].removesuffix(".parquet")
