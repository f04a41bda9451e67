"""What a batch writes, against the plainest loop and against `transformers`, on tiny models."""

from random import Random

import pytest
import torch

from trainer.config.model_config import ModelConfig
from trainer.config.sampling import Sampling
from trainer.generation.decoding import DecodingBatch, TokenSequence
from trainer.model.gpt2 import GPT2, build

CONFIG = ModelConfig(layers=2, heads=2, width=32, context=16, vocabulary=50)
LONGER = ModelConfig(layers=2, heads=2, width=32, context=64, vocabulary=50)
GREEDY = Sampling(greedy=True)
PROMPTS = [[7, 2, 3], [7], [7, 4, 4, 4, 9, 30, 2, 8, 11, 3, 5], [7, 49, 0, 1, 2, 3]]


def telling(config: ModelConfig, seed: int) -> GPT2:
    """Return an untrained model whose every token depends much on those before it."""
    model = build(config, seed=seed).eval()
    with torch.no_grad():
        for parameter in (*model.h.parameters(), model.wpe.weight):
            parameter.mul_(20)
    return model


@pytest.fixture(scope="module")
def model() -> GPT2:
    return telling(CONFIG, 0)


@pytest.fixture(scope="module")
def theirs():
    """The weights of `telling(LONGER, 1)` in `transformers`, which has matrices as [in, out]."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    )
    weights = telling(LONGER, 1).state_dict()
    weights["wte.weight"] = weights["wte.weight"][:50]
    turned = {name: tensor.T for name, tensor in weights.items() if ".c_" in name and tensor.ndim == 2}
    model = GPT2LMHeadModel(config).eval()
    model.transformer.load_state_dict(weights | turned)
    return model


def written(
    model: GPT2, prompts: list[list[int]], count: int, sampling: Sampling = GREEDY
) -> list[list[int]]:
    """Return what a batch adds to prompts, which draw by their numbers."""
    rows = [
        TokenSequence(tokens=list(prompt), random=Random(number)) for number, prompt in enumerate(prompts)
    ]
    batch = DecodingBatch(model, rows, sampling, most_tokens=max(map(len, prompts)) + count)
    return [list(row) for row in zip(*(batch.step()[0] for _ in range(count)), strict=True)]


def plainly(model: GPT2, prompt: list[int], count: int) -> list[int]:
    """Return the greedy continuation by reading the whole window afresh for each token."""
    window, added = prompt[-model.config.context :], []
    for _ in range(count):
        if len(window) > model.config.context:
            window = window[-max(1, model.config.context // 2) :]
        with torch.inference_mode():
            added.append(int(model(torch.tensor([window]))[0, -1].argmax()))
        window.append(added[-1])
    return added


def test_a_batch_follows_the_model_without_a_memory_beyond_the_context(model):
    """Prompts of several lengths, one longer than the context: each fills it at a time of its own."""
    prompts = [*PROMPTS, [number % 50 for number in range(40)]]
    expected = [plainly(model, prompt, 40) for prompt in prompts]
    assert written(model, prompts, 40) == expected
    assert [written(model, [prompt], 40)[0] for prompt in prompts] == expected
    assert len(set(expected[0])) > 3


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_greedy_equals_transformers_token_for_token(theirs, penalty):
    ours = telling(LONGER, 1)
    sampling = Sampling(greedy=True, repetition_penalty=penalty)
    length = max(map(len, PROMPTS))
    padded = torch.tensor([[7] * (length - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    options = {"max_new_tokens": 50, "do_sample": False, "repetition_penalty": penalty}
    # 7 pads: every prompt begins with it, so that it is no news to the penalty.
    together = theirs.generate(padded, attention_mask=mask, pad_token_id=7, **options)[:, length:].tolist()
    found = written(ours, PROMPTS, 50, sampling)
    assert found == together
    for prompt, expected in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        alone = theirs.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=7, **options)
        assert alone[0, len(prompt) :].tolist() == expected
        assert written(ours, [prompt], 50, sampling) == [expected]
    assert len({token for tokens in found for token in tokens}) > 10


def test_what_is_drawn_does_not_depend_on_the_rest_of_the_batch(model):
    sampling = Sampling(temperature=1.0, top_p=0.9)
    rows = [
        TokenSequence(tokens=list(prompt), random=Random(number)) for number, prompt in enumerate(PROMPTS)
    ]
    together = written(model, PROMPTS, 30, sampling)
    for number, row in enumerate(rows):
        batch = DecodingBatch(model, [row], sampling, most_tokens=64)
        assert [batch.step()[0][0] for _ in range(30)] == together[number]
    assert written(model, [[7]] * 3, 30, sampling)[0] != written(model, [[7]] * 3, 30, sampling)[1]


def test_a_sequence_in_the_place_of_another_goes_on_as_alone(model):
    batch = DecodingBatch(
        model, [TokenSequence(tokens=list(prompt)) for prompt in PROMPTS], GREEDY, most_tokens=64
    )
    expected = [plainly(model, prompt, 30) for prompt in PROMPTS]
    for _ in range(5):
        batch.step()
    batch.replace(1, TokenSequence(tokens=list(PROMPTS[2])))
    assert [batch.step()[0][1] for _ in range(10)] == expected[2][:10]
    batch.keep([3, 1])
    steps = [batch.step()[0] for _ in range(15)]
    assert [list(row) for row in zip(*steps, strict=True)] == [expected[3][15:30], expected[2][10:25]]


def test_log_probabilities_are_the_models_own(model):
    batch = DecodingBatch(
        model, [TokenSequence(tokens=[1, 2, 3])], Sampling(top_k=5, repetition_penalty=2.0), most_tokens=8
    )
    (token,), (printed,) = batch.step()
    with torch.inference_mode():
        expected = torch.log_softmax(model(torch.tensor([[1, 2, 3]]))[0, -1], -1)[token]
    assert printed == pytest.approx(float(expected), abs=1e-5)


def test_a_token_forgotten_with_its_half_of_the_context_is_penalised_no_more(model):
    """After the context has rolled on, the batch equals a new one that begins with what was kept."""
    sampling = Sampling(greedy=True, repetition_penalty=1.5)
    row = TokenSequence(tokens=list(range(20, 36)))
    batch = DecodingBatch(model, [row], sampling, most_tokens=99)
    batch.step()
    kept = row.tokens[-8:]
    assert [batch.step()[0] for _ in range(6)] == [
        [token] for token in written(model, [kept], 6, sampling)[0]
    ]


def test_a_context_of_one_token_works():
    smallest = telling(ModelConfig(layers=1, heads=1, width=8, context=1, vocabulary=20), 0)
    assert written(smallest, [[3], [4, 5]], 5) == [plainly(smallest, [3], 5), plainly(smallest, [5], 5)]
