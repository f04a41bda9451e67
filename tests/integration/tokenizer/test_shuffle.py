"""The documents' order is a shuffle by the seed, cut into equal shards, and nothing else decides a byte."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runner.stages import Task
from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.shards import formats, shuffle
from tokenizer.shards.shuffle import (
    INDEX_FILE,
    PIECES_FILE,
    SHARD_FILE,
    CollectOptions,
    ScatterOptions,
    bucket_count,
    bucket_of,
    collect_shard,
    encode_file,
    shard_count,
    shard_range,
)

RunWork = Callable[..., Task]
WriteCorpus = Callable[..., Path]
Shuffle = Callable[..., list[list[int]]]


@pytest.fixture
def make(run_work: RunWork, vocabulary_folder: Path) -> Callable[..., list[Task]]:
    """A function that runs both stages over corpus files, and returns the tasks that wrote the shards."""

    def run(
        parts: Sequence[Path], *, buckets: int = 3, seed: int = 0, size: int = 0, **cut: Any
    ) -> list[Task]:
        scatter = ScatterOptions(seed=seed, buckets=buckets)
        encoded = [
            run_work(encode_file, [part, vocabulary_folder / "tokenizer.json"], scatter) for part in parts
        ]
        counts = np.sum([task.notes["bucket_tokens"] for task in encoded], axis=0).tolist()
        shards = shard_count(sum(counts), size) if size else 1
        options = CollectOptions(
            **{"form": "llm.c", "kind": "uint16", **cut},
            shard_tokens=size or sum(counts),
            shards=shards,
            bucket_tokens=tuple(counts),
        )
        pieces = [task.folder / PIECES_FILE for task in encoded]
        return [run_work(collect_shard, pieces, options, f"{number:06d}") for number in range(shards)]

    return run


@pytest.fixture
def shuffled(
    tmp_path: Path, texts: list[str], write_corpus: WriteCorpus, make: Callable[..., list[Task]]
) -> Shuffle:
    """A function that encodes and shuffles the texts in so many files, and returns the shards' tokens."""

    def run(files: int, **options: Any) -> list[list[int]]:
        corpus = write_corpus(tmp_path / f"corpus_{files}", texts, files)
        tasks = make(sorted((corpus / "train").glob("*.parquet")), **options)
        return [read(task) for task in tasks]

    return run


def read(task: Task) -> list[int]:
    found: list[int] = formats.open_tokens(task.folder / SHARD_FILE, "llm.c", "uint16").tolist()
    assert task.notes["tokens"] == len(found)
    return found


def documents(tokens: list[int], vocabulary: Vocabulary) -> list[str]:
    """Cut a stream of tokens at every end of text, and decode."""
    ends = np.flatnonzero(np.array(tokens) == vocabulary.end_of_text)
    assert ends[0] == 0
    cuts = np.split(np.array(tokens), ends)[1:]
    return [b"".join(vocabulary.tokens[number] for number in cut[1:]).decode() for cut in cuts]


def joined(shards: list[list[int]]) -> list[int]:
    return [token for shard in shards for token in shard]


