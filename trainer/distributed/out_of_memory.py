"""Recovery when a layout runs out of memory although it was predicted to fit."""

import gc
import time

import torch

from trainer.memory.estimate import Memory

STEP = 0.05  # the next layout must be smaller by this share: each attempt costs a restart
PATIENCE_S = 30.0  # for the other ranks to run out of memory at the same place


class OutOfMemoryTogetherError(Exception):
    """A rank has run out of device memory, and every rank knows: they can restart together."""


def most_allowed(failed: Memory) -> int:
    """Return the memory limit of the layout after a failed one, in bytes."""
    return failed.total - int(STEP * failed.allocated)


def release() -> None:
    """Free the memory of a discarded engine, to which nothing but itself refers.

    Its compiled code is dropped too: torch.compile accepts only eight shapes of a block.
    """
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def all_ran_out(attempt: int) -> bool:
    """Return whether all ranks have come here, as they do if the same work is too much for each.

    Called by a rank that cannot reach the next collective, so it asks the store of the process group.
    """
    size = torch.distributed.get_world_size()
    store = torch.distributed.distributed_c10d._get_default_store()
    keys = [f"out of memory/{attempt}/{rank}" for rank in range(size)]
    store.set(keys[torch.distributed.get_rank()], "")
    deadline = time.monotonic() + PATIENCE_S
    while not store.check(keys):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
