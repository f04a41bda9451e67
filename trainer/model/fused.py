"""Two operations of a block whose backward pass also sums the gradient of the preceding bias.

The gradient of a linear layer's bias is the sum over all positions of the gradient of the layer's output.
Normally, that sum reads from memory what another kernel has just written. Here the layer adds its bias
without a gradient, and the following operation, which writes that gradient, sums it as well.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def linear_without_bias_gradient(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return layer(x); the bias gets its gradient from `BiasedGelu` or `BiasedHeads`."""
    return F.linear(x, layer.weight, layer.bias.detach())


class BiasedGelu(torch.autograd.Function):
    """GELU in the tanh form of x [..., C], to which a bias [C] was added without a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:  # the bias is in x
        ctx.save_for_backward(x)
        return F.gelu(x, approximate="tanh")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        rows = (gradient.flatten(0, -2), x.flatten(0, -2))  # [N, C]
        if x.is_cuda:
            result, sums = torch.ops.outbound.gelu_backward(*rows)
        else:
            result = torch.ops.aten.gelu_backward(*rows, approximate="tanh")
            sums = result.sum(0, dtype=torch.float32)
        return result.view_as(x), sums


class BiasedHeads(torch.autograd.Function):
    """Cut qkv [B, T, 3C], to which a bias [3C] was added without a gradient, into q, k, v [B, H, T, D]."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
        parts = qkv.chunk(3, dim=-1)
        return tuple(part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        # The attention kernels return their gradients in the order [B, T, H, D]: no copy.
        rows = [part.transpose(1, 2).flatten(2).flatten(0, 1) for part in gradients]  # [N, C]
        if rows[0].is_cuda:
            result, sums = torch.ops.outbound.concatenate(*rows)
        else:
            result = torch.cat(rows, dim=1)
            sums = result.sum(0, dtype=torch.float32)
        return result.view(len(gradients[0]), -1, result.shape[1]), sums, None
