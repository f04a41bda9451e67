"""What the device and its software support: bf16, and torch.compile."""

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
    """Whether the device has native bf16: a GPU with compute capability 8.0 or newer.

    PyTorch emulates it on older ones, slower than fp32. A CPU always may use it, since it must be requested.
    """
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def missing_for_kernels(device: torch.device) -> str:
    """Return why torch.compile cannot make kernels for the device; empty if it can.

    It makes one, since a compiler may be installed and still lack a driver or find the disk full.
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
    """Return what is missing, as far as is known without trying."""
    if device.type != "cuda":
        compiler = os.environ.get("CXX", "g++")  # as torch._inductor.config.cpp.cxx has it
        return "" if shutil.which(compiler) else f"there is no C++ compiler {compiler}"
    if find_spec("triton") is None:
        return "the package triton is not installed"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_FOR_TRITON:
        return f"Triton needs compute capability 7.0, and this GPU has {capability[0]}.{capability[1]}"
    compiler = os.environ.get("CC", "")  # as triton/runtime/build.py looks for it
    if not any(shutil.which(name) for name in ([compiler] if compiler else ["gcc", "clang"])):
        return f"there is no C compiler {compiler}".rstrip() + ("" if compiler else " (gcc or clang)")
    return ""


def _header_missing() -> str:
    """Return where Python.h, which a kernel's wrapper is compiled with, is missing; empty if it is there."""
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton does
    header = Path(sysconfig.get_paths(scheme)["include"]) / "Python.h"
    return "" if header.is_file() else f"there is no {header} (on Debian and Ubuntu in python3-dev)"


def _make_kernel(device: torch.device) -> None:
    import torch._inductor.config  # which takes seconds

    compiled = torch.compile(lambda x: x.sin() + 1, dynamic=False, fullgraph=True)
    with torch._inductor.config.patch(compile_threads=1):  # one kernel needs no pool of compilers
        compiled(torch.zeros(64, device=device))


def settled_compilation(plan: TrainingPlan, missing: Sequence[str], *, wanted: bool) -> TrainingPlan:
    """Return the plan, without compilation if a rank lacks something that it needs.

    Args:
        missing: what each rank lacks, or an empty text.
        wanted: whether the user requested compilation.

    Raises:
        ValueError: it was requested and is not possible.
    """
    reasons = list(dict.fromkeys(filter(None, missing)))
    if not reasons:
        return plan
    if wanted:
        raise ValueError(f"--compile on: {'; '.join(reasons)}: fix this, or use --compile off")
    return replace(plan, compiled=False)
