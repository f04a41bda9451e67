"""The loss without the logits: they are made for a chunk of positions at a time, and used up at once.

For GPT-2's vocabulary the logits of a batch would be its largest tensor by far: 50,304 × 4 bytes a
position, and as much again for their gradient. Shapes: N positions, C channels, V entries of the
vocabulary, P rows of the embedding (V and the padding), n positions of a chunk.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainer.config import IGNORED

# Logits of one chunk. On a GPU enough to keep it busy (for GPT-2's vocabulary 5,000 positions, 0.5 GB in
# bf16); on a CPU enough for its matrix products (300 positions, 64 MB), and few enough to be used while warm.
CHUNK_LOGITS = {"cuda": 2**28, "cpu": 2**24}

Reduction = Literal["mean", "none"]
Softmax = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def losses_and_gradient(logits: Tensor, targets: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return the losses [n] of logits [n, P], and their gradient [n, P], which is softmax(logits) - one hot.

    In fp32 or better, but for the gradient, which is rounded to the logits' type. The padding has no
    probability. At targets that are `IGNORED` the loss is 0, and the gradient is to be multiplied by 0.
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    logs = F.log_softmax(logits[:, :vocabulary], dim=-1, dtype=exact)  # [n, P] -> [n, V]
    index = targets.clamp(min=0)[:, None]
    hits = logs.gather(1, index)  # [n, 1]
    padding = logits.shape[1] - vocabulary
    gradient = logs.exp_().to(logits.dtype)  # [n, V]
    if padding:
        gradient = F.pad(gradient, (0, padding))  # -> [n, P]
    gradient.scatter_(1, index, hits.expm1().to(logits.dtype))  # p - 1, without cancellation
    return -hits[:, 0] * (targets != IGNORED), gradient


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    vocabulary: int,
    reduction: Reduction,
    softmax: Softmax = losses_and_gradient,
) -> Tensor:
    """Return the cross-entropy of softmax(hidden weightᵀ) in nats: the mean (of none: 0), or each [N].

    As `F.cross_entropy(F.linear(hidden, weight)[:, :vocabulary], targets, ignore_index=IGNORED)`, under
    autocast too. The mean's gradients are made in the forward pass, while each chunk's logits are there;
    single losses learn only in the backward pass what each weighs, and make the logits again.

    Args:
        hidden: [N, C].
        weight: [P, C], the rows of the vocabulary and then the padding.
        targets: [N], `IGNORED` where no loss is counted.
        softmax: `losses_and_gradient`, or what `torch.compile` makes of it.
    """
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        head = _MeanLoss if reduction == "mean" else _Losses
        result: Tensor = head.apply(hidden, weight, targets, vocabulary, softmax)  # type: ignore[no-untyped-call]
        return result
    losses = _losses(*_lower(hidden, weight), targets, vocabulary)
    return losses if reduction == "none" else losses.sum() / (targets != IGNORED).sum().clamp(min=1)


class _MeanLoss(torch.autograd.Function):
    """The mean over the targets that count."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax
    ) -> Tensor:
        ctx.types = hidden.dtype, weight.dtype
        counted = targets != IGNORED
        count = counted.sum().clamp(min=1)
        losses, *gradients = _gradients(*_lower(hidden, weight), targets, vocabulary, softmax, counted)
        ctx.save_for_backward(*gradients, count)
        return losses.sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight_of_mean: Tensor) -> tuple[Tensor | None, ...]:
        *gradients, count = ctx.saved_tensors
        of_hidden, of_weight = (
            gradient.to(kind) * (weight_of_mean / count)
            for gradient, kind in zip(gradients, ctx.types, strict=True)
        )
        return of_hidden, of_weight, None, None, None


class _Losses(torch.autograd.Function):
    """The loss of each position."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax
    ) -> Tensor:
        ctx.vocabulary, ctx.softmax = vocabulary, softmax
        ctx.types = hidden.dtype, weight.dtype
        hidden, weight = _lower(hidden, weight)
        ctx.save_for_backward(hidden, weight, targets)
        return _losses(hidden, weight, targets, vocabulary)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets = ctx.saved_tensors
        weights = weights * (targets != IGNORED)
        _, of_hidden, of_weight = _gradients(hidden, weight, targets, ctx.vocabulary, ctx.softmax, weights)
        return of_hidden.to(ctx.types[0]), of_weight.to(ctx.types[1]), None, None, None


def _lower(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the type that autocast would multiply them in."""
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return hidden, weight
    lower = torch.get_autocast_dtype(device)
    return hidden.to(lower), weight.to(lower)


def _chunks(weight: Tensor, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut all parts [N, …] into equal chunks, as many as `CHUNK_LOGITS` asks for."""
    positions = max(1, CHUNK_LOGITS.get(weight.device.type, 2**24) // len(weight))
    count = max(1, -(-len(parts[0]) // positions))
    return zip(*(part.chunk(count) for part in parts), strict=True)


def _losses(hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int) -> Tensor:
    """Return the loss of each position [N]."""
    exact = torch.promote_types(hidden.dtype, torch.float32)
    losses = []
    for h, t in _chunks(weight, hidden, targets):
        logits = F.linear(h, weight)[:, :vocabulary].to(exact)  # [n, C] -> [n, V]
        losses.append(F.cross_entropy(logits, t, ignore_index=IGNORED, reduction="none"))
    return torch.cat(losses)


def _gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses [N], and the gradients of their weighed sum as to hidden [N, C] and weight [P, C].

    A row's weight is applied to what goes into and comes out of the products, C numbers, not P.
    """
    exact = torch.promote_types(hidden.dtype, torch.float32)
    of_weight = torch.zeros_like(weight, dtype=exact)
    losses, of_hidden = [], []
    for h, t, row in _chunks(weight, hidden, targets, weights[:, None]):
        loss, of_logits = softmax(F.linear(h, weight), t, vocabulary)  # [n, C] -> [n, P] -> [n], [n, P]
        losses.append(loss)
        of_hidden.append(((of_logits @ weight) * row).to(h.dtype))  # [n, P] [P, C] -> [n, C]
        h = (h * row).to(h.dtype)  # noqa: PLW2901  # its rows weighed
        if of_weight.dtype == h.dtype:
            of_weight.addmm_(of_logits.T, h)  # [P, n] [n, C] -> [P, C]
        else:  # the sum over chunks stays in fp32
            of_weight += of_logits.T @ h
    return torch.cat(losses), torch.cat(of_hidden), of_weight
