"""The documents' order is a shuffle by the seed, and by nothing else."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.stages import Task
from tokenizer.shards import open_shard
from tokenizer.shuffle import SHARD_FILE, ScatterOptions, encode_file, gather_shard, piece_file
from tokenizer.vocabulary import Vocabulary

RunWork = Callable[..., Task]
WriteCorpus = Callable[..., Path]
Shuffle = Callable[..., list[list[int]]]


@pytest.fixture
def shuffle(
    tmp_path: Path, texts: list[str], write_corpus: WriteCorpus, vocabulary_folder: Path, run_work: RunWork
) -> Shuffle:
    """A function that encodes and shuffles the texts in so many files, and returns the shards' tokens."""

    def run(files: int, shards: int, seed: int = 0) -> list[list[int]]:
        corpus = write_corpus(tmp_path / f"corpus_{files}", texts, files)
        options = ScatterOptions(seed=seed, shards=shards)
        parts = sorted((corpus / "train").glob("*.parquet"))
        folders = [
            run_work(encode_file, [p, vocabulary_folder / "tokenizer.json"], options).folder for p in parts
        ]
        pieces = [
            [f / piece_file(shard) for f in folders if (f / piece_file(shard)).exists()]
            for shard in range(shards)
        ]
        gathered = [run_work(gather_shard, inputs).folder / SHARD_FILE for inputs in pieces]
        return [open_shard(path).tolist() for path in gathered]

    return run


def documents(tokens: list[int], vocabulary: Vocabulary) -> list[str]:
    """Cut a shard at every end of text, and decode."""
    ends = np.flatnonzero(np.array(tokens) == vocabulary.end_of_text)
    assert ends[0] == 0
    cuts = np.split(np.array(tokens), ends)[1:]
    return [b"".join(vocabulary.tokens[number] for number in cut[1:]).decode() for cut in cuts]


def test_the_order_depends_on_neither_files_nor_shards(shuffle: Shuffle) -> None:
    whole = shuffle(1, 1)[0]
    for files, shards in [(3, 1), (1, 4), (5, 3)]:
        assert [token for shard in shuffle(files, shards) for token in shard] == whole


def test_every_document_is_there_once_and_whole(
    shuffle: Shuffle, texts: list[str], vocabulary: Vocabulary
) -> None:
    found = [text for shard in shuffle(2, 3) for text in documents(shard, vocabulary)]
    assert Counter(found) == Counter(text for number, text in enumerate(texts) if number % 10)


def test_another_seed_gives_another_order_of_the_same_documents(
    shuffle: Shuffle, vocabulary: Vocabulary
) -> None:
    one, other = (documents(shuffle(1, 1, seed)[0], vocabulary) for seed in (1, 2))
    assert one != other
    assert sorted(one) == sorted(other)


def test_shards_are_about_equally_large(shuffle: Shuffle, vocabulary: Vocabulary) -> None:
    counts = [len(documents(shard, vocabulary)) for shard in shuffle(2, 4)]
    assert max(counts) < 2 * min(counts)
