"""An order that reads a few shards at a time is still an order of all windows, and reads no others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.shards.folder import TokenStream
from trainer.data.batches import TrainingData

CONTEXT = 10
LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=9).filter(lambda lengths: sum(lengths) > 1)


class Watched(TokenStream):
    """A stream that remembers which shards were read."""

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(np.split(np.arange(sum(lengths), dtype=np.uint16), np.cumsum(lengths)[:-1]))
        self.read_from: set[int] = set()

    def _part(self, number: int) -> np.ndarray:
        self.read_from.add(number)
        return super()._part(number)


def training(lengths: list[int], shards: int, seed: int = 3) -> tuple[TrainingData, Watched]:
    stream = Watched(lengths)
    return TrainingData(stream, context=CONTEXT, vocabulary=65_536, seed=seed, shuffle_shards=shards), stream


@given(LENGTHS, st.integers(1, 10), st.integers(0, 3))
def test_an_epoch_takes_every_window_exactly_once(lengths, shards, epoch):
    data, _ = training(lengths, shards)
    order = data.order(epoch * data.windows, data.windows)
    assert sorted(order) == list(range(data.windows))


@given(LENGTHS, st.integers(1, 4), st.integers(0, 60), st.integers(1, 12))
def test_a_batch_reads_the_shards_that_were_named_for_it_and_no_others(lengths, shards, first, count):
    data, stream = training(lengths, shards)
    now, later = data.shards_of(first, count)
    data.sequences(first, count)
    assert stream.read_from <= set(now)
    stream.read_from.clear()
    data.sequences(first + count, 1)
    next_one = data.shards_of(first + count, 1)[0]
    assert stream.read_from <= set(next_one)
    assert not later or stream.read_from <= {*now, *later}


@given(LENGTHS, st.integers(1, 4), st.integers(0, 60), st.integers(1, 12), st.integers(1, 5))
def test_a_window_depends_on_its_position_alone(lengths, shards, first, count, split):
    whole = training(lengths, shards)[0].order(first, count)
    data = training(lengths, shards)[0]
    parts = [data.order(p, min(split, first + count - p)) for p in range(first, first + count, split)]
    assert [window for part in parts for window in part] == whole


def test_epochs_and_seeds_have_orders_of_their_own_of_groups_and_within_them():
    lengths = [200] * 10
    orders = [training(lengths, 2, seed)[0].order(e * 200, 200) for seed in (3, 4) for e in (0, 1)]
    assert len(set(map(tuple, orders))) == 4
    groups = [[window // 40 for window in order[::40]] for order in orders]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in groups)
    assert len(set(map(tuple, groups))) > 1
    inside = [
        sorted(order[:40]) == list(range(groups[n][0] * 40, groups[n][0] * 40 + 40))
        for n, order in enumerate(orders)
    ]
    assert all(inside)


def test_the_order_never_changes():
    """A run of before must find its order again: these are the places of the first edition."""
    assert training([200] * 4, 1)[0].order(0, 8) == [38, 32, 34, 20, 30, 35, 26, 31]


@given(LENGTHS, st.integers(1, 4), st.integers(0, 200), st.integers(1, 12), st.data())
def test_what_is_said_to_be_needed_at_a_time_is_enough_everywhere(lengths, shards, position, count, chance):
    data, _ = training(lengths, shards)
    sizes = chance.draw(st.lists(st.integers(0, 1000), min_size=len(lengths), max_size=len(lengths)))
    most = data.most_at_once(sizes, count)
    assert most <= sum(sizes)
    now, later = data.shards_of(position, count)
    assert sum(sizes[number] for number in {*now, *later}) <= most


def test_small_groups_need_little_at_a_time():
    data, _ = training([100] * 50, 1)
    assert (
        data.most_at_once([7] * 50, 4) == 2 * (1 + 1) * 7
    )  # a group, the next, and where their last windows end
    assert data.most_at_once([7] * 50, 4, shuffle_shards=4) == 2 * (4 + 1) * 7
