"""How much memory there is for a rank: of a GPU what others leave, on a CPU its share of the machine."""

import resource
import sys
from dataclasses import replace

import psutil
import torch

from trainer.memory.choice import Room
from trainer.memory.container import memory_left
from trainer.memory.estimate import CUDA_CONTEXT, GIB, Memory

CPU_SHARE = 0.9  # the rest is the machine's own


def find_room(device: torch.device, *, local_ranks: int) -> Room:
    """Return the memory that this rank may take of its device.

    On a GPU it counts the context of this process, which by now is there, as its own; and beside the GPU's
    memory the rank's share of the machine's, for what is offloaded.
    """
    memory = psutil.virtual_memory()
    share = int(CPU_SHARE * min(memory.available, memory_left())) // local_ranks
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Room(available=min(total, free + CUDA_CONTEXT), total=total, accelerator=True, host=share)
    return Room(available=share, total=memory.total // local_ranks, accelerator=False)


def smallest_room(room: Room, device: torch.device) -> Room:
    """Return the room of the rank that has least, on every rank: they must lay the run out alike."""
    least = torch.tensor([room.available, room.host or 0], dtype=torch.int64, device=device)
    torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN)
    available, host = least.tolist()
    return replace(room, available=available, host=None if room.host is None else host)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that this rank has held: the GPU's, or on a CPU the whole process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_line(predicted: Memory, device: torch.device) -> str:
    """Hold the prediction against what this rank had at most, for the end of a run.

    On a GPU both are bytes in tensors. A CPU's tensors are not counted; what the process had resident
    holds the libraries and what was read from files too.
    """
    said = f"peak memory of a rank: {predicted.allocated / GIB:.2f} GiB in tensors predicted"
    if device.type == "cuda":
        measured = peak_bytes(device)
        return f"{said}, {measured / GIB:.2f} GiB measured ({predicted.allocated / measured - 1:+.0%})"
    resident = peak_bytes(device)
    return f"{said}; on a CPU not measured, the whole process had {resident / GIB:.2f} GiB resident"
