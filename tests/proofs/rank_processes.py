"""Processes for ranks, which come from one that has already imported what takes seconds."""

import multiprocessing
from multiprocessing.context import ForkServerContext

# The second is what DeepSpeed imports once it has an optimizer to wrap, and PyTorch's compiler with it.
PRELOADED = ["deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer", "trainer.training.loop"]


def rank_processes() -> ForkServerContext:
    """Return what makes such processes: each one's own all the same, to be killed one by one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
