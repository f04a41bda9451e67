import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.distributed.ranks import Ranks
from trainer.evaluation.scoring import Scorer, Sequence, windows

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)


def ids(values) -> np.ndarray:
    return np.array(values, np.uint32)


def scorer(model, **options) -> Scorer:
    return Scorer(model, ALONE, **{"context": 32, "stride": 32, "batch": 3, **options})


SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda pair: (max(pair), min(pair)))


@given(SHAPES, st.integers(1, 60), st.integers(1, 80), st.lists(st.integers(0, 80)))
def test_windows_predict_each_token_once_from_as_much_as_the_stride_leaves(shape, given_, length, cuts):
    context, stride = shape
    tokens = ids(range(length))
    pieces = np.split(tokens, sorted(min(cut, length) for cut in cuts))
    predicted = []
    found = list(windows(Sequence(tokens=pieces, given=given_), context=context, stride=stride))
    for number, window in enumerate(found):
        assert len(window.tokens) <= context + 1
        before = len(window.tokens) - window.predicted  # the first predicted token's context
        first = window.tokens[before]
        assert list(window.tokens) == list(range(first - before, first - before + len(window.tokens)))
        is_first = number == 0 and given_ <= context - stride + 1
        assert before >= (min(given_, first) if is_first else min(first, context - stride + 1))
        predicted += list(window.tokens[before:])
    assert predicted == list(range(given_, length))


def test_windows_are_those_of_the_harness_when_the_stride_is_the_context():
    utils = pytest.importorskip("lm_eval.utils")
    for length in (1, 4, 5, 6, 10, 23):
        tokens = list(range(100, 100 + length))
        theirs = [
            utils.make_disjoint_window(pair)
            for pair in utils.get_rolling_token_windows(tokens, prefix_token=0, max_seq_len=5, context_len=1)
        ]
        ours = windows(Sequence(tokens=[ids([0, *tokens])], given=1), context=5, stride=5)
        found = [
            (window.tokens[: -window.predicted].tolist(), window.tokens[-window.predicted :].tolist())
            for window in ours
        ]
        assert found == theirs


@pytest.fixture(scope="module")
def theirs(model_folder):
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(model_folder).eval()


@torch.no_grad()
def surprise(theirs, context: list[int], token: int) -> float:
    """How unlikely transformers finds one token."""
    return -float(torch.log_softmax(theirs(torch.tensor([context])).logits[0, -1].double(), dim=-1)[token])


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_a_long_text_is_scored_as_transformers_scores_it_token_by_token(loaded, theirs, stride):
    tokens = [int(token) for token in np.random.default_rng(0).integers(0, 256, 30)]
    expected = 0.0
    ends = [8, *range(8 + stride, 30, stride), 29] if stride < 21 else [8, 29]
    for position in range(1, 30):
        end = next(end for end in ends if end >= position)  # of the window: its last token
        expected += surprise(theirs, tokens[max(0, end - 8) : position], tokens[position])
    sequence = Sequence(tokens=[ids(tokens)], given=1)
    total = scorer(loaded.model, context=8, stride=stride).losses([sequence])[0]
    assert total.tokens == 29
    assert float(total.loss) == pytest.approx(expected, rel=1e-5)


def test_only_endings_are_scored_and_added_by_key(loaded, theirs):
    text, endings = [1, 2, 3], {7: [4, 5], 9: [6]}
    sequences = [
        Sequence(tokens=[ids(text + ending)], given=len(text), key=key) for key, ending in endings.items()
    ]
    totals = scorer(loaded.model).losses(sequences)
    first = surprise(theirs, [1, 2, 3], 4) + surprise(theirs, [1, 2, 3, 4], 5)
    assert float(totals[7].loss) == pytest.approx(first, rel=1e-5)
    assert float(totals[9].loss) == pytest.approx(surprise(theirs, [1, 2, 3], 6), rel=1e-5)
    assert (totals[7].tokens, totals[9].tokens) == (2, 1)


def test_a_text_longer_than_the_context_loses_its_beginning(loaded, theirs):
    tokens = [int(token) for token in np.random.default_rng(1).integers(0, 256, 60)]
    totals = scorer(loaded.model).losses([Sequence(tokens=[ids(tokens)], given=58)])
    expected = surprise(theirs, tokens[27:58], tokens[58]) + surprise(theirs, tokens[27:59], tokens[59])
    assert float(totals[0].loss) == pytest.approx(expected, rel=1e-5)


def test_ranks_share_batches_and_their_sums_are_those_of_one(loaded, monkeypatch):
    rng = np.random.default_rng(2)
    tokens = [ids(rng.integers(0, 256, length)) for length in (50, 3, 200, 32, 2, 77, 20)]

    def sequences():
        return [Sequence(tokens=[part], given=1, key=number % 3) for number, part in enumerate(tokens)]

    alone = scorer(loaded.model).losses(sequences())
    for size in (2, 3, 5):
        parts = []
        for rank in range(size):
            ranks = Ranks(rank=rank, size=size, local_rank=rank, local_size=size)
            one = Scorer(loaded.model, ranks, context=32, stride=32, batch=3)
            monkeypatch.setattr(one, "gather", lambda mine: [mine])
            parts.append(one.losses(sequences()))
        for key, total in alone.items():
            assert sum(part[key].tokens for part in parts if key in part) == total.tokens
            assert sum(part[key].loss for part in parts if key in part) == total.loss  # exactly


def test_all_ranks_meet_as_often_on_their_way(loaded, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.scoring.BATCHES_BETWEEN_MEETINGS", 2)
    meetings = []
    for rank in range(3):
        ranks = Ranks(rank=rank, size=3, local_rank=rank, local_size=3)
        one = Scorer(loaded.model, ranks, context=8, stride=8, batch=1)
        seen = []
        monkeypatch.setattr(one, "gather", lambda mine, seen=seen: seen.append(mine) or [mine])
        one.losses([Sequence(tokens=[ids([1] * (8 * 20 + 1))], given=1)])  # 20 batches of a window
        meetings.append([mine is None for mine in seen])
    assert meetings == [[True, True, True, False]] * 3  # after 6, 12 and 18 batches, and for the sums


def test_losses_that_are_no_numbers_are_an_error(loaded):
    model = loaded.model
    weight = model.ln_f.weight.detach().clone()
    model.ln_f.weight.fill_(math.nan)
    try:
        with pytest.raises(ValueError, match="NaN or Inf"):
            scorer(model).losses([Sequence(tokens=[ids([1, 2])], given=1)])
    finally:
        model.ln_f.weight.copy_(weight)


def test_a_last_word_longer_than_the_context_cannot_be_guessed(loaded):
    with pytest.raises(ValueError, match="a last word of more than 32 tokens"):
        scorer(loaded.model).words([Sequence(tokens=[ids(range(40))], given=1)], [])
