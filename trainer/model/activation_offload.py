"""Inputs of blocks in the CPU's memory between forward and backward pass, copied while the GPU computes.

PyTorch's `save_on_cpu` copies in the stream that computes, which waits: for xl at a micro-batch of 16 some
4 ms a block each way (105 MB over PCIe). Here a separate stream copies, one block ahead on the way back.
Memory comes from the computing stream's pool, and returns to it only after that stream has waited for the
copy, so nothing is overwritten while it is read, or read before it is there.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@dataclass(kw_only=True)
class _Kept:
    """A tensor in the CPU's memory, and on the device while it is on its way."""

    host: Tensor
    here: Tensor | None
    copied: Any  # the event after the last copy of the one to the other; None on a CPU


class Offload:
    """The inputs that one forward pass keeps in CPU memory; its backward pass takes them back last to first.

    On a CPU they are only copied, in the same way.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = _side_stream(device) if device.type == "cuda" else None
        self._kept: list[_Kept] = []

    def hooks(self) -> saved_tensors_hooks:
        """Return the context in which what is saved for the backward pass is kept here."""
        return saved_tensors_hooks(self._take_away, self._bring_back)

    def _take_away(self, tensor: Tensor) -> Tensor | int:
        """Start copying a tensor to the CPU; return its key."""
        if tensor.numel() == 0:  # PyTorch 2.11's `checkpoint` shows an empty one too
            return tensor
        if self._kept:  # the last one stays here, since the backward pass begins with it
            self._let_go(self._kept[-1])
        pinned = self._side is not None
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        here = tensor.detach()
        self._kept.append(_Kept(host=host, here=here, copied=self._copy(host, here)))
        return len(self._kept) - 1

    def _bring_back(self, known: Tensor | int) -> Tensor:
        """Return a tensor on the device, and start copying the next one."""
        if isinstance(known, Tensor):
            return known
        kept = self._kept[known]
        tensor = self._fetch(kept)
        self._let_go(kept)
        if known > 0:
            self._fetch(self._kept[known - 1])
        return tensor

    def _fetch(self, kept: _Kept) -> Tensor:
        if kept.here is None:
            kept.here = torch.empty_like(kept.host, device=self._device)
            kept.copied = self._copy(kept.here, kept.host)
        return kept.here

    def _let_go(self, kept: _Kept) -> None:
        """Let the computing stream wait for the copy; then free the tensor."""
        if kept.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(kept.copied)
        kept.here = None

    def _copy(self, target: Tensor, source: Tensor) -> Any:
        """Copy while the device computes; return the event at the end."""
        if self._side is None:
            target.copy_(source)
            return None
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            target.copy_(source, non_blocking=True)
        return self._side.record_event()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
