"""Processes for ranks, which come from one that has already imported what takes seconds."""

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

# The second is what DeepSpeed imports once it has an optimizer to wrap, and PyTorch's compiler with it.
PRELOADED = ["deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer", "trainer.training.loop"]


def rank_processes() -> ForkServerContext:
    """Return what makes such processes: each one's own all the same, to be killed one by one.

    Each has one thread: on a machine whose cores are all in use, more would wait for each other, and busily.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # which PyTorch reads when it is imported
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
