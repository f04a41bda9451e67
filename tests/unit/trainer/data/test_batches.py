import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.shards.folder import TokenStream
from trainer.config.model_config import IGNORED
from trainer.data.batches import TrainingData, ValidationData, permute


def stream(*lengths: int) -> TokenStream:
    """Tokens 0, 1, 2, … cut into shards of these lengths."""
    cuts = np.cumsum(lengths)[:-1]
    return TokenStream(np.split(np.arange(sum(lengths), dtype=np.uint16), cuts))


def training(length: int = 101, *, seed: int = 0) -> TrainingData:
    return TrainingData(stream(length), context=10, vocabulary=65_536, seed=seed)


@given(st.integers(1, 3000), st.integers(0, 2**64), st.integers(0, 5))
def test_permute_takes_each_place_exactly_once(count, seed, epoch):
    places = permute(np.arange(count, dtype=np.uint64), count, key=(seed, epoch))
    assert sorted(places.tolist()) == list(range(count))


def test_permute_never_changes():
    """A run of before must find its order again: these are the places of the first edition, one by one."""
    places = permute(np.arange(10, dtype=np.uint64), 1000, key=(1337, 2))
    assert places.tolist() == [975, 934, 737, 546, 516, 259, 511, 756, 473, 240]


def test_permute_spreads_neighbours_evenly():
    places = permute(np.arange(1000, dtype=np.uint64), 10_000, key=(1, 0)).astype(np.int64)
    counts, _ = np.histogram(places, bins=10, range=(0, 10_000))
    assert counts.min() > 60  # 100 expected; a fair shuffle falls below 60 less than once in 10,000
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.15


def test_targets_are_the_next_tokens():
    inputs, targets = training().sequences(0, 10)
    assert inputs.shape == targets.shape == (10, 10)
    assert (targets == inputs + 1).all()


def test_an_epoch_takes_every_window_once_and_each_epoch_in_its_own_order():
    data = training()
    epochs = [data.order(e * 10, 10) for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_the_seed_decides_the_order():
    orders = [training(2001, seed=seed).order(0, 200) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 12))
def test_a_sequence_depends_on_its_position_alone(first, count, split):
    data = training()
    whole = data.sequences(first, count)[0]
    parts = [data.sequences(p, min(split, first + count - p))[0] for p in range(first, first + count, split)]
    assert (np.concatenate(parts) == whole).all()


@given(st.integers(2, 300), st.integers(1, 12), st.integers(0, 3), st.integers(1, 5))
def test_an_epoch_has_every_token_but_the_first_as_a_target_exactly_once(length, count, epoch, shards):
    cuts = [len(part) for part in np.array_split(np.arange(length), shards)]
    data = TrainingData(stream(*cuts), context=10, vocabulary=65_536, seed=7)
    first, seen = epoch * data.windows, list[int]()
    for position in range(0, data.windows, count):
        sequences = min(count, data.windows - position)
        inputs, targets = data.sequences(first + position, sequences, rows=count)
        assert inputs.shape == targets.shape == (count, 10)
        counted = targets != IGNORED
        assert (targets[counted] == inputs[counted] + 1).all()
        assert (inputs[~counted] == 0).all()
        assert counted.sum() == data.targets(first + position, sequences)
        seen += targets[counted].tolist()
    assert sorted(seen) == list(range(1, length))
    assert data.tokens == len(seen)


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


def test_the_bytes_of_the_validation_tokens_are_those_of_its_targets():
    data = ValidationData(stream(50), context=10, vocabulary=65_536, most_tokens=20)
    lengths = np.random.default_rng(0).integers(0, 9, size=100)
    assert data.bytes_of(lengths) == sum(lengths[1:21])


def test_a_token_outside_the_vocabulary_is_an_error():
    data = TrainingData(stream(101), context=10, vocabulary=100, seed=0)
    with pytest.raises(
        ValueError, match="the shards contain token 100, but their vocabulary has 100 entries"
    ):
        data.sequences(0, 10)
