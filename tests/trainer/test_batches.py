from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.shards import Shard, ShardIndex, Split, VocabularyReference, write_shard
from trainer.batches import TokenStream, TrainingData, ValidationData, permute, read_shards
from trainer.config import IGNORED


def stream(*lengths: int) -> TokenStream:
    """Tokens 0, 1, 2, … cut into shards of these lengths."""
    cuts = np.cumsum(lengths)[:-1]
    return TokenStream(np.split(np.arange(sum(lengths), dtype=np.uint16), cuts))


def training(length: int = 101, *, seed: int = 0) -> TrainingData:
    return TrainingData(stream(length), context=10, vocabulary=65_536, seed=seed)


@given(st.integers(1, 3000), st.integers(0, 2**64), st.integers(0, 5))
def test_permute_takes_each_place_exactly_once(count, seed, epoch):
    assert sorted(permute(index, count, key=(seed, epoch)) for index in range(count)) == list(range(count))


def test_permute_spreads_neighbours_evenly():
    places = np.array([permute(index, 10_000, key=(1, 0)) for index in range(1000)])
    counts, _ = np.histogram(places, bins=10, range=(0, 10_000))
    assert counts.min() > 60  # 100 expected; a fair shuffle falls below 60 less than once in 10,000
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.15


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40), st.integers(0, 40))
def test_the_shards_read_as_one_stream(lengths, start, count):
    tokens = stream(*lengths)
    assert len(tokens) == sum(lengths)
    assert tokens.read(start, count).tolist() == list(range(sum(lengths)))[start : start + count]


def test_targets_are_the_next_tokens():
    inputs, targets = training().sequences(0, 10)
    assert inputs.shape == targets.shape == (10, 10)
    assert (targets == inputs + 1).all()


def test_an_epoch_takes_every_window_once_and_each_epoch_in_its_own_order():
    data = training()
    epochs = [[data.window(position) for position in range(e * 10, e * 10 + 10)] for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_the_seed_decides_the_order():
    orders = [[training(2001, seed=seed).window(position) for position in range(200)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 12))
def test_a_sequence_depends_on_its_position_alone(first, count, split):
    data = training()
    whole = data.sequences(first, count)[0]
    parts = [data.sequences(p, min(split, first + count - p))[0] for p in range(first, first + count, split)]
    assert (np.concatenate(parts) == whole).all()


@given(st.integers(0, 100), st.integers(1, 12), st.integers(1, 200))
def test_validation_predicts_every_token_but_the_first_exactly_once(length, micro_batch, most):
    data = ValidationData(stream(length), context=10, vocabulary=65_536, most_tokens=most)
    seen: list[int] = []
    for first in range(0, data.windows, micro_batch):
        inputs, targets = data.sequences(first, micro_batch)
        assert inputs.shape == targets.shape == (micro_batch, 10)
        counted = targets != IGNORED
        assert (targets[counted] == inputs[counted] + 1).all()
        seen += targets[counted].tolist()
    assert seen == list(range(1, max(0, min(length - 1, most)) + 1))
    assert data.tokens == len(seen)


def test_a_token_outside_the_vocabulary_is_an_error():
    data = TrainingData(stream(101), context=10, vocabulary=100, seed=0)
    with pytest.raises(ValueError, match="the shards hold token 100, but their vocabulary has 100 entries"):
        data.sequences(0, 10)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of one shard of 1,000 tokens for each split."""
    splits = {}
    for split in ("train", "validation"):
        name = f"{split}_000000.bin"
        tokens, checksum = write_shard(tmp_path / name, [np.arange(1000, dtype=np.uint16)])
        shard = Shard(file=name, tokens=tokens, documents=1, sha256=checksum)
        splits[split] = Split(documents=1, tokens=tokens, characters=1, bytes=1, shards=[shard])
    vocabulary = VocabularyReference(fingerprint="f", size=1000, end_of_text=999)
    index = ShardIndex(vocabulary=vocabulary, seed=0, splits=splits)
    (tmp_path / "shards.json").write_text(index.to_json())
    return tmp_path


def test_a_shard_file_reads_as_the_tokens_that_were_written(shards):
    found = read_shards(str(shards))
    assert (found.index.vocabulary.size, found.index.vocabulary.fingerprint) == (1000, "f")
    assert found.open("train").read(0, 2000).tolist() == list(range(1000))


def test_a_shard_other_than_the_one_that_the_index_names_is_refused(shards):
    write_shard(shards / "train_000000.bin", [np.arange(999, dtype=np.uint16)])
    with pytest.raises(ValueError, match=r"train_000000\.bin has 999 tokens, and shards\.json says 1,000"):
        read_shards(str(shards)).open("train")


def test_a_folder_without_shards_json_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"no finished shards at {tmp_path}"):
        read_shards(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "other", "version": 1}'])
def test_a_broken_shards_json_is_named(tmp_path, content):
    (tmp_path / "shards.json").write_text(content)
    with pytest.raises(ValueError, match=r"shards\.json is"):
        read_shards(str(tmp_path))


def test_a_missing_shard_is_named(shards):
    (shards / "train_000000.bin").unlink()
    with pytest.raises(ValueError, match=r"train_000000\.bin is missing"):
        read_shards(str(shards)).open("train")


@pytest.mark.parametrize("size", [0, 100, 1024, 3023])
def test_a_truncated_shard_is_named(shards, size):
    path = shards / "train_000000.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"train_000000\.bin (is damaged|is not a shard)"):
        read_shards(str(shards)).open("train")


@pytest.mark.parametrize(("place", "value"), [(0, 20240521), (1, 2), (2, 999)])
def test_a_wrong_header_is_named(shards, place, value):
    path = shards / "train_000000.bin"
    header = np.frombuffer(path.read_bytes()[:1024], "<i4").copy()
    header[place] = value
    path.write_bytes(header.tobytes() + path.read_bytes()[1024:])
    with pytest.raises(ValueError, match=r"train_000000\.bin (is|has) "):
        read_shards(str(shards)).open("train")
