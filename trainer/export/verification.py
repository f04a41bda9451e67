"""Checks that written files match the model: every weight that is read back, and the logits they give.

The fixed prompt fills the context, so that every position's embedding is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config.model_config import ModelConfig
from trainer.export import DType
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.model.parameters import shapes
from trainer.pretrained.source import SourceModel

TOLERANCES: Final[dict[DType, float]] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "q8_0": 1e-1}
"""Largest allowed difference of logits, relative to the largest logit: about ten times the rounding error."""
WEIGHTS_AT_ONCE: Final = 2**22


class MismatchError(ValueError):
    """The written files do not match the model."""

    def __init__(self, difference: str) -> None:
        super().__init__(f"the written files do not match the model: {difference}")


@dataclass(frozen=True)
class Agreement:
    """Difference between an export's logits and the checkpoint's."""

    difference: float  # the largest
    allowed: float


def prompt(config: ModelConfig) -> list[int]:
    """Return the tokens of the text: as many as the context holds, spread over the whole vocabulary."""
    return [(7919 * position + 13) % config.vocabulary for position in range(config.context)]


def positions(config: ModelConfig) -> list[int]:
    """Return the positions whose logits are compared: the first and the last, and some between."""
    last = config.context - 1
    return sorted({0, 1, last // 3, last // 2, last - 1, last} & set(range(config.context)))


@torch.inference_mode()
def source_logits(source: SourceModel) -> Array:
    """Return our own model's logits [P, V], from the mapped weights."""
    model = source.model()
    chosen = positions(source.config)
    # The output layer sees these positions only: all of them would have as many logits as the embedding
    # has weights.
    model.ln_f.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, chosen],))
    logits: NDArray[Any] = model.eval()(torch.tensor([prompt(source.config)]))[0].numpy()
    return logits


def check_weights(source: SourceModel, read_back: Parameters, dtype_of: Callable[[str], DType]) -> None:
    """Check that every weight in the files is the source's, rounded to the type it is stored in.

    Raises:
        MismatchError: one is not.
    """
    for name, shape in shapes(source.config).items():
        found = read_back(name)
        if found.shape != shape or not _same(found, source.tensor(name), dtype_of(name)):
            raise MismatchError(f"{name} reads back differently")


def _same(found: Array, tensor: Tensor, dtype: DType) -> bool:
    """Return whether two tensors are bitwise equal after rounding; compares some rows at a time."""
    rows = max(1, WEIGHTS_AT_ONCE * len(found) // found.size)
    parts = (slice(start, start + rows) for start in range(0, len(found), rows))
    return all(
        np.array_equal(found[part].view("i4"), rounded(tensor[part], dtype).view("i4")) for part in parts
    )


def check_logits(found: Array, expected: Array, dtype: DType) -> Agreement:
    """Compare two models' logits [P, V].

    Raises:
        MismatchError: they differ by more than the type's rounding explains.
        ValueError: the source's logits contain NaN or Inf.
    """
    if not np.isfinite(expected).all():
        raise ValueError("the model's logits contain NaN or Inf")
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    allowed = TOLERANCES[dtype] * float(np.abs(expected).max())
    if not difference <= allowed:
        raise MismatchError(f"logits differ by {difference:.2g}, but {dtype} allows {allowed:.2g}")
    return Agreement(difference, allowed)


def rounded(tensor: Tensor, dtype: DType) -> Array:
    """Return a tensor's values after storage in a type."""
    if dtype == "q8_0":
        import gguf

        kind = gguf.GGMLQuantizationType.Q8_0
        values: Array = gguf.dequantize(gguf.quantize(tensor.numpy(), kind), kind)
        return values
    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    result: Array = tensor.to(kinds[dtype]).float().numpy()
    return result
