"""launch/pretrain.py, where some ranks' device holds no more than one sequence at a time.

After the command's own options come the ranks, such as 0,1, the pass in which they run out of memory, forward
or backward, and how many seconds they wait for others that do.
"""

import gc
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from trainer.distributed import out_of_memory
from trainer.distributed.deepspeed.engine import Engine
from trainer.model.gpt2 import GPT2, Block
from trainer.training import loop

ROOT = Path(__file__).resolve().parents[2]
*sys.argv[1:], RANKS, WHERE, PATIENCE_S = sys.argv[1:]


class FullDevice(torch.autograd.Function):
    """Passes x on, and does as PyTorch where a GPU's memory is at its end, forward or back."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        if WHERE == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, __: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def watch(block: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a training batch of several sequences be too much for a block."""
    x, *others = inputs
    if isinstance(block, Block) and block.training and len(x) > 1 and os.environ["RANK"] in RANKS.split(","):
        return FullDevice.apply(x), *others
    return inputs


def release() -> None:
    """See that nothing is left of an engine that was given up."""
    out_of_memory.release()
    left = [found for found in gc.get_objects() if isinstance(found, GPT2 | Engine)]
    assert not left, "memory is not given back"


out_of_memory.PATIENCE_S = float(PATIENCE_S)
loop.release = release
torch.nn.modules.module.register_module_forward_pre_hook(watch)
sys.argv[0] = str(ROOT / "launch" / "pretrain.py")
runpy.run_path(sys.argv[0], run_name="__main__")
