"""Our GPT-2 against others: transformers' in PyTorch, and one in NumPy from the papers' equations."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.config.model_config import ModelConfig
from trainer.config.recipes import SIZES
from trainer.model.gpt2 import GPT2, build

Array = NDArray[np.float64]
CONFIG = ModelConfig(layers=3, heads=4, width=32, context=24, vocabulary=100)
MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # transformers has them as [in, out]


@pytest.fixture(scope="module")
def ours() -> GPT2:
    """A model in which no bias is 0 and no gain is 1, so that a misplaced one shows."""
    model = build(CONFIG, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(100, (4, 24), generator=torch.Generator().manual_seed(2))


def in_their_layout(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name == "wte.weight":
        return tensor[: CONFIG.vocabulary]
    return tensor.T if name.endswith(MATRICES) else tensor


@pytest.fixture(scope="module")
def theirs(ours) -> GPT2LMHeadModel:
    """transformers' model with the same weights."""
    model = GPT2LMHeadModel(
        GPT2Config(
            n_layer=3, n_head=4, n_embd=32, n_positions=24, vocab_size=100,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    )  # fmt: skip
    weights = {
        f"transformer.{name}": in_their_layout(name, tensor) for name, tensor in ours.state_dict().items()
    }
    report = model.load_state_dict(weights, strict=False)
    assert report.missing_keys == ["lm_head.weight"]  # which is the embedding
    assert not report.unexpected_keys
    return model


def test_logits_are_those_of_transformers(ours, theirs, tokens):
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["none", "selective", "block"])
def test_loss_and_every_gradient_are_those_of_transformers(ours, theirs, tokens, mode):
    model = GPT2(CONFIG, recompute=mode)
    model.load_state_dict(ours.state_dict())
    loss = model(tokens[:, :-1], tokens[:, 1:], reduction="mean")
    loss.backward()
    theirs.zero_grad()
    expected = theirs(tokens, labels=tokens).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    gradients = {name: parameter.grad for name, parameter in theirs.transformer.named_parameters()}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        found = in_their_layout(name, parameter.grad)
        assert gradients[name].any()
        torch.testing.assert_close(found, gradients[name], rtol=1e-5, atol=1e-5, msg=name)


def test_logits_are_those_of_the_equations_in_double_precision(ours, tokens):
    weights = {name: tensor.double().numpy() for name, tensor in ours.state_dict().items()}
    expected = np.stack([equations(row, weights) for row in tokens.numpy()])
    np.testing.assert_allclose(ours.double()(tokens).detach().numpy(), expected, rtol=0, atol=2e-6)
    ours.float()


def equations(tokens: NDArray[np.int64], weights: dict[str, Array]) -> Array:
    """Logits [T, V] of tokens [T], in NumPy: Vaswani et al. 2017, with GPT-2's changes (section 2.3)."""

    def norm(x: Array, name: str) -> Array:  # Ba et al. 2016, equation 4
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return weights[f"{name}.weight"] * (x - mean) / np.sqrt(variance + 1e-5) + weights[f"{name}.bias"]

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def head(query: Array, key: Array, value: Array) -> Array:
        out = np.zeros_like(value)
        for position in range(len(query)):  # each sees itself and what came before
            scores = key[: position + 1] @ query[position] / np.sqrt(query.shape[-1])
            powers = np.exp(scores)
            out[position] = powers / powers.sum() @ value[: position + 1]
        return out

    def attention(x: Array, name: str) -> Array:
        query, key, value = np.split(linear(x, f"{name}.c_attn"), 3, axis=-1)
        depth = CONFIG.width // CONFIG.heads
        heads = [slice(start, start + depth) for start in range(0, CONFIG.width, depth)]
        joined = np.concatenate([head(query[:, part], key[:, part], value[:, part]) for part in heads], -1)
        return linear(joined, f"{name}.c_proj")

    def gelu(x: Array) -> Array:  # Hendrycks and Gimpel 2016, section 2
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    x = weights["wte.weight"][tokens] + weights["wpe.weight"][: len(tokens)]
    for layer in range(CONFIG.layers):
        x = x + attention(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn")
        inner = gelu(linear(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc"))
        x = x + linear(inner, f"h.{layer}.mlp.c_proj")
    logits: Array = norm(x, "ln_f") @ weights["wte.weight"][: CONFIG.vocabulary].T
    return logits


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("small", 124_439_808),  # as `transformers` counts OpenAI's four checkpoints
        ("medium", 354_823_168),
        ("large", 774_030_080),
        ("xl", 1_557_611_200),
    ],
)
def test_the_module_has_as_many_parameters_as_openais_beside_its_padding(name, parameters):
    size = SIZES[name]
    config = ModelConfig(
        layers=size.layers, heads=size.heads, width=size.width, context=size.context, vocabulary=50_257
    )
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in GPT2(config).parameters())
    assert counted == parameters + (50_304 - 50_257) * size.width
