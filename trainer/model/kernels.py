"""GPU kernels (Triton) for what `torch.compile` reads from memory more often than it must.

Each has a plain PyTorch equal in `trainer/model/fused.py`, which says what it computes. All sums are in fp32
and in a fixed order, so that results are bitwise reproducible.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from trainer.config.model_config import IGNORED

Pair = tuple[Tensor, Tensor]
Wrap = Callable[[Any], Any]  # of a kernel: what launches it
STRIPES = 128  # of rows, whose column sums are added up at last: enough to fill the GPU
BLOCK_ROWS, BLOCK_COLUMNS = 16, 128  # 2.6 TB/s of an H100's 3.0
ROW_BLOCK, ROW_BLOCKS, ROW_WARPS = 4096, 2, 16


@triton.jit
def _gelu_backward(
    gradient,
    x,
    result,
    sums,
    rows,
    columns,
    STRIPE: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    stripe = tl.program_id(1)
    total = tl.zeros([BLOCK_R, BLOCK_C], tl.float32)
    for first in range(0, STRIPE, BLOCK_R):  # STRIPE is a multiple of BLOCK_R
        row = stripe * STRIPE + first + tl.arange(0, BLOCK_R)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        g = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        # gelu(v) = v s with s = sigmoid(2 √(2/π) (v + 0.044715 v³)), whose slope is s (1 - s)
        s = tl.sigmoid(1.5957691216057308 * (v + 0.044715 * v * v * v))
        slope = s + v * s * (1 - s) * 1.5957691216057308 * (1 + 0.134145 * v * v)
        tl.store(result + place, (g * slope).to(result.dtype.element_ty), mask=inside)
        total += g * slope
    tl.store(sums + stripe * columns + column, tl.sum(total, 0), mask=column < columns)


@triton.jit
def _concatenate(
    a, b, c, result, sums, rows, columns, STRIPE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):
    blocks = tl.cdiv(columns, BLOCK_C)
    part = tl.program_id(0) // blocks  # of the three
    column = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    stripe = tl.program_id(1)
    source = a
    if part == 1:
        source = b
    if part == 2:
        source = c
    total = tl.zeros([BLOCK_R, BLOCK_C], tl.float32)
    for first in range(0, STRIPE, BLOCK_R):  # STRIPE is a multiple of BLOCK_R
        row = stripe * STRIPE + first + tl.arange(0, BLOCK_R)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        value = tl.load(source + place, mask=inside, other=0.0)
        there = row[:, None].to(tl.int64) * (3 * columns) + part * columns + column[None, :]
        tl.store(result + there, value, mask=inside)
        total += value.to(tl.float32)
    to = sums + stripe * (3 * columns) + part * columns + column
    tl.store(to, tl.sum(total, 0), mask=column < columns)


@triton.jit
def _cross_entropy(
    logits,
    targets,
    losses,
    VOCABULARY: tl.constexpr,
    COLUMNS: tl.constexpr,
    IGNORED: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    # Two passes over a row, the second of which finds it in the GPU's cache. In powers of 2, as the GPU has
    # them. Most blocks lie whole within the vocabulary and ask for no comparison.
    LOG2_E: tl.constexpr = 1.4426950408889634
    WHOLE: tl.constexpr = VOCABULARY // (BLOCK * BLOCKS) * BLOCK * BLOCKS
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * COLUMNS
    target = tl.load(targets + row)
    hit = tl.load(start + tl.maximum(target, 0)).to(tl.float32)
    lane = tl.arange(0, BLOCK)
    most = tl.full([BLOCK], -1e30, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, WHOLE, BLOCK * BLOCKS):
        new = most
        for block in tl.static_range(BLOCKS):
            new = tl.maximum(new, tl.load(start + first + block * BLOCK + lane).to(tl.float32))
        total *= tl.exp2((most - new) * LOG2_E)
        for block in tl.static_range(BLOCKS):
            x = tl.load(start + first + block * BLOCK + lane).to(tl.float32)
            total += tl.exp2(x * LOG2_E - new * LOG2_E)
        most = new
    for first in range(WHOLE, VOCABULARY, BLOCK):
        column = first + lane  # loaded by whole vectors, of which the padding counts for nothing
        x = tl.load(start + column, mask=column < COLUMNS, other=0.0).to(tl.float32)
        x = tl.where(column < VOCABULARY, x, float("-inf"))
        new = tl.maximum(most, x)
        total = total * tl.exp2((most - new) * LOG2_E) + tl.exp2((x - new) * LOG2_E)
        most = new
    peak = tl.max(most, 0)
    log_sum = peak + tl.log(tl.sum(total * tl.exp2((most - peak) * LOG2_E), 0))
    y = hit - log_sum  # the target's log probability
    counts = target != IGNORED
    tl.store(losses + row, tl.where(counts, -y, 0.0))
    less = tl.where(counts, log_sum * LOG2_E, float("inf"))  # an ignored target's gradient is 2^-inf
    for first in range(0, WHOLE, BLOCK):
        x = tl.load(start + first + lane).to(tl.float32)
        tl.store(start + first + lane, tl.exp2(x * LOG2_E - less).to(logits.dtype.element_ty))
    for first in range(WHOLE, COLUMNS, BLOCK):
        column = first + lane
        x = tl.load(start + column, mask=column < COLUMNS, other=0.0).to(tl.float32)
        p = tl.where(column < VOCABULARY, tl.exp2(x * LOG2_E - less), 0.0)
        tl.store(start + column, p.to(logits.dtype.element_ty), mask=column < COLUMNS)
    tl.debug_barrier()  # the target's own comes last
    # p - 1 without cancellation where p is nearly 1
    of_target = tl.where(y > -0.01, y * (1 + y * (0.5 + y / 6)), tl.exp(y) - 1)
    tl.store(start + target, of_target.to(logits.dtype.element_ty), mask=counts)


def _stripe(rows: int) -> int:
    """Return how many rows are summed at once."""
    return -(-rows // (STRIPES * BLOCK_ROWS)) * BLOCK_ROWS


def run_gelu_backward(gradient: Tensor, x: Tensor, wrap: Wrap = lambda kernel: kernel) -> Pair:
    """Return the gradient [N, C] with regard to x [N, C], and its sums over the rows [C] in fp32."""
    gradient, x = gradient.contiguous(), x.contiguous()
    rows, columns = x.shape
    result = torch.empty_like(x)
    sums = torch.empty((STRIPES, columns), dtype=torch.float32, device=x.device)
    grid = (triton.cdiv(columns, BLOCK_COLUMNS), STRIPES)
    wrap(_gelu_backward)[grid](
        gradient, x, result, sums, rows, columns,
        STRIPE=_stripe(rows), BLOCK_R=BLOCK_ROWS, BLOCK_C=BLOCK_COLUMNS,
    )  # fmt: skip
    return result, sums.sum(0)


def run_concatenate(a: Tensor, b: Tensor, c: Tensor, wrap: Wrap = lambda kernel: kernel) -> Pair:
    """Return three [N, C] side by side [N, 3C], and their sums over the rows [3C] in fp32."""
    a, b, c = a.contiguous(), b.contiguous(), c.contiguous()
    rows, columns = a.shape
    result = a.new_empty((rows, 3 * columns))
    sums = torch.empty((STRIPES, 3 * columns), dtype=torch.float32, device=a.device)
    grid = (3 * triton.cdiv(columns, BLOCK_COLUMNS), STRIPES)
    wrap(_concatenate)[grid](
        a, b, c, result, sums, rows, columns,
        STRIPE=_stripe(rows), BLOCK_R=BLOCK_ROWS, BLOCK_C=BLOCK_COLUMNS,
    )  # fmt: skip
    return result, sums.sum(0)


def losses_in_place(logits: Tensor, targets: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return what `losses_and_gradient` does; the gradient takes the place of the logits."""
    return run_cross_entropy(logits, targets, vocabulary, IGNORED), logits


losses_in_place.in_place = True  # type: ignore[attr-defined]  # see losses.py


def run_cross_entropy(logits: Tensor, targets: Tensor, vocabulary: int, ignored: int) -> Tensor:
    """Return the losses [n], and put into logits [n, P] their gradient, which at `ignored` targets is 0."""
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    block = min(ROW_BLOCK, triton.next_power_of_2(logits.shape[1]))
    _cross_entropy[(len(logits),)](
        logits,
        targets,
        losses,
        VOCABULARY=vocabulary,
        COLUMNS=logits.shape[1],
        IGNORED=ignored,
        BLOCK=block,
        BLOCKS=ROW_BLOCKS,
        num_warps=ROW_WARPS,
    )
    return losses


@triton_op("outbound::gelu_backward", mutates_args={})
def gelu_backward(gradient: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """`run_gelu_backward` as an operator that torch.compile knows."""
    return run_gelu_backward(gradient, x, wrap_triton)


@triton_op("outbound::concatenate", mutates_args={})
def concatenate(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`run_concatenate` as an operator that torch.compile knows."""
    return run_concatenate(a, b, c, wrap_triton)
