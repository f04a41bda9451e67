"""What a block keeps for the backward pass: everything, only its input, or what is expensive to recompute.

Gradients are bitwise the same in every mode: what is not kept is recomputed by the same operations, with the
same dropout.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from trainer.config.options import Recompute
from trainer.model.activation_offload import Offload


def through_block(
    block: Callable[..., Tensor],
    x: Tensor,
    *arguments: Any,
    mode: Recompute,
    random: bool,
    offload: Offload | None = None,
) -> Tensor:
    """Return block(x, *arguments), of which modes block and offload keep only x, offload in the CPU's memory.

    Args:
        random: whether the block uses random numbers, which must be the same when recomputed.
        offload: where mode offload keeps x; one for all blocks of a forward pass.
    """
    if mode not in ("block", "offload"):
        return block(x, *arguments)
    # `checkpoint` has hooks of its own for what is saved inside it: the outer one meets x alone.
    with offload.hooks() if mode == "offload" and offload else nullcontext():
        result: Tensor = checkpoint(
            lambda x: block(x, *arguments), x, use_reentrant=False, preserve_rng_state=random
        )
    return result


def product_after(
    cheap: Callable[[Tensor], Tensor], product: Callable[[Tensor], Tensor], x: Tensor, *, mode: Recompute
) -> Tensor:
    """Return product(cheap(x)), of which mode selective keeps x and not cheap(x).

    In the backward pass `checkpoint` computes cheap(x) again and stops there, since a linear layer wants
    nothing but its input: no matrix product is repeated. So a block keeps what is expensive (the outputs of
    products and of attention) and recomputes layer norms and GELU, as Korthikanti et al. (2022) and
    llm.c's -r 2 do. PyTorch's own selective checkpointing, which watches every operation, takes ZeRO-3's
    gathering of weights for part of the block.
    """
    if mode != "selective":
        return product(cheap(x))
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if torch.compiler.is_compiling():  # a compiled graph never stops half-way, and must be told
        products = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
        options["context_fn"] = partial(create_selective_checkpoint_contexts, products)
    result: Tensor = checkpoint(lambda x: product(cheap(x)), x, **options)
    return result
