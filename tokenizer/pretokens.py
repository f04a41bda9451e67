"""Counting GPT-2 pre-tokens: how often each word occurs in the corpus, however rare it is.

A pre-token is what GPT-2's regular expression cuts text into before any merge: a word with the blank
before it, a run of digits, of punctuation or of white space. No merge crosses its ends, so the counts are
all that BPE needs to know of a corpus. Counting is a shuffle: one task a corpus file counts and
scatters by hash of the word, one task a bucket adds up. Memory grows with distinct words, not with text.
"""

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline import storage
from pipeline.stages import Counts, Task, edition
from tokenizer.documents import Tally, read_documents

SEPARATOR = b"\xff"  # occurs in no UTF-8, so no document can hold it
COUNTS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
ROWS_BEFORE_ADDING_UP = 2**21
TEXT_BYTES_AT_ONCE = 16 * 2**20  # the more text is counted at once, the fewer words come again


@dataclass(frozen=True, kw_only=True)
class CountOptions:
    """How the counting is spread."""

    buckets: int
    """Into how many parts the words are scattered, each added up by one task. The result is the same."""


def count_words(texts: Sequence[bytes]) -> pa.Table:
    """Count the GPT-2 pre-tokens of some documents (UTF-8): a table of `word` and `count`, unordered."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # a task has one core; read when gigatoken is first used
    from gigatoken.gigatoken_rs import pretokenized_counts

    pairs = pretokenized_counts(SEPARATOR.join(texts), SEPARATOR)
    words, counts = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table([words, counts], schema=COUNTS)


class WordCounts:
    """Adds up tables of counts, holding little more than the distinct words."""

    def __init__(self) -> None:
        self._tables = [COUNTS.empty_table()]
        self._pending_rows = 0

    def add(self, table: pa.Table) -> None:
        """Take in one more table of counts."""
        self._tables.append(table)
        self._pending_rows += len(table)
        if self._pending_rows > max(ROWS_BEFORE_ADDING_UP, len(self._tables[0])):
            self._add_up()

    def total(self) -> pa.Table:
        """Return each distinct word once, sorted by its bytes, with its count."""
        self._add_up()
        return self._tables[0].sort_by("word")

    def _add_up(self) -> None:
        grouped = (
            pa.concat_tables(self._tables).group_by("word", use_threads=False).aggregate([("count", "sum")])
        )
        self._tables = [grouped.rename_columns(COUNTS.names).cast(COUNTS)]
        self._pending_rows = 0


@edition(1, "gigatoken")
def count_file(task: Task) -> Counts:
    """Stage: count one corpus file, into one table per bucket of words."""
    counts, digest, tally = WordCounts(), xxhash.xxh3_128(), Tally()
    pending, pending_from = list[bytes](), 0
    for batch in read_documents(task.inputs[0]):
        tally.add(batch)
        for text in batch.texts:
            digest.update(text + SEPARATOR)
        pending += batch.texts
        if tally.bytes - pending_from > TEXT_BYTES_AT_ONCE:
            counts.add(count_words(pending))
            pending, pending_from = [], tally.bytes
        task.progress(batch.rows)
    counts.add(count_words(pending))
    for bucket, table in enumerate(_scatter(counts.total(), task.options.buckets)):
        pq.write_table(table, task.folder / bucket_file(bucket), compression="zstd")
    task.notes.update(characters=tally.characters, bytes=tally.bytes, text_digest=digest.hexdigest())
    return tally.counts


@edition(1)
def add_up_bucket(task: Task) -> Counts:
    """Stage: add up what all corpus files count for one bucket of words."""
    counts = WordCounts()
    rows = 0
    for address in task.inputs:
        with storage.open_read(address) as file:
            table = pq.read_table(file, schema=COUNTS)
        counts.add(table)
        rows += len(table)
        task.progress(len(table))
    total = counts.total()
    pq.write_table(total, task.folder / "counts.parquet", compression="zstd")
    task.notes.update(words=len(total))
    return Counts(rows, rows)


class CountedWords:
    """The words of sorted tables of counts, in one order however many tables there are, as often as asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return heapq.merge(*(_read_counts(address) for address in self._addresses))


def bucket_file(bucket: int) -> str:
    """Return the name of the file that holds one bucket of a corpus file's counts."""
    return f"counts_{bucket:04d}.parquet"


def _scatter(table: pa.Table, buckets: int) -> Iterator[pa.Table]:
    """Yield one table for each bucket; a word's bucket depends on nothing but the word."""
    hashes = (xxhash.xxh3_64_intdigest(word) % buckets for word in table["word"].to_pylist())
    bucket_of = np.fromiter(hashes, dtype=np.int64, count=len(table))
    for bucket in range(buckets):
        yield table.filter(pa.array(bucket_of == bucket))


def _read_counts(address: str) -> Iterator[tuple[bytes, int]]:
    """Yield the words of a table of counts in their order, with their counts."""
    with storage.open_read(address) as file:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)
