"""How a run is laid out on its ranks."""

from dataclasses import dataclass

from trainer.config.options import Optimizer, Precision, Recompute

FP32, BF16 = 4, 2  # bytes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run is laid out on its ranks: this decides its memory and speed, but not what it computes."""

    zero_stage: int
    ranks: int
    micro_batch: int
    precision: Precision
    optimizer: Optimizer = "adamw"
    recompute: Recompute = "none"
    recompute_every: int = 1
    offload_optimizer: bool = False
    offload_parameters: bool = False
    accelerator: bool = True
    compiled: bool = False

    @property
    def product_bytes(self) -> int:
        """Bytes per number of a matrix product's result."""
        return BF16 if self.precision == "bf16" else FP32

    @property
    def residual_bytes(self) -> int:
        """Bytes per number of the residual stream as a norm keeps it.

        It has the type of the products, but on a GPU autocast converts it to fp32 for an uncompiled norm.
        """
        return FP32 if self.accelerator and not self.compiled else self.product_bytes

    @property
    def in_place(self) -> bool:
        """Whether the gradient of the logits overwrites them."""
        return self.accelerator and self.compiled

    def recomputes(self, layer: int) -> bool:
        """Whether a block is recomputed in the backward pass."""
        return self.recompute != "none" and layer % self.recompute_every == 0
