"""What becomes of a layout that takes more memory than there is, though it was predicted to fit."""

import gc
import time

import torch

from trainer.memory.estimate import Memory

STEP = 0.05  # by how much of its tensors the next layout must be smaller: each trial takes a start
PATIENCE_S = 30.0  # for the other ranks to run out of memory at the same place


class OutOfMemoryTogetherError(Exception):
    """A rank has run out of its device's memory, and every rank knows: they may start anew together."""


def most_allowed(failed: Memory) -> int:
    """Return the bytes that the layout after one that has failed may take."""
    return failed.total - int(STEP * failed.allocated)


def release() -> None:
    """Give back the memory of an engine that was discarded, to which nothing refers any more but itself.

    What was compiled for it goes too: torch.compile takes no more than eight shapes of a block.
    """
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def all_ran_out(attempt: int) -> bool:
    """Say whether all ranks have come here, as they do where the same work is too much for each.

    Asked by a rank that cannot go on to the next collective, so it is the store that they met by which
    answers, not a collective.
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
