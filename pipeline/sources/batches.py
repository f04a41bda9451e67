"""Batches of documents, bounded in bytes; what is no document is counted by reason."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.corpus.split import place_of
from pipeline.sources.options import Reading

DOCUMENTS_PER_BATCH: Final = 1024
TEXT_BYTES_PER_BATCH: Final = 16 * 2**20  # fewer at once if documents are long

NO_TEXT: Final = "no text"
NOT_TEXT: Final = "not text"
BAD_ENCODING: Final = "bad encoding"

Values = tuple[str, ...]  # of the further columns that were asked for; empty where there is none
Row = tuple[bytes | None, bytes, int, Values]  # id, if it has one; text in UTF-8; its characters; the rest


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Some documents of a file: their ids, and their texts in UTF-8; other rows are left out."""

    rows: int  # read, including those left out
    ids: Sequence[bytes]
    texts: Sequence[bytes]
    characters: int
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> rows
    values: Sequence[Values] = ()  # of each document, in the order of `Reading.columns`


def content_id(text: bytes) -> str:
    """Return the id of a document that has none: the first 128 bits of its SHA-256, as in our own corpora."""
    return hashlib.sha256(text).hexdigest()[:32]


def row_of(document_id: bytes | None, text: bytes, values: Values = ()) -> Row | str:
    """Return a row, or the reason why it is left out."""
    try:
        return (document_id, text, len(text.decode()), values) if text else NO_TEXT
    except UnicodeDecodeError:
        return BAD_ENCODING


def is_validation(text: bytes, limit: float) -> bool:
    """Say on which side of a split by hash a text is; equal texts are on the same."""
    return place_of(content_id(text)) < limit


def batch_of(rows: Iterable[Row], left_out: Mapping[str, int], reading: Reading) -> DocumentBatch:
    """Return the documents on this side of the split; rows left out count as training's."""
    ids, texts, characters, further = list[bytes](), list[bytes](), 0, list[Values]()
    for document_id, text, length, values in rows:
        if reading.side and is_validation(text, reading.limit) != (reading.side == "validation"):
            continue
        ids.append(document_id or content_id(text).encode())
        texts.append(text)
        characters += length
        further.append(values)
    reported = {} if reading.side == "validation" else {reason: n for reason, n in left_out.items() if n}
    return DocumentBatch(len(texts) + sum(reported.values()), ids, texts, characters, reported, further)


def batches_of(items: Iterable[Row | str], reading: Reading) -> Iterator[DocumentBatch]:
    """Gather rows into batches.

    Args:
        items: rows in order, and for each that is left out the reason.
    """
    rows, left_out, size = list[Row](), Counter[str](), 0
    for item in items:
        if isinstance(item, str):
            left_out[item] += 1
        else:
            rows.append(item)
            size += len(item[1])
        if len(rows) + left_out.total() >= DOCUMENTS_PER_BATCH or size >= TEXT_BYTES_PER_BATCH:
            yield batch_of(rows, left_out, reading)
            rows, left_out, size = [], Counter(), 0
    yield batch_of(rows, left_out, reading)
