"""Products of the blocks in float8, by torchao: twice bf16's peak where a GPU has it, coarser numbers."""

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
    """Have the blocks' linear layers multiply in float8, forward and back, each tensor by a scale of its own.

    Weights stay what and where they are, and so do their names; the head and the embeddings stay as they
    are. Call it before the blocks are compiled, which makes one kernel of scaling and casting.

    Args:
        emulate: round to float8, but multiply in the type of before, as any device can.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # which takes seconds

    convert_to_float8_training(model.h, config=Float8LinearConfig(emulate=emulate))
