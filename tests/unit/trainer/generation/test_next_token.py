import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.runner.ranges import check_ranges
from trainer.config.sampling import Sampling
from trainer.generation import next_token
from trainer.generation.next_token import candidates, choose, penalised

PLAIN = Sampling(temperature=1.0, top_p=None)

logit_lists = st.lists(st.floats(-20, 20), min_size=2, max_size=30)


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return the probability of every token of the vocabulary [V], given logits [V]."""
    likely, tokens = candidates(logits[None], sampling)
    return torch.zeros(len(logits), dtype=torch.float64).scatter_add(0, tokens[0], likely[0])


@given(logit_lists)
def test_without_limits_the_probabilities_are_the_softmax(values):
    logits = torch.tensor(values)
    expected = torch.softmax(logits.double(), -1)
    torch.testing.assert_close(probabilities(logits, PLAIN), expected, rtol=1e-5, atol=1e-7)


@given(logit_lists, st.integers(1, 30))
def test_top_k_keeps_the_k_likeliest_in_their_proportions(values, k):
    logits = torch.tensor(values)
    kept = probabilities(logits, Sampling(temperature=1.0, top_k=k, top_p=None))
    assert int((kept > 0).sum()) == min(k, len(values))
    assert float(logits[kept > 0].min()) >= float(logits[kept == 0].max()) if (kept == 0).any() else True
    full = torch.softmax(logits.double(), -1)
    torch.testing.assert_close(kept[kept > 0], full[kept > 0] / full[kept > 0].sum(), rtol=1e-5, atol=1e-7)


@given(logit_lists, st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_of_likeliest_tokens_with_that_mass(values, p):
    full = torch.softmax(torch.tensor(values).double(), -1)
    kept = probabilities(torch.tensor(values), Sampling(temperature=1.0, top_p=p)) > 0
    mass = float(full[kept].sum())
    assert mass >= p - 1e-6
    assert mass - float(full[kept].min()) < p + 1e-6
    assert float(full[kept].min()) >= float(full[~kept].max()) - 1e-6 if (~kept).any() else True


@given(
    st.lists(st.lists(st.floats(-20, 20), min_size=40, max_size=40), min_size=1, max_size=3),
    st.floats(0.1, 1),
)
def test_the_likeliest_tokens_alone_give_the_nucleus_of_all(rows, p):
    logits = torch.tensor(rows)
    whole = candidates(logits, Sampling(top_p=p))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_token, "NUCLEUS", 8)
        some = candidates(logits, Sampling(top_p=p))
    for row in range(len(rows)):
        few, many = (found[0][row][found[0][row] > 0] for found in (some, whole))
        torch.testing.assert_close(few, many)


@given(
    st.lists(st.integers(-2000, 2000), min_size=30, max_size=30, unique=True),
    st.floats(0.3, 3),
    st.none() | st.integers(1, 30),
    st.none() | st.floats(0.05, 0.999),
    st.floats(0.5, 2),
    st.lists(st.integers(0, 29), min_size=1, max_size=10),
)
def test_probabilities_are_those_of_transformers(hundredths, temperature, top_k, top_p, penalty, context):
    from transformers.generation import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = torch.tensor([hundredths]) / 100
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([context]), logits)
    expected = TemperatureLogitsWarper(temperature)(None, expected)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p:
        expected = TopPLogitsWarper(top_p)(None, expected)
    seen = torch.zeros(1, 30, dtype=torch.bool)
    seen[0, context] = True
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    found = probabilities(penalised(logits, seen, penalty)[0], sampling).float()
    # A token on the very border of the nucleus may fall to either side, by a rounding.
    border = 1e-4 if top_p else 0
    assert ((found - torch.softmax(expected[0], -1)).abs() > 1e-5 + border).sum() == 0 or _on_the_border(
        penalised(logits, seen, penalty)[0] / temperature, top_k, top_p
    )


def _on_the_border(scaled: torch.Tensor, top_k: int | None, top_p: float | None) -> bool:
    """Say whether the masses of the likeliest tokens come too near to top-p to tell."""
    mass = torch.softmax(scaled.double().sort(descending=True).values[: top_k or 30], -1).cumsum(-1)
    return bool(top_p and ((mass - top_p).abs() < 1e-5).any())


@pytest.mark.parametrize("temperature", [0.0, 1e-9, 1e-4, 1e4, 1e300])
def test_no_temperature_is_too_small_or_too_large(temperature):
    logits = torch.tensor([[1.0, 3.0, 2.0], [40.0, -90.0, 39.5]])
    chosen = choose(logits, Sampling(temperature=temperature), [0.1, 0.1])
    assert temperature > 1 or chosen.tolist() == [1, 0]


@pytest.mark.parametrize("top_p", [None, 0.9])
def test_every_chance_finds_a_token_that_may_come(top_p):
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]] * 3)
    largest = 1 - 2**-53  # that random() may return
    chosen = choose(logits, Sampling(top_p=top_p, temperature=1.0), [0.0, 0.5, largest])
    assert set(chosen.tolist()) <= {0, 2}


@pytest.mark.parametrize(
    "sampling",
    [PLAIN, Sampling(temperature=0.7, top_p=None, top_k=20), Sampling(temperature=1.3, top_p=0.8)],
    ids=["plain", "top-k", "top-p"],
)
def test_draws_are_as_frequent_as_they_are_probable(sampling):
    """A chi-squared test at a significance of 0.001, with a fixed seed; it tells a temperature 10 % off."""
    from random import Random

    random, draws = Random("frequencies"), 40_000
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 1.5
    chosen = choose(logits.expand(draws, -1), sampling, [random.random() for _ in range(draws)])
    counts = torch.bincount(chosen, minlength=50)
    assert _fit(counts, probabilities(logits, sampling)) > 0.001
    assert _fit(counts, probabilities(logits / 1.1, sampling)) < 1e-6


def _fit(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the p-value of counts, those of tokens expected fewer than five times thrown together."""
    often = expected * counts.sum() >= 5
    found, due = counts[often].double(), expected[often] * counts.sum()
    rest = counts[~often].sum().double(), expected[~often].sum() * counts.sum()
    if rest[1] > 0:
        found, due = torch.cat((found, rest[0][None])), torch.cat((due, rest[1][None]))
    elif rest[0] > 0:
        return 0.0  # what could not come has come
    return float(chisquare(found.numpy(), due.numpy() * float(found.sum() / due.sum())).pvalue)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"temperature": -1.0}, "--temperature is -1.0"),
        ({"temperature": float("nan")}, "--temperature is nan"),
        ({"temperature": float("inf")}, "--temperature is inf"),
        ({"top_k": 0}, "--top-k is 0"),
        ({"top_p": 0.0}, "--top-p is 0.0"),
        ({"top_p": 1.5}, "--top-p is 1.5"),
        ({"repetition_penalty": 0.0}, "--repetition-penalty is 0.0"),
    ],
)
def test_a_value_out_of_range_is_a_mistake(sampling, message):
    with pytest.raises(ValueError, match=message):
        check_ranges(Sampling(**sampling))
