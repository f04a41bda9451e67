"""A GPT-2's parameters: names in the order of the forward pass, and shapes.

Our names are OpenAI's, spelled differently. Our matrices are [out, in], as in PyTorch's Linear; OpenAI's and
Hugging Face's are [in, out].
"""

from collections.abc import Iterator
from typing import Final

from torch import Tensor

from trainer.config.model_config import ModelConfig

BLOCK: Final = tuple(
    f"{part}.{kind}"
    for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for kind in ("weight", "bias")
)
_MATRICES: Final = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return every parameter's shape by name: the embedding without padding, matrices as [out, in]."""
    width = config.width
    block = {
        "ln_1": (width,),
        "attn.c_attn": (3 * width, width),
        "attn.c_proj": (width, width),
        "ln_2": (width,),
        "mlp.c_fc": (4 * width, width),
        "mlp.c_proj": (width, 4 * width),
    }
    result: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocabulary, width),
        "wpe.weight": (config.context, width),
    }
    for layer, name in _blocks(config.layers):
        shape = block[name.rpartition(".")[0]]
        result[f"h.{layer}.{name}"] = shape[:1] if name.endswith("bias") else shape
    return {**result, "ln_f.weight": (width,), "ln_f.bias": (width,)}


def _blocks(layers: int) -> Iterator[tuple[int, str]]:
    for layer in range(layers):
        for name in BLOCK:
            yield layer, name


def is_matrix(name: str) -> bool:
    """Return whether OpenAI stores this parameter transposed."""
    return name.endswith(_MATRICES)


def turned(name: str, tensor: Tensor) -> Tensor:
    """Transpose a matrix from [out, in] to OpenAI's [in, out], or back; others stay as they are."""
    return tensor.T if is_matrix(name) else tensor
