"""Available memory of a rank: on a GPU what other processes leave, on a CPU its share of the machine."""

import resource
import sys
from dataclasses import replace

import psutil
import torch

from trainer.memory.choice import AvailableMemory
from trainer.memory.container import memory_left
from trainer.memory.estimate import CUDA_CONTEXT, GIB, Memory

CPU_SHARE = 0.9  # the rest is for the system


def find_available_memory(device: torch.device, *, local_ranks: int) -> AvailableMemory:
    """Return the memory that this rank may use.

    On a GPU it includes this process's CUDA context, which already exists, and the rank's share of CPU memory
    for offloading.
    """
    memory = psutil.virtual_memory()
    share = int(CPU_SHARE * min(memory.available, memory_left())) // local_ranks
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return AvailableMemory(
            device_bytes=min(total, free + CUDA_CONTEXT),
            total_bytes=total,
            accelerator=True,
            host_bytes=share,
        )
    return AvailableMemory(device_bytes=share, total_bytes=memory.total // local_ranks, accelerator=False)


def smallest_available_memory(available: AvailableMemory, device: torch.device) -> AvailableMemory:
    """Return the least memory of any rank, on every rank: they must all use the same layout."""
    least = torch.tensor(
        [available.device_bytes, available.host_bytes or 0], dtype=torch.int64, device=device
    )
    torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN)
    device_bytes, host_bytes = least.tolist()
    return replace(
        available,
        device_bytes=device_bytes,
        host_bytes=None if available.host_bytes is None else host_bytes,
    )


def peak_bytes(device: torch.device) -> int:
    """Return this rank's peak memory: the GPU's, or on a CPU that of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_line(predicted: Memory, device: torch.device) -> str:
    """Compare the predicted with this rank's peak memory, for the end of a run.

    On a GPU both are bytes in tensors. On a CPU tensors are not counted, and the process's resident memory
    includes libraries and mapped files.
    """
    prediction = f"peak memory per rank: predicted {predicted.allocated / GIB:.2f} GiB in tensors"
    if device.type == "cuda":
        measured = peak_bytes(device)
        return f"{prediction}, measured {measured / GIB:.2f} GiB ({predicted.allocated / measured - 1:+.0%})"
    resident = peak_bytes(device)
    return f"{prediction} (not measured on a CPU); the process had {resident / GIB:.2f} GiB resident"
