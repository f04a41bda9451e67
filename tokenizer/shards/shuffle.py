"""Encodes a corpus and shuffles all its documents together, in constant memory.

A document's place in the order is a hash of the seed, its id and its text. Each corpus file is encoded once,
and its documents are scattered over buckets, which are ranges of places with about 16 million tokens each.
Then every shard's task reads the buckets that its tokens are in, one sorted bucket at a time. So how the
corpus is cut into files, the number of buckets and workers, and their timing change no byte of the result.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from pipeline.runner import storage
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.sources.options import Reading
from tokenizer.bpe.encoder import load_encoder
from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.documents import Tally, read_documents
from tokenizer.shards import formats
from tokenizer.shards.formats import FormatName, Tokens, TypeName

PIECES_FILE: Final = "pieces.arrow"
SHARD_FILE: Final = "shard.bin"
INDEX_FILE: Final = "shard.idx"
BYTES_PER_TOKEN: Final = 4  # of English in GPT-2's vocabulary, roughly; it only sizes the buckets
TOKENS_PER_BUCKET: Final = 2**24
MOST_BUCKETS: Final = 512  # for 8.6 billion tokens; with more, the buckets are larger
TOKENS_PER_BATCH: Final = 2**14  # of a run, for each bucket
LEAST_PER_RUN: Final = 2**20  # tokens that are encoded before they are scattered


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """How documents are shuffled."""

    seed: int
    """Seed of the shuffle."""
    buckets: int
    """Number of ranges of places that documents are scattered into. It does not change the shards."""
    reading: Reading = field(default_factory=Reading)
    """How the files are read."""


@dataclass(frozen=True, kw_only=True)
class CollectOptions:
    """How the stream of a split's tokens is cut into shards."""

    form: FormatName
    """Format of the files."""
    kind: TypeName
    """Type of the ids."""
    shard_tokens: int
    """Tokens in every shard but the last."""
    shards: int
    """Number of shards; the last takes the rest."""
    bucket_tokens: tuple[int, ...]
    """Tokens in each bucket, over all corpus files."""


@output_version(3, "gigatoken", "tokenizers")
def encode_file(task: Task) -> Counts:
    """Stage: encode corpus files (inputs) with a `tokenizer.json` (the last), scattered over buckets."""
    *files, tokenizer_json = task.inputs
    encoder, tally = load_encoder(tokenizer_json), Tally()
    with _Pieces(task.folder / PIECES_FILE, encoder.vocabulary, task.options.buckets) as pieces:
        for batch in read_documents(files, task.options.reading):
            tally.add(batch)
            for document_id, text in zip(batch.ids, batch.texts, strict=True):
                pieces.add(place(document_id, text, task.options.seed), encoder.encode(text))
            task.progress(batch.rows)
    task.notes.update(
        bucket_tokens=pieces.bucket_tokens.tolist(), characters=tally.characters, bytes=tally.bytes
    )
    return tally.counts


@output_version(2)
def collect_shard(task: Task) -> Counts:
    """Stage: write the shard whose number is the partition's name, from the pieces of its split."""
    options: CollectOptions = task.options
    first, end = shard_range(options, int(task.name))
    kind, lengths, digest = formats.dtype(options.kind), list[int](), hashlib.sha256()
    with (task.folder / SHARD_FILE).open("wb", buffering=2**20) as file:
        head = formats.header(options.form, end - first, options.kind)
        digest.update(head)
        file.write(head)
        for start, tokens in _documents_within(task, first, end):
            if start >= first:
                lengths.append(len(tokens))
            raw = tokens[max(0, first - start) : end - start].astype(kind, copy=False).data
            digest.update(raw)
            file.write(raw)
    task.notes.update(tokens=end - first, documents=len(lengths), sha256=digest.hexdigest())
    if options.form == "megatron":
        index = formats.megatron_index(np.array(lengths, np.int64), options.kind)
        (task.folder / INDEX_FILE).write_bytes(index)
        task.notes.update(idx_sha256=hashlib.sha256(index).hexdigest())
    return Counts(len(lengths), len(lengths))


def place(document_id: bytes, text: bytes, seed: int) -> int:
    """Return a document's place in the order: a 64-bit hash of its text, its id and the seed."""
    return xxhash.xxh3_64_intdigest(text, seed=xxhash.xxh3_64_intdigest(document_id, seed=seed))


def bucket_of(places: NDArray[np.uint64], buckets: int) -> NDArray[np.uint64]:
    """Return the bucket of each place."""
    return (places >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)


