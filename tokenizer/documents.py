"""Reads a corpus: its files, checked, and their documents a batch at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.layout import SPLITS, parquet_files
from pipeline.runner import storage
from pipeline.runner.stages import Counts, InputFile

DOCUMENTS_PER_BATCH = 1024
TEXT_BYTES_PER_BATCH = 16 * 2**20  # fewer at once if documents are long


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Some documents of a file: their ids, and their texts in UTF-8. Documents without text are left out."""

    rows: int  # read, including those without text
    ids: Sequence[bytes]
    texts: Sequence[bytes]
    characters: int


@dataclass
class Tally:
    """Totals of what a task has read so far."""

    rows: int = 0
    documents: int = 0
    characters: int = 0
    bytes: int = 0  # of the texts in UTF-8

    def add(self, batch: DocumentBatch) -> None:
        """Count a batch."""
        self.rows += batch.rows
        self.documents += len(batch.texts)
        self.characters += batch.characters
        self.bytes += sum(map(len, batch.texts))

    @property
    def counts(self) -> Counts:
        """The documents read, kept, and dropped for having no text."""
        empty = self.rows - self.documents
        return Counts(self.rows, self.documents, {"no text": empty} if empty else {})


@dataclass(frozen=True)
class Corpus:
    """The Parquet files of a corpus, and the sizes of its splits."""

    files: Mapping[str, Mapping[str, InputFile]]  # split -> name without suffix -> file
    text_bytes: Mapping[str, int]  # by split, approximate: as Parquet holds the texts before compression
    parquet_bytes: int


def open_corpus(address: str) -> Corpus:
    """Open and check every file of a corpus without reading its texts.

    Raises:
        ValueError: there is no corpus or no training document, or a file is damaged or lacks a column.
    """
    parquet_files(address, "train")  # raises if there is no corpus
    addresses = {split: storage.list_files(storage.join(address, split), ".parquet") for split in SPLITS}
    sizes = {split: [_measure(name) for name in names] for split, names in addresses.items()}
    if not any(size.documents for size in sizes["train"]):
        raise ValueError(f"no documents in {storage.join(address, 'train')}: its files have no rows")
    return Corpus(
        files={
            split: {_stem(name): InputFile.of(name) for name in names} for split, names in addresses.items()
        },
        text_bytes={split: sum(size.text_bytes for size in sizes[split]) for split in SPLITS},
        parquet_bytes=sum(size.bytes for split in SPLITS for size in sizes[split]),
    )


def read_documents(address: str) -> Iterator[DocumentBatch]:
    """Yield a file's documents in order, a batch of them in memory at a time.

    Raises:
        ValueError: the file is damaged, or a text is not UTF-8.
    """
    with storage.open_read(address) as file:
        try:
            table = pq.ParquetFile(file, buffer_size=2**20)  # not a whole row group at once
            for batch in table.iter_batches(_batch_size(table), columns=["id", "text"], use_threads=False):
                batch.validate(full=True)  # Parquet readers do not check UTF-8
                yield _with_text(batch)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"cannot read {address}: {error}") from error


def _batch_size(table: pq.ParquetFile) -> int:
    """Return how many documents to read at once, so that they do not fill the memory."""
    document_bytes = _text_bytes(table.metadata) / max(1, table.metadata.num_rows)
    return max(1, min(DOCUMENTS_PER_BATCH, int(TEXT_BYTES_PER_BATCH / max(1, document_bytes))))


def _with_text(batch: pa.RecordBatch) -> DocumentBatch:
    """Return the documents that have text."""
    kept = batch.filter(pc.fill_null(pc.not_equal(batch["text"], ""), False))
    columns = (pc.fill_null(kept[name], "").cast(pa.large_binary()) for name in ("id", "text"))
    ids, texts = (column.to_pylist() for column in columns)
    return DocumentBatch(batch.num_rows, ids, texts, pc.sum(pc.utf8_length(kept["text"])).as_py() or 0)


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of a file."""

    documents: int
    text_bytes: int
    bytes: int


def _measure(address: str) -> _Size:
    """Read a file's footer and check its columns' types."""
    try:
        with storage.open_read(address) as file:
            table = pq.ParquetFile(file)
            _check_columns(table.schema_arrow)
            return _Size(table.metadata.num_rows, _text_bytes(table.metadata), file.seek(0, 2))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"cannot read {address}: {error}") from error


def _text_bytes(footer: pq.FileMetaData) -> int:
    """Return the approximate size of the texts before compression."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")


def _check_columns(schema: pa.Schema) -> None:
    """Reject a table that lacks a column or has it in another type."""
    for name, is_right in _COLUMNS.items():
        if name not in schema.names:
            raise ValueError(f"no column {name!r} among {', '.join(schema.names)}")
        if not is_right(schema.field(name).type):
            raise ValueError(f"column {name!r} has type {schema.field(name).type}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_COLUMNS = {"id": _is_text, "text": _is_text}


def _stem(address: str) -> str:
    return address.rsplit("/", 1)[-1].removesuffix(".parquet")
