import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.config.model_config import IGNORED
from trainer.model import loss
from trainer.model.loss import linear_cross_entropy

ROWS, VOCABULARY = 128, 101  # of the embedding, padding included


def batch(positions: int, kind: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Hidden states, weight and targets, of which every fifth does not count."""
    generator = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 16, generator=generator, dtype=kind, requires_grad=True)
    weight = torch.randn(ROWS, 16, generator=generator, dtype=kind, requires_grad=True)
    targets = torch.randint(VOCABULARY, (positions,), generator=generator)
    targets[4::5] = IGNORED
    return hidden, weight, targets


def plain(hidden, weight, targets, reduction):
    logits = F.linear(hidden, weight)[:, :VOCABULARY].float()
    return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction=reduction)


def chunked(hidden, weight, targets, reduction):
    return linear_cross_entropy(hidden, weight, targets, vocabulary=VOCABULARY, reduction=reduction)


def with_gradients(function, arguments, reduction, weigh):
    """Loss and both gradients."""
    hidden, weight = (tensor.detach().requires_grad_() for tensor in arguments[:2])
    loss = function(hidden, weight, arguments[2], reduction)
    (loss * weigh).sum().backward()
    return loss.detach(), hidden.grad, weight.grad


@pytest.fixture(params=[7, 1000])
def small_chunks(request, monkeypatch) -> None:
    """Chunks of 7 positions, or one chunk for all."""
    monkeypatch.setitem(loss.CHUNK_LOGITS, "cpu", request.param * ROWS)


@pytest.mark.parametrize("positions", [1, 30, 64])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.usefixtures("small_chunks")
def test_losses_and_gradients_are_those_of_all_logits_at_once(positions, reduction):
    arguments = batch(positions)
    weigh = torch.linspace(-1, 2, positions) if reduction == "none" else torch.tensor(0.3)
    expected = with_gradients(plain, arguments, reduction, weigh)
    found = with_gradients(chunked, arguments, reduction, weigh)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=2e-6)
    with torch.no_grad():
        torch.testing.assert_close(chunked(*arguments, reduction), expected[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.usefixtures("small_chunks")
def test_the_gradients_are_those_of_differences_in_double_precision(reduction):
    hidden, weight, targets = batch(12, torch.float64)
    arguments = (hidden, weight)
    assert torch.autograd.gradcheck(lambda h, w: chunked(h, w, targets, reduction), arguments, fast_mode=True)


@given(st.integers(1, 40), st.integers(2, 60), st.integers(0, 9), st.integers(1, 500))
def test_any_shape_gives_the_mean_of_the_single_losses(positions, vocabulary, padding, chunk):
    generator = torch.Generator().manual_seed(chunk)
    hidden = torch.randn(positions, 8, generator=generator)
    weight = torch.randn(vocabulary + padding, 8, generator=generator, requires_grad=True)
    targets = torch.randint(vocabulary, (positions,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss.CHUNK_LOGITS, "cpu", chunk)
        mean = linear_cross_entropy(hidden, weight, targets, vocabulary=vocabulary, reduction="mean")
    logits = hidden.double() @ weight.detach().double().T
    expected = -logits[:, :vocabulary].log_softmax(-1)[torch.arange(positions), targets].mean()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


def test_the_padding_has_no_probability_and_no_gradient():
    hidden, weight, targets = batch(30)
    with torch.no_grad():
        weight[VOCABULARY:] = 1e4
    loss, _, of_weight = with_gradients(chunked, (hidden, weight, targets), "mean", 1.0)
    assert math.isfinite(loss)
    assert loss == plain(hidden, weight, targets, "mean")
    assert not of_weight[VOCABULARY:].any()


def test_bf16_is_as_near_to_the_truth_as_plain_autocast():
    hidden, weight, targets = batch(64)
    exact = with_gradients(plain, (hidden.double(), weight.double(), targets), "mean", 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        rough = with_gradients(plain, (hidden, weight, targets), "mean", 1.0)
        found = with_gradients(chunked, (hidden, weight, targets), "mean", 1.0)
    for ours, theirs, truth in zip(found, rough, exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - truth).norm() <= 1.2 * (theirs - truth).norm() + 1e-7


def test_going_back_twice_gives_the_gradient_twice():
    hidden, weight, targets = batch(30)
    loss = chunked(hidden, weight, targets, "mean")
    loss.backward(retain_graph=True)
    once = weight.grad.clone()
    loss.backward()
    assert torch.equal(weight.grad, 2 * once)


def test_no_tensor_is_larger_than_a_chunk_of_logits(monkeypatch):
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            result = function(*arguments, **(options or {}))
            tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            self.elements = max([self.elements, *(tensor.numel() for tensor in tensors)])
            return result

    monkeypatch.setitem(loss.CHUNK_LOGITS, "cpu", 64 * ROWS)
    arguments = batch(640)
    for reduction in ("mean", "none"):
        with Largest() as largest:
            chunked(*arguments, reduction).sum().backward()
        assert largest.elements <= max(64 * ROWS, 640 * 16)
    with Largest() as largest:
        plain(*arguments, "mean").backward()
    assert largest.elements == 640 * ROWS