def bucket_count(text_bytes: int) -> int:
    """Return the number of buckets for a split with about this much text."""
    return min(MOST_BUCKETS, 1 + text_bytes // (BYTES_PER_TOKEN * TOKENS_PER_BUCKET))


def shard_count(tokens: int, shard_tokens: int) -> int:
    """Return the number of shards: the last holds between 0.5 and 1.5 times `shard_tokens`.

    Trainers that give every rank a part of every shard cannot use one of a few tokens.
    """
    return min(tokens, max(1, (tokens + shard_tokens // 2) // shard_tokens))


def shard_range(options: CollectOptions, number: int) -> tuple[int, int]:
    """Return a shard's start and end in the split's stream of tokens."""
    first = number * options.shard_tokens
    is_last = number == options.shards - 1
    return first, sum(options.bucket_tokens) if is_last else first + options.shard_tokens


class _Pieces:
    """An Arrow file of documents with their places: for each run, one batch per bucket.

    A run is what is encoded before it is sorted and written. Batch `i` belongs to bucket `i % buckets`, so
    one bucket can be read without the others.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary, buckets: int) -> None:
        kind = formats.token_type("llm.c", vocabulary.size)
        self.bucket_tokens = np.zeros(buckets, np.int64)
        self._schema = pa.schema([("place", pa.uint64()), ("tokens", pa.large_list(_ARROW_TYPES[kind]))])
        self._file = pa.ipc.new_file(path, self._schema)
        self._start = np.array([vocabulary.end_of_text], kind)
        self._run_tokens = max(LEAST_PER_RUN, buckets * TOKENS_PER_BATCH)
        self._places = list[int]()
        self._encoded = list[Tokens]()
        self._tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._file.close()

    def add(self, place: int, ids: NDArray[np.uint32]) -> None:
        """Add a document, with `<|endoftext|>` before it."""
        self._places.append(place)
        self._encoded.append(ids)
        self._tokens += 1 + len(ids)
        if self._tokens >= self._run_tokens:
            self._flush()

    def _flush(self) -> None:
        if not self._places:
            return
        places = np.array(self._places, np.uint64)
        order = np.argsort(places)
        parts = (part for number in order for part in (self._start, self._encoded[number]))
        flat = np.concatenate(list(parts), dtype=self._start.dtype, casting="unsafe")
        lengths = np.array([1 + len(ids) for ids in self._encoded], np.int64)[order]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        columns = [places[order], pa.LargeListArray.from_arrays(offsets, flat)]
        run = pa.record_batch(columns, schema=self._schema)
        buckets = len(self.bucket_tokens)
        edges = np.searchsorted(bucket_of(places[order], buckets), np.arange(buckets + 1))
        for first, end in pairwise(edges.tolist()):
            self._file.write_batch(run.slice(first, end - first))
        self.bucket_tokens += np.diff(offsets[edges])
        self._places, self._encoded, self._tokens = [], [], 0


def _documents_within(task: Task, first: int, end: int) -> Iterator[tuple[int, Tokens]]:
    """Yield the documents that overlap tokens `first` to `end` of the stream, each with its start."""
    counts: Sequence[int] = task.options.bucket_tokens
    bucket_ends = np.cumsum(counts).tolist()
    for bucket, (tokens, bucket_end) in enumerate(zip(counts, bucket_ends, strict=True)):
        start = bucket_end - tokens
        if max(first, start) >= min(end, bucket_end):
            continue
        documents = _read_bucket(task.inputs, bucket, len(counts))
        for document in documents:
            if start < end and first < start + len(document):
                yield start, document
            start += len(document)
        task.progress(len(documents))


def _read_bucket(pieces: Sequence[str], bucket: int, buckets: int) -> list[Tokens]:
    """Read the documents of a bucket from all pieces, in the order of their places."""
    found = list[tuple[int, Tokens]]()
    for address in pieces:
        path = storage.local_path(address)
        with (
            pa.memory_map(str(path)) if path else storage.open_read(address) as file,
            pa.ipc.open_file(file) as batches,
        ):
            for number in range(bucket, batches.num_record_batches, buckets):
                found += _documents(batches.get_batch(number))
    # Documents with the same place, copies or not, are ordered by content, not by where they were.
    found.sort(key=lambda document: (document[0], document[1].tobytes()))
    return [tokens for _, tokens in found]


def _documents(batch: pa.RecordBatch) -> Iterator[tuple[int, Tokens]]:
    """Yield the documents of a batch with their places."""
    offsets, flat = batch["tokens"].offsets.to_numpy(), batch["tokens"].values.to_numpy()
    documents = (flat[start:end] for start, end in pairwise(offsets.tolist()))
    yield from zip(batch["place"].to_pylist(), documents, strict=True)


_ARROW_TYPES = {"uint16": pa.uint16(), "uint32": pa.uint32()}
