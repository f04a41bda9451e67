"""Predicted peak memory of a rank, part by part, before anything is allocated.

It counts what `engine.py` and `model.py` really keep: weights, gradients and moments in fp32, products in
bf16 by autocast, DeepSpeed's partitions and buffers. Bytes; B sequences of T tokens, C wide, H heads.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from trainer.config import ModelConfig, Precision

GIB = 2**30
FP32 = 4
Recompute = Literal["none", "selective", "block", "offload"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run lies on its ranks: what decides memory but not the numbers computed."""

    zero_stage: int
    ranks: int
    micro_batch: int
    precision: Precision
    recompute: Recompute = "none"
    recompute_every: int = 1
    offload_optimizer: bool = False
    offload_parameters: bool = False
    accelerator: bool = True
    """Whether it runs on a GPU, whose context and allocator take memory of their own."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by part, at the moment when they are most."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    buffers: int
    overhead: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by the name of the part."""
        return asdict(self)


def predict(config: ModelConfig, layout: Layout) -> Memory:
    """Return the predicted peak of one rank."""
    padding = (config.padded_vocabulary - config.vocabulary) * config.width
    parameters = config.parameters + padding
    stage, ranks = layout.zero_stage, layout.ranks
    tokens = layout.micro_batch * config.context
    return Memory(
        parameters=FP32 * parameters // (ranks if stage == 3 else 1),
        gradients=FP32 * parameters // (ranks if stage >= 2 else 1),
        optimizer=2 * FP32 * parameters // (ranks if stage >= 1 else 1),
        activations=_activations(config, layout, tokens),
        loss=tokens * config.vocabulary * FP32 * 2,
        buffers=0,
        overhead=0,
    )


def _activations(config: ModelConfig, layout: Layout, tokens: int) -> int:
    """Bytes that the blocks keep between forward and backward.

    fp32, a token: LayerNorm's input and output C + C, twice; q, k, v 3 C; attention's output C; GELU's
    input and output 4 C + 4 C: 16 C numbers of 4 bytes. bf16: the residual stream stays fp32, 2 C of 4
    bytes, and the rest is 14 C of 2 bytes.
    """
    whole = (64 if layout.precision == "fp32" else 36) * config.width * tokens
    if layout.recompute == "none":
        return config.layers * whole
    return config.layers * FP32 * config.width * tokens + whole


def peak_line(predicted: int, measured: int | None) -> str:
    """Return the line at the end of a run that holds the prediction against what was measured.

    Args:
        measured: bytes that the allocator held at most, over all ranks; None where nothing measures them.
    """
    if measured is None:
        return f"peak memory a rank: {predicted / GIB:.2f} GiB predicted (measured on a GPU only)"
    return (
        f"peak memory a rank: {predicted / GIB:.2f} GiB predicted, {measured / GIB:.2f} GiB measured "
        f"({predicted / measured - 1:+.0%})"
    )
