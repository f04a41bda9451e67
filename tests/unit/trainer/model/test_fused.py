"""The fused backward passes beside PyTorch's own, and their GPU kernels in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainer.model.fused import BiasedGelu, BiasedHeads, linear_without_bias_gradient

ROOT = Path(__file__).parents[4]


def gradients_of(loss, layer, x):
    return torch.autograd.grad(loss, [x, layer.weight, layer.bias])


def test_gelu_gives_its_bias_the_gradient_that_the_layer_would_have():
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 12, dtype=torch.float64), torch.randn(3, 5, 8, dtype=torch.float64)
    x.requires_grad_()
    weights = torch.randn(3, 5, 12, dtype=torch.float64)
    plain = F.gelu(layer(x), approximate="tanh")
    fused = BiasedGelu.apply(linear_without_bias_gradient(layer, x), layer.bias)
    assert torch.equal(plain, fused)
    expected, found = (gradients_of((y * weights).sum(), layer, x) for y in (plain, fused))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-6, atol=1e-6)


def test_heads_give_their_bias_the_gradient_that_the_layer_would_have():
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 24, dtype=torch.float64), torch.randn(3, 5, 8, dtype=torch.float64)
    x.requires_grad_()
    weights = torch.randn(3, 3, 2, 5, 4, dtype=torch.float64)  # q, k, v; B, H, T, D
    plain = [part.view(3, 5, 2, 4).transpose(1, 2) for part in layer(x).chunk(3, dim=-1)]
    fused = BiasedHeads.apply(linear_without_bias_gradient(layer, x), layer.bias, 2)
    for one, other in zip(fused, plain, strict=True):
        assert torch.equal(one, other)
    expected, found = (
        gradients_of(sum((part * w).sum() for part, w in zip(parts, weights, strict=True)), layer, x)
        for parts in (plain, fused)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-6, atol=1e-6)


KERNELS = """
import torch
from torch.nn import functional as F
from trainer.model import kernels
from trainer.config.model_config import IGNORED

def close(found, expected, relative):
    error = float((found.double() - expected.double()).norm() / expected.double().norm())
    assert error < relative, (error, relative)

kernels.STRIPES = 8  # as many as are tried: the interpreter takes each one's time
torch.manual_seed(0)
for rows, columns, kind, exact in ((37, 70, torch.float32, 1e-5), (300, 264, torch.bfloat16, 4e-3)):
    gradient, x = torch.randn(rows, columns).to(kind), (3 * torch.randn(rows, columns)).to(kind)
    result, sums = kernels.run_gelu_backward(gradient, x)
    expected = torch.ops.aten.gelu_backward(gradient.double(), x.double(), approximate="tanh")
    close(result, expected, exact)
    close(sums, expected.sum(0), 1e-5)
    parts = [torch.randn(rows, columns).to(kind) for _ in range(3)]
    result, sums = kernels.run_concatenate(*parts)
    assert torch.equal(result, torch.cat(parts, dim=1))
    close(sums, torch.cat(parts, dim=1).double().sum(0), 1e-5)
for rows, padded, vocabulary, kind, exact in (
    (9, 384, 300, torch.float32, 1e-5),
    (5, 128, 100, torch.bfloat16, 4e-3),
    (4, 50304, 50257, torch.bfloat16, 4e-3),  # more than one block
):
    logits, targets = (5 * torch.randn(rows, padded)).to(kind), torch.randint(vocabulary, (rows,))
    targets[1] = IGNORED
    logits[2, targets[2]] = 60  # all but certain: p - 1 is tiny, and the loss too
    logits[:, vocabulary:] = 100  # what the padding says counts for nothing
    expected = logits[:, :vocabulary].double().requires_grad_()
    losses = F.cross_entropy(expected, targets, ignore_index=IGNORED, reduction="none")
    losses.sum().backward()
    found, gradient = kernels.losses_in_place(logits, targets, vocabulary)
    assert gradient is logits
    close(found, losses.detach(), 1e-6)
    close(gradient[:, :vocabulary], expected.grad, exact)
    assert not gradient[:, vocabulary:].any() and not gradient[1].any()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
def test_the_gpu_kernels_compute_in_tritons_interpreter_what_pytorch_does():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
