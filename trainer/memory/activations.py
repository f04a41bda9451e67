"""Bytes of the activations that blocks keep, and of those in use in the backward pass of `model/gpt2.py`.

L layers, width C, H heads, T tokens per sequence.
"""

from dataclasses import replace

from trainer.config.model_config import ModelConfig
from trainer.memory.layout import BF16, FP32, Layout


def kept_per_token(config: ModelConfig, layout: Layout, layer: int) -> int:
    """Bytes that a block keeps for the backward pass.

    p is the size of a product's number, which is that of the residual stream too, and r its size as a norm
    keeps it (see `Layout.residual_bytes`).

    - none: x, and x between attention and feed-forward (r C each); both after their norms (p C each; see
      `_normed_bytes`); q, k, v (3 p C); attention's output (p C); before and after GELU (4 p C each); each
      norm's mean and deviation (16) and attention's sums by head (4 H). fp32: 64 C + 16 + 4 H; compiled
      bf16: 32 C + 16 + 4 H, which an H100 kept to the byte. With dropout a mask a byte wide after both
      parts (2 C).
    - selective: what the norms and GELU are given is kept, what they return is not: x twice (p C each),
      q, k, v (3 p C), attention's output (p C), before GELU (4 p C), attention's sums (4 H).
    - block: x alone; offload: nothing, for x is in the CPU's memory, but that of the last such block stays.

    Attention within documents makes numbers of its mask, and none and selective keep them (p T).
    """
    width, product = config.width, layout.product_bytes
    masks = 2 * width if config.dropout else 0
    if has_table(config, layout):
        masks += product * config.context
    if not layout.recomputes(layer):
        norms = 2 * (layout.residual_bytes + _normed_bytes(layout)) * width + 16
        return norms + 12 * product * width + 4 * config.heads + masks
    return {
        "selective": 10 * product * width + 4 * config.heads + masks,
        "block": product * width,
        "offload": 0,
    }[layout.recompute]


def has_table(config: ModelConfig, layout: Layout) -> bool:
    """Whether attention goes by a table of what each position may see: FlexAttention needs none."""
    flex = layout.in_place and config.dropout == 0 and config.context % 128 == 0
    return config.document_separator is not None and not flex


def _normed_bytes(layout: Layout) -> int:
    """Size of a number after a norm, as the next product keeps it.

    At stage 3 DeepSpeed replaces PyTorch's linear layer by its own, which keeps what it was
    given (on a GPU fp32) where PyTorch's keeps what autocast has made of it.
    """
    return FP32 if layout.zero_stage == 3 and layout.accelerator else layout.product_bytes


def in_hand_per_token(config: ModelConfig, layout: Layout, layer: int) -> int:
    """Bytes beside what is kept while the backward pass is in a block's feed-forward net, where it is most.

    The gradients of the residual stream (p C) and of GELU's output (4 p C), while nothing of the block is
    let go of yet; and what had to be computed again.
    """
    width, product = config.width, layout.product_bytes
    gradients = 5 * product * width
    if not layout.recomputes(layer):
        return gradients
    whole = kept_per_token(config, replace(layout, recompute="none"), layer)
    return (
        gradients
        + {
            "selective": 4 * product * width,  # GELU's output
            # x is what was kept, unless a norm keeps a copy of its own.
            "block": whole - (product * width if layout.residual_bytes == product else 0),
            "offload": whole + product * width,  # and the x of the block before, on its way
        }[layout.recompute]
    )


def copies_made(config: ModelConfig, layout: Layout) -> int:
    """Bytes of all weights in bf16, which autocast remembers to the end of the forward pass.

    12 C² numbers of a block, and the head's V C. At stage 3 DeepSpeed's linear layer makes them anew for
    each product, the head's, the largest, among them.
    """
    if layout.precision == "fp32":
        return 0
    head = BF16 * config.padded_vocabulary * config.width
    return head if layout.zero_stage == 3 else head + config.layers * 12 * BF16 * config.width**2


def copies_kept(config: ModelConfig, layout: Layout, layer: int) -> int:
    """Bytes of a block's weights in bf16 that the backward pass was promised.

    Selective keeps only those of attention's projection (C²): the other products are remade with their
    input. At stage 3 DeepSpeed's linear layer keeps the weights themselves.
    """
    if layout.precision == "fp32" or layout.zero_stage == 3:
        return 0
    numbers = {"none": 12, "selective": 1, "block": 0, "offload": 0}
    return numbers[layout.recompute if layout.recomputes(layer) else "none"] * BF16 * config.width**2


def copies_in_hand(config: ModelConfig, layout: Layout, layer: int) -> int:
    """Bytes of weights in bf16 that the backward pass of a block makes again."""
    if layout.precision == "fp32" or not (layout.recomputes(layer) or layout.zero_stage == 3):
        return 0
    whole = layout.recompute in ("block", "offload") and layout.zero_stage < 3
    return (12 if whole else 4) * BF16 * config.width**2
