"""Counting GPT-2 pre-tokens: how often each word occurs in the corpus, however rare it is.

GPT-2's regular expression cuts text into pre-tokens before any merge: a word with the space before it, a run
of digits, of punctuation or of white space. No merge crosses their ends, so the counts are all that BPE
needs to know about a corpus. Counting is a shuffle: one task per corpus file counts and scatters by hash of
the word, one task per bucket adds up. Both run in constant memory.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.sums import Sums, read_sums, write_sums
from pipeline.sources.options import Reading
from tokenizer.bpe.unicode_versions import is_disputed
from tokenizer.bpe.word_counts import COUNTS
from tokenizer.documents import Tally, read_documents

SEPARATOR = b"\xff"  # occurs in no UTF-8, so no document can hold it
COUNTED = "counts.parquet"
TEXT_BYTES_AT_ONCE = 16 * 2**20  # the more text is counted at once, the fewer words repeat


@dataclass(frozen=True, kw_only=True)
class CountOptions:
    """How counting is distributed."""

    buckets: int
    """Number of parts that the words are scattered into, each added up by one task. It does not change the
    result."""
    reading: Reading = field(default_factory=Reading)
    """How the files are read."""


def count_words(texts: Sequence[bytes]) -> pa.Table:
    """Count the GPT-2 pre-tokens of some documents (UTF-8): a table of `word` and `count`, unordered."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # a task has one core; read when gigatoken is first used
    from gigatoken.gigatoken_rs import pretokenized_counts

    agreed = [text for text in texts if not is_disputed(text)]
    pairs = pretokenized_counts(SEPARATOR.join(agreed), SEPARATOR)
    if len(agreed) < len(texts):
        pairs = _added(pairs, _cut_by_tokenizers(filter(is_disputed, texts)))
    words, counts = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table([words, counts], schema=COUNTS)


def _cut_by_tokenizers(texts: Iterable[bytes]) -> Iterator[bytes]:
    from tokenizers.pre_tokenizers import ByteLevel

    cut = ByteLevel(add_prefix_space=False)
    for text in map(bytes.decode, texts):
        for _, (first, last) in cut.pre_tokenize_str(text):
            yield text[first:last].encode()


def _added(pairs: Iterable[tuple[bytes, int]], words: Iterable[bytes]) -> list[tuple[bytes, int]]:
    counts = Counter(dict(pairs))
    counts.update(words)
    return list(counts.items())


@output_version(3, "gigatoken", "tokenizers")
def count_file(task: Task) -> Counts:
    """Stage: count some corpus files, into one table per bucket of words.

    `text_digest` is the sum of the documents' hashes: the digests of a corpus's files add up to the same
    however it is cut into files and ordered.
    """
    counts, digest, tally = Sums(task.folder, COUNTS), 0, Tally()
    pending, pending_from = list[bytes](), 0
    for batch in read_documents(task.inputs, task.options.reading):
        tally.add(batch)
        digest += sum(map(xxhash.xxh3_128_intdigest, batch.texts))
        pending += batch.texts
        if tally.bytes - pending_from > TEXT_BYTES_AT_ONCE:
            counts.add(count_words(pending))
            pending, pending_from = [], tally.bytes
        task.progress(batch.rows)
    counts.add(count_words(pending))
    _write_buckets(counts.total(), task)
    task.notes.update(characters=tally.characters, bytes=tally.bytes, text_digest=f"{digest % 2**128:032x}")
    return tally.counts


@output_version(2)
def add_up_bucket(task: Task) -> Counts:
    """Stage: add up the counts of one bucket of words over all corpus files, into a table sorted by word."""
    counts, rows = Sums(task.folder, COUNTS), 0
    for address in task.inputs:
        for table in read_sums(address, COUNTS):
            counts.add(table)
            rows += len(table)
            task.progress(len(table))
    task.notes.update(words=write_sums(counts.total(), task.folder / COUNTED, COUNTS))
    return Counts(rows, rows)


def bucket_file(bucket: int) -> str:
    """Return the name of the file that holds one bucket of a corpus file's counts."""
    return f"counts_{bucket:04d}.parquet"


def _write_buckets(tables: Iterable[pa.Table], task: Task) -> None:
    """Scatter sorted tables of counts over one file for each bucket."""
    buckets = range(task.options.buckets)
    with ExitStack() as stack:
        paths = [task.folder / bucket_file(bucket) for bucket in buckets]
        files = [stack.enter_context(pq.ParquetWriter(path, COUNTS, compression="zstd")) for path in paths]
        for table in tables:
            for file, part in zip(files, _scatter(table, len(buckets)), strict=True):
                file.write_table(part)


def _scatter(table: pa.Table, buckets: int) -> Iterator[pa.Table]:
    """Yield one table for each bucket; a word's bucket depends only on the word."""
    if buckets == 1:
        yield table
        return
    hashes = (xxhash.xxh3_64_intdigest(word) % buckets for word in table["word"].to_pylist())
    bucket_of = np.fromiter(hashes, dtype=np.int64, count=len(table))
    for bucket in range(buckets):
        yield table.filter(pa.array(bucket_of == bucket))
