"""What the device and the software around it can do: bf16, and kernels made by torch.compile."""

import os
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from trainer.config.plan import TrainingPlan

OLDEST_FOR_TRITON = (7, 0)  # compute capability: Volta


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16 as fast as it should: a GPU from compute capability 8.0 on.

    PyTorch emulates it on older ones, slower than fp32. A CPU always may, as who asks for it knows.
    """
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def missing_for_kernels(device: torch.device) -> str:
    """Say why torch.compile can make no kernels for the device; empty where it can.

    It makes one, since a compiler may be there and find no driver, or a disk that is full.
    """
    reason = _surely_missing(device)
    if reason:
        return reason
    try:
        _make_kernel(device)
    except Exception as error:  # of PyTorch, Triton, a compiler, the operating system
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return _header_missing() or f"making a kernel failed: {lines[0]}"
    return ""


def _surely_missing(device: torch.device) -> str:
    """Say what is known to be missing without trying."""
    if device.type != "cuda":
        compiler = os.environ.get("CXX", "g++")  # as torch._inductor.config.cpp.cxx has it
        return "" if shutil.which(compiler) else f"there is no C++ compiler {compiler}"
    if find_spec("triton") is None:
        return "the package triton is not installed"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_FOR_TRITON:
        return f"Triton wants compute capability 7.0, and this GPU has {capability[0]}.{capability[1]}"
    compiler = os.environ.get("CC", "")  # as triton/runtime/build.py looks for it
    if not any(shutil.which(name) for name in ([compiler] if compiler else ["gcc", "clang"])):
        return f"there is no C compiler {compiler}".rstrip() + ("" if compiler else " (gcc or clang)")
    return ""


def _header_missing() -> str:
    """Say where Python.h should be, which what surrounds a kernel is compiled with, if it is not there."""
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton does
    header = Path(sysconfig.get_paths(scheme)["include"]) / "Python.h"
    return "" if header.is_file() else f"there is no {header} (on Debian and Ubuntu in python3-dev)"


def _make_kernel(device: torch.device) -> None:
    import torch._inductor.config  # which takes seconds

    compiled = torch.compile(lambda x: x.sin() + 1, dynamic=False, fullgraph=True)
    with torch._inductor.config.patch(compile_threads=1):  # no pool of compilers for a single one
        compiled(torch.zeros(64, device=device))


def settled_compilation(plan: TrainingPlan, missing: Sequence[str], *, wanted: bool) -> TrainingPlan:
    """Return the plan without compilation where some rank misses what it takes.

    Args:
        missing: what each rank misses for it, or nothing.
        wanted: whether the user has asked for it.

    Raises:
        ValueError: it was asked for.
    """
    reasons = list(dict.fromkeys(filter(None, missing)))
    if not reasons:
        return plan
    if wanted:
        raise ValueError(f"--compile on: {'; '.join(reasons)}: mend it, or use --compile off")
    return replace(plan, compiled=False)
