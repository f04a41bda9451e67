"""Float8 matrix products in the blocks, by torchao: twice bf16's peak FLOP/s, at lower precision."""

from importlib.util import find_spec

import torch

from trainer.model.gpt2 import GPT2

OLDEST = (8, 9)  # compute capability: Ada, Hopper


def missing_for_float8(device: torch.device) -> str:
    """Return why the device cannot use float8; empty if it can."""
    if find_spec("torchao") is None:
        return "the package torchao is not installed: pip install 'outbound[float8]'"
    if device.type != "cuda":
        return "it needs a GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        found = ".".join(map(str, capability))
        return f"it needs compute capability 8.9 (L4, H100 and newer), and this GPU has {found}"
    return ""


def use_float8(model: GPT2, *, emulate: bool = False) -> None:
    """Have the blocks' linear layers multiply in float8, forward and backward, with a scale per tensor.

    Weights and their names do not change, nor do the head and the embeddings. Call it before the blocks are
    compiled, which fuses scaling and casting.

    Args:
        emulate: round to float8 but multiply in the original type, on any device.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # which takes seconds

    convert_to_float8_training(model.h, config=Float8LinearConfig(emulate=emulate))
