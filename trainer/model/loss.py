"""The loss without storing all logits: they are computed for a chunk of positions at a time.

With GPT-2's vocabulary the logits would be the largest tensor by far: 50,304 × 4 bytes per position, and as
much again for their gradient. Shapes: N positions, C channels, V entries of the
vocabulary, P rows of the embedding (V and the padding), n positions of a chunk.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainer.config.model_config import IGNORED
from trainer.model.loss_chunks import CHUNK_LOGITS, IN_PLACE

Reduction = Literal["mean", "none"]
Softmax = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def losses_and_gradient(logits: Tensor, targets: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return the losses [n] of logits [n, P], and their gradient [n, P], which is softmax(logits) - one hot.

    In fp32 or better, but for the gradient, which is rounded to the logits' type. The padding has no
    probability. At targets that are `IGNORED` loss and gradient are 0.
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
    ignored = targets == IGNORED
    gradient.masked_fill_(ignored[:, None], 0)
    return -hits[:, 0] * ~ignored, gradient


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
    autocast too. The mean's gradients are made in the forward pass, while each chunk's logits are there.

    Args:
        hidden: [N, C].
        weight: [P, C], the rows of the vocabulary and then the padding.
        targets: [N], `IGNORED` where no loss is counted.
        softmax: `losses_and_gradient`, or what `torch.compile` makes of it.
    """
    if reduction == "mean" and torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        mean: Tensor = _MeanLoss.apply(hidden, weight, targets, vocabulary, softmax)  # type: ignore[no-untyped-call]
        return mean
    losses = _losses(lower(hidden), lower(weight), targets, vocabulary, softmax)
    return losses if reduction == "none" else losses.sum() / (targets != IGNORED).sum().clamp(min=1)


class _MeanLoss(torch.autograd.Function):
    """The mean over the targets that count."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax
    ) -> Tensor:
        ctx.types = hidden.dtype, weight.dtype
        count = (targets != IGNORED).sum().clamp(min=1)
        losses, *gradients = _gradients(lower(hidden), lower(weight), targets, vocabulary, softmax)
        ctx.save_for_backward(*gradients, count)
        return losses.sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight_of_mean: Tensor) -> tuple[Tensor | None, ...]:
        *gradients, count = ctx.saved_tensors
        of_hidden, of_weight = (
            (gradient * (weight_of_mean / count)).to(kind)
            for gradient, kind in zip(gradients, ctx.types, strict=True)
        )
        return of_hidden, of_weight, None, None, None


def lower(x: Tensor) -> Tensor:
    """Return x in the type that autocast would multiply it in."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _chunks(weight: Tensor, softmax: Softmax, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut all parts [N, …] into equal chunks, as many as `CHUNK_LOGITS` asks for."""
    logits = CHUNK_LOGITS.get(weight.device.type, 2**24) * (IN_PLACE if in_place(softmax) else 1)
    positions = max(1, logits // len(weight))
    count = max(1, -(-len(parts[0]) // positions))
    return zip(*(part.chunk(count) for part in parts), strict=True)


def in_place(softmax: Softmax) -> bool:
    """Whether the gradient that it returns overwrites the logits."""
    return getattr(softmax, "in_place", False)


def _losses(hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax) -> Tensor:
    """Return the loss of each position [N]."""
    exact = torch.promote_types(hidden.dtype, torch.float32)
    losses = []
    for h, t in _chunks(weight, softmax, hidden, targets):
        logits = F.linear(h, weight)  # [n, C] -> [n, P]
        if in_place(softmax) and not torch.is_grad_enabled():
            losses.append(softmax(logits, t, vocabulary)[0])
        else:
            logits = logits[:, :vocabulary].to(exact)
            losses.append(F.cross_entropy(logits, t, ignore_index=IGNORED, reduction="none"))
    return torch.cat(losses)


def _gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocabulary: int, softmax: Softmax
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses [N], and the gradients of their sum as to hidden [N, C] and weight [P, C]."""
    exact = torch.promote_types(hidden.dtype, torch.float32)
    of_weight = torch.zeros_like(weight, dtype=exact)
    of_hidden = torch.empty_like(hidden)
    losses = []
    for h, t, of_h in _chunks(weight, softmax, hidden, targets, of_hidden):
        loss, of_logits = softmax(F.linear(h, weight), t, vocabulary)  # [n, C] -> [n, P] -> [n], [n, P]
        losses.append(loss)
        torch.mm(of_logits, weight, out=of_h)  # [n, P] [P, C] -> [n, C]
        if of_weight.dtype == h.dtype:
            of_weight.addmm_(of_logits.T, h)  # [P, n] [n, C] -> [P, C]
        elif h.is_cuda:  # bf16 products, summed over the chunks in fp32
            torch.addmm(of_weight, of_logits.T, h, out_dtype=exact, out=of_weight)
        else:
            of_weight += of_logits.T @ h
        del of_logits  # before the next chunk's logits
    return torch.cat(losses), of_hidden, of_weight
