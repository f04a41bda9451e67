import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import ModelConfig
from trainer.generation import generate, probabilities
from trainer.model import GPT2, build
from trainer.sampling import Sampling

CONFIG = ModelConfig(layers=2, heads=2, width=32, context=16, vocabulary=50)
PLAIN = Sampling(temperature=1.0, top_p=None)

logit_lists = st.lists(st.floats(-20, 20), min_size=2, max_size=30)


@pytest.fixture(scope="module")
def model() -> GPT2:
    """An untrained model whose every token depends much on those before it."""
    model = build(CONFIG, seed=0)
    with torch.no_grad():
        for parameter in (*model.h.parameters(), model.wpe.weight):
            parameter.mul_(20)
    return model


def write(model, *, count=40, seed=0, prompt=(1, 2, 3), end=None, **sampling) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    options = Sampling(**{"temperature": 1.0, "top_p": None, **sampling})
    return list(generate(model, list(prompt), count=count, sampling=options, generator=generator, end=end))


@given(logit_lists)
def test_without_limits_the_probabilities_are_the_softmax(values):
    logits = torch.tensor(values)
    torch.testing.assert_close(probabilities(logits, PLAIN), torch.softmax(logits.double(), -1))


@given(logit_lists, st.integers(1, 30))
def test_top_k_keeps_the_k_likeliest_in_their_proportions(values, k):
    logits = torch.tensor(values)
    kept = probabilities(logits, Sampling(temperature=1.0, top_k=k, top_p=None))
    assert int((kept > 0).sum()) == min(k, len(values))
    assert float(logits[kept > 0].min()) >= float(logits[kept == 0].max()) if (kept == 0).any() else True
    full = torch.softmax(logits.double(), -1)
    torch.testing.assert_close(kept[kept > 0], full[kept > 0] / full[kept > 0].sum())


@given(logit_lists, st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_of_likeliest_tokens_with_that_mass(values, p):
    full = torch.softmax(torch.tensor(values).double(), -1)
    kept = probabilities(torch.tensor(values), Sampling(temperature=1.0, top_p=p)) > 0
    mass = float(full[kept].sum())
    assert mass >= p - 1e-9
    assert mass - float(full[kept].min()) < p + 1e-9
    assert float(full[kept].min()) >= float(full[~kept].max()) if (~kept).any() else True


@given(logit_lists)
def test_top_k_of_one_zero_temperature_and_greedy_agree(values):
    logits = torch.tensor(values)
    greedy = probabilities(logits, Sampling(greedy=True))
    assert torch.equal(probabilities(logits, Sampling(temperature=0.0)), greedy)
    top_1 = probabilities(logits, Sampling(temperature=1.0, top_k=1, top_p=None))
    assert float(logits[top_1.argmax()]) == float(logits[greedy.argmax()]) == float(logits.max())
    assert float(top_1.sum()) == float(greedy.sum()) == 1


def test_temperature_divides_the_logits():
    logits = torch.tensor([1.0, 2.0, 4.0])
    cool = probabilities(logits, Sampling(temperature=0.5, top_p=None))
    torch.testing.assert_close(cool, torch.softmax(logits.double() * 2, -1))


def test_the_same_seed_writes_the_same_text_and_another_one_another(model):
    assert write(model, seed=1) == write(model, seed=1) != write(model, seed=2)


def test_generation_follows_the_model_without_a_cache_beyond_the_context(model):
    """Against the plainest loop: read the whole window afresh for each token."""
    window, expected = [1, 2, 3], []
    for _ in range(40):
        if len(window) > CONFIG.context:
            window = window[-(CONFIG.context // 2) :]
        with torch.no_grad():
            token = int(model(torch.tensor([window]))[0, -1].argmax())
        window.append(token)
        expected.append(token)
    assert write(model, greedy=True) == expected
    assert len(set(expected)) > 3


def test_a_long_prompt_counts_by_its_end(model):
    long = [number % 50 for number in range(100)]
    assert write(model, prompt=long) == write(model, prompt=long[-16:])


def test_generation_stops_at_the_end_token_and_does_not_yield_it(model):
    free = write(model, seed=4)
    end = free[10]
    assert write(model, seed=4, end=end) == free[: free.index(end)]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"temperature": -1.0}, "--temperature is -1.0"),
        ({"temperature": float("nan")}, "--temperature is nan"),
        ({"top_k": 0}, "--top-k is 0"),
        ({"top_p": 0.0}, "--top-p is 0.0"),
        ({"top_p": 1.5}, "--top-p is 1.5"),
    ],
)
def test_a_value_out_of_range_is_a_mistake(sampling, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**sampling).check()
