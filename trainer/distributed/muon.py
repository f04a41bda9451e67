"""Muon for the matrices inside the blocks, which may be sharded over the ranks, and AdamW for the rest.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) moves a matrix along its gradient's
momentum, but by the same length in every direction: the momentum's singular values are all made one. The
numbers are those of `torch.optim.Muon` with Nesterov momentum and adjust_lr_fn="match_rms_adamw" (Liu et al.
2025, "Muon is Scalable for LLM Training", arXiv 2502.16982): an update is as large as AdamW's usually is, so
that learning rate and weight decay serve both.

That takes whole matrices. A matrix in parts is sent to one rank, made orthogonal there, and sent back; the
ranks do so in turns, a matrix each. Momentum and weights stay where they are. DeepSpeed has a Muon of its
own, but it clips and judges what has already been made orthogonal, not the gradient, and each ZeRO stage
does so in another way.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # Jordan's: steep at 0, so that few steps do
STEPS = 5
EPSILON = 1e-7
RMS = 0.2  # of AdamW's updates (Liu et al. 2025, section 2.2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A matrix that Muon updates, and where its numbers lie."""

    tensor: Tensor  # what the optimizer updates: a parameter, or this rank's part of many
    at: int  # where this rank's part of the matrix begins in it
    shape: torch.Size
    counts: tuple[int, ...]  # how many of its numbers each rank holds, one after the other

    @property
    def work(self) -> int:
        """How dear it is to make orthogonal, on no particular scale."""
        return math.prod(self.shape) * min(self.shape)

    def whole_on(self, rank: int) -> bool:
        """Whether a rank holds all of it."""
        return self.counts[rank] == math.prod(self.shape)


class MuonWithAdamW(torch.optim.AdamW):
    """AdamW, but Muon for groups whose "muon" is true.

    A matrix's momentum is an average like AdamW's first moment, and bears its name in the state.

    Args:
        products: in which type the products of Newton-Schulz are computed.
    """

    def __init__(self, groups: list[dict[str, Any]], *, products: torch.dtype, **adamw: Any) -> None:
        super().__init__(groups, **adamw)
        self._products = products
        self._matrices: list[Matrix] = []
        self._rank, self._device = 0, torch.device("cpu")

    def lay_out(self, matrices: list[Matrix], *, rank: int, device: torch.device) -> None:
        """Say where the matrices lie, and where they are made orthogonal; the same matrices on all ranks."""
        self._matrices, self._rank, self._device = matrices, rank, device

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no closure
        """Update all parameters with a gradient, and overwrite the gradient; collective."""
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                updated = {id(tensor) for tensor in group["params"] if tensor.grad is not None}
                matrices = [matrix for matrix in self._matrices if id(matrix.tensor) in updated]
                for turn in turns(matrices):
                    self._take(turn, rate=group["lr"], decay=group["weight_decay"])
        self.param_groups = [group for group in groups if not group["muon"]]
        super().step()
        self.param_groups = groups

    def _take(self, turn: Sequence[Matrix | None], *, rate: float, decay: float) -> None:
        """Update the matrices of a turn, each of which is made orthogonal on the rank of its place."""
        mine = turn[self._rank]
        parts = [self._momentum(matrix) for matrix in turn]
        if all(matrix is None or matrix.whole_on(rank) for rank, matrix in enumerate(turn)):
            if mine is not None:
                _move(mine, self._orthogonal(mine, parts[self._rank]), rate=rate, decay=decay)
            return
        counts = [len(part) for part in parts]
        whole = mine.counts if mine else [0] * len(turn)
        collected = _exchange(torch.cat(parts), counts, whole)
        collected = self._orthogonal(mine, collected) if mine else collected.to(self._products)
        updates = torch.split(_exchange(collected, whole, counts), counts)
        for matrix, update in zip(turn, updates, strict=True):
            if len(update):
                assert matrix is not None, "only of a matrix are there numbers"
                _move(matrix, update, rate=rate, decay=decay)

    def _momentum(self, matrix: Matrix | None) -> Tensor:
        """Take this rank's part of the gradient into the momentum, and return what Nesterov makes of both."""
        if matrix is None:
            return torch.empty(0, device=self._device)
        place = slice(matrix.at, matrix.at + matrix.counts[self._rank])
        assert matrix.tensor.grad is not None, "chosen by its gradient"
        gradient = matrix.tensor.grad.flatten()[place]
        momentum = self.state[matrix.tensor]["exp_avg"].view(-1)[place]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp_(momentum, MOMENTUM).to(self._device)

    def _orthogonal(self, matrix: Matrix, momentum: Tensor) -> Tensor:
        return orthogonal(momentum.view(matrix.shape), self._products).flatten()


def _move(matrix: Matrix, update: Tensor, *, rate: float, decay: float) -> None:
    """Let this rank's part of a matrix decay, and move it."""
    weights = matrix.tensor.view(-1)[matrix.at : matrix.at + len(update)]
    weights.mul_(1 - rate * decay)
    weights.add_(update.to(weights.device), alpha=-RMS * math.sqrt(max(matrix.shape)) * rate)


def _exchange(values: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
    """Send so many values to each rank, and return what came from each, in the order of the ranks."""
    result = values.new_empty(sum(received))
    torch.distributed.all_to_all_single(result, values, list(received), list(sent))
    return result


def orthogonal(matrix: Tensor, products: torch.dtype) -> Tensor:
    """Return U Vᵀ of a matrix U S Vᵀ [R, K], nearly: its singular values come to lie around 1.

    Five steps of Newton and Schulz's iteration on the smaller side, as `torch.optim.Muon` has it.

    Args:
        products: the type of the products and of the result: bfloat16, as PyTorch, or float32.
    """
    a, b, c = COEFFICIENTS
    x = matrix.to(products)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x  # [M, N], M ≤ N
    x = x / x.norm().clamp(min=EPSILON)  # so that no singular value is above 1
    for _ in range(STEPS):
        gram = x @ x.T  # [M, N] [N, M] -> [M, M]
        gram = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # b G + c G²: [M, M]
        x = torch.addmm(x, gram, x, beta=a)  # a X + (b G + c G²) X: [M, N]
    return x.T if tall else x


def turns(matrices: Iterable[Matrix]) -> list[tuple[Matrix | None, ...]]:
    """Share out the matrices: in each turn one for every rank, or None where it has no more.

    A matrix goes to the rank that has most of it, so that it need not travel, or else to the one with
    least to do.
    """
    chosen = list(matrices)
    ranks = len(chosen[0].counts) if chosen else 0
    shares: list[list[Matrix]] = [[] for _ in range(ranks)]
    for matrix in chosen:
        most = [rank for rank in range(ranks) if 2 * matrix.counts[rank] > math.prod(matrix.shape)]
        rank = min(most or range(ranks), key=lambda rank: sum(other.work for other in shares[rank]))
        shares[rank].append(matrix)
    return list(itertools.zip_longest(*shares))


def matrix_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that Muon is for: the matrices inside the blocks.

    Embedding, output layer and positions are AdamW's, as Jordan advises: their rows are of single tokens.
    """
    return tuple(name for name, p in model.named_parameters() if name.startswith("h.") and p.ndim == 2)