def test_the_order_depends_on_neither_files_nor_buckets_nor_runs_nor_shards(
    shuffled: Shuffle, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shuffled(1, buckets=1)[0]
    for files, buckets, size in [(3, 1, 0), (1, 4, 5_000), (5, 500, 1_234)]:
        assert joined(shuffled(files, buckets=buckets, size=size)) == whole
    monkeypatch.setattr(shuffle, "LEAST_PER_RUN", 1_000)
    monkeypatch.setattr(shuffle, "TOKENS_PER_BATCH", 1)
    assert joined(shuffled(2, buckets=7, size=999)) == whole


def test_every_shard_is_full_but_the_last(shuffled: Shuffle) -> None:
    lengths = [len(shard) for shard in shuffled(2, size=3_000)]
    assert len(lengths) > 5
    assert set(lengths[:-1]) == {3_000}
    assert 1_500 <= lengths[-1] <= 4_500


@given(st.integers(0, 10**12), st.integers(1, 2**30))
def test_shards_cover_the_stream_and_none_is_tiny(tokens: int, size: int) -> None:
    shards = shard_count(tokens, size)
    options = CollectOptions(
        form="llm.c", kind="uint16", shard_tokens=size, shards=shards, bucket_tokens=(tokens,)
    )
    if tokens == 0:
        assert shards == 0
        return
    assert shard_range(options, 0)[0] == 0
    first, end = shard_range(options, shards - 1)
    assert end == tokens
    assert first == size * (shards - 1)
    assert shards == 1 or size <= 2 * (end - first) <= 3 * size
    assert end - first <= max(tokens if shards == 1 else 0, 3 * size // 2 + 1)


def test_every_document_is_there_once_and_whole(
    shuffled: Shuffle, texts: list[str], vocabulary: Vocabulary
) -> None:
    found = documents(joined(shuffled(2, size=2_000)), vocabulary)
    assert Counter(found) == Counter(text for number, text in enumerate(texts) if number % 10)


def test_a_document_counts_in_the_shard_that_it_begins_in(
    make: Callable[..., list[Task]], corpus: Path, vocabulary: Vocabulary
) -> None:
    tasks = make(sorted((corpus / "train").glob("*.parquet")), size=2_000)
    for task in tasks:
        assert task.notes["documents"] == read(task).count(vocabulary.end_of_text)


def test_another_seed_gives_another_order_of_the_same_documents(
    shuffled: Shuffle, vocabulary: Vocabulary
) -> None:
    one, other = (documents(shuffled(1, seed=seed)[0], vocabulary) for seed in (1, 2))
    assert one != other
    assert sorted(one) == sorted(other)


def test_ids_that_come_twice_or_not_at_all_leave_the_order_to_the_texts(
    tmp_path: Path, make: Callable[..., list[Task]], texts: list[str]
) -> None:
    def shard(name: str, *parts: list[tuple[str | None, str]]) -> list[int]:
        paths = [tmp_path / f"{name}_{number}.parquet" for number in range(len(parts))]
        for path, rows in zip(paths, parts, strict=True):
            ids, words = zip(*rows, strict=True)
            pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "text": words}), path)
        return read(make(paths)[0])

    rows = [("same", text) for text in texts[:40]] + [(None, text) for text in texts[:40]]
    assert shard("one", rows) == shard("two", rows[::-2], rows[-2::-2])


def test_documents_with_one_place_are_ordered_by_content(
    shuffled: Shuffle, monkeypatch: pytest.MonkeyPatch, vocabulary: Vocabulary
) -> None:
    monkeypatch.setattr(shuffle, "place", lambda document_id, text, seed: 2**63)
    one, other = shuffled(1)[0], joined(shuffled(4, size=700))
    assert one == other
    assert len(documents(one, vocabulary)) > 100


def test_megatrons_index_says_where_the_documents_are(
    make: Callable[..., list[Task]], corpus: Path, vocabulary: Vocabulary
) -> None:
    (task,) = make(sorted((corpus / "train").glob("*.parquet")), form="megatron")
    tokens = np.fromfile(task.folder / SHARD_FILE, "<u2")
    lengths = formats.read_megatron_index(task.folder / INDEX_FILE).lengths
    assert (tokens[np.cumsum(lengths) - lengths] == vocabulary.end_of_text).all()
    assert (lengths.sum(), len(lengths)) == (len(tokens), task.notes["documents"])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 512))
def test_buckets_are_ranges_of_places(places: list[int], buckets: int) -> None:
    found = bucket_of(np.array(sorted(places), np.uint64), buckets).tolist()
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] < buckets


def test_buckets_hold_some_sixteen_million_tokens_until_they_are_512() -> None:
    assert [bucket_count(4 * tokens) for tokens in (0, 10**7, 10**8, 10**10)] == [1, 1, 6, 512]


def test_a_disk_that_is_full_is_told_and_leaves_no_marker(
    make: Callable[..., list[Task]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, schema: pa.Schema) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shuffle.pa.ipc, "new_file", full)
    with pytest.raises(OSError, match="No space left"):
        make(sorted((corpus / "train").glob("*.parquet")))
