"""Encoding a corpus and shuffling its documents, all of them together, in flat memory.

A document's place in the order is a hash of its id and the seed. A shard is a range of these hashes,
sorted: so the shards one after another are the whole split shuffled, and neither the number of shards,
nor how the corpus was cut into files, nor which worker came first changes the order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from pipeline import storage
from pipeline.stages import Counts, Task, edition
from tokenizer.documents import Tally, read_documents
from tokenizer.encoder import Encoder
from tokenizer.shards import Tokens, write_shard
from tokenizer.vocabulary import load_vocabulary

SHARD_FILE = "shard.bin"
PIECES = pa.schema([("place", pa.uint64()), ("tokens", pa.list_(pa.uint16()))])


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """What decides a document's place."""

    seed: int
    """Another seed, another order."""
    shards: int
    """Into how many shards the split goes."""


@edition(1, "gigatoken")
def encode_file(task: Task) -> Counts:
    """Stage: encode a corpus file (first input) with a vocabulary (second), a piece for each shard."""
    vocabulary = load_vocabulary(task.inputs[1])
    encoder = Encoder(vocabulary)
    tally, tokens = Tally(), 0
    with _Pieces(task.folder, task.options.shards) as pieces:
        for batch in read_documents(task.inputs[0]):
            tally.add(batch)
            encoded = [encoder.encode(text) for text in batch.texts]
            places = [place(document_id, task.options.seed) for document_id in batch.ids]
            pieces.write(places, _documents(encoded, vocabulary.end_of_text))
            tokens += sum(map(len, encoded)) + len(encoded)
            task.progress(batch.rows)
    task.notes.update(tokens=tokens, characters=tally.characters, bytes=tally.bytes)
    return tally.counts


@edition(1)
def gather_shard(task: Task) -> Counts:
    """Stage: put the documents of one shard in order and write it. All its tokens are in memory at once."""
    pieces = [piece for address in task.inputs for piece in _read_piece(address)]
    documents = [tokens for _, tokens in sorted(pieces, key=itemgetter(0))]
    tokens, checksum = write_shard(task.folder / SHARD_FILE, documents)
    task.notes.update(tokens=tokens, documents=len(documents), sha256=checksum)
    task.progress(len(documents))
    return Counts(len(documents), len(documents))


def place(document_id: bytes, seed: int) -> int:
    """Return where in the order a document stands: 64 bits."""
    return xxhash.xxh3_64_intdigest(document_id, seed=seed)


def shard_of(place: int, shards: int) -> int:
    """Return the shard whose range of places holds this one."""
    return place * shards >> 64


def piece_file(shard: int) -> str:
    """Return the name of the file that holds a corpus file's documents for one shard."""
    return f"shard_{shard:06d}.arrow"


class _Pieces:
    """One Arrow stream for each shard that gets a document, opened when it gets the first."""

    def __init__(self, folder: Path, shards: int) -> None:
        self._folder = folder
        self._shards = shards
        self._streams: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            stream.close()

    def write(self, places: Sequence[int], documents: pa.ListArray) -> None:
        """Scatter documents by their places."""
        rows = pa.table([places, documents], schema=PIECES)
        shards = np.array([shard_of(place, self._shards) for place in places], dtype=np.int64)
        for shard in np.unique(shards).tolist():
            self._stream(shard).write(rows.filter(pa.array(shards == shard)))

    def _stream(self, shard: int) -> Any:
        if shard not in self._streams:
            self._streams[shard] = pa.ipc.new_stream(self._folder / piece_file(shard), PIECES)
        return self._streams[shard]


def _documents(encoded: Sequence[NDArray[np.uint32]], end_of_text: int) -> pa.ListArray:
    """Put `<|endoftext|>` before each document's ids, in 16 bits."""
    start = np.array([end_of_text], dtype=np.uint32)
    flat = np.concatenate([start[:0], *(part for ids in encoded for part in (start, ids))])
    offsets = np.cumsum([0, *(1 + len(ids) for ids in encoded)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, flat.astype(np.uint16))


def _read_piece(address: str) -> Iterator[tuple[int, Tokens]]:
    """Yield the documents of a piece with their places."""
    with storage.open_read(address) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            offsets = batch["tokens"].offsets.to_numpy()
            flat = batch["tokens"].values.to_numpy()
            documents = (flat[start:end] for start, end in pairwise(offsets))
            yield from zip(batch["place"].to_pylist(), documents, strict=True)
