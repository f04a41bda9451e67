import importlib.machinery
import shutil
import subprocess
import sysconfig
from contextlib import nullcontext

import pytest
import torch

from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.training import capabilities
from trainer.training.capabilities import has_bf16, missing_for_kernels, settled_compilation

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch) -> pytest.MonkeyPatch:
    """A GPU of compute capability 9.0, with all that its kernels take."""
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    spec = importlib.machinery.ModuleSpec("triton", None)
    monkeypatch.setattr(capabilities, "find_spec", lambda _: spec)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(capabilities, "_make_kernel", lambda _: None)
    monkeypatch.delenv("CC", raising=False)
    return monkeypatch


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_has_bf16_where_pytorch_does_not_emulate_it_and_a_cpu_always(gpu, supported):
    asked = []

    def is_bf16_supported(*, including_emulation):
        asked.append(including_emulation)
        return supported

    gpu.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert has_bf16(GPU) == supported
    assert asked == [False]
    assert has_bf16(CPU)


def test_kernels_are_made_where_nothing_is_missing(gpu):
    assert missing_for_kernels(GPU) == ""
    assert missing_for_kernels(CPU) == ""


def test_an_old_gpu_a_missing_triton_and_a_missing_compiler_are_named(gpu):
    gpu.setattr(shutil, "which", lambda name: "/opt/icc" if name == "/opt/icc" else None)
    assert missing_for_kernels(GPU) == "there is no C compiler (gcc or clang)"
    gpu.setenv("CC", "/opt/icc")
    assert missing_for_kernels(GPU) == ""
    gpu.setenv("CC", "/opt/gone")
    assert missing_for_kernels(GPU) == "there is no C compiler /opt/gone"
    gpu.setenv("CXX", "/opt/g++")
    assert missing_for_kernels(CPU) == "there is no C++ compiler /opt/g++"
    gpu.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert missing_for_kernels(GPU) == "Triton needs compute capability 7.0, and this GPU has 6.1"
    gpu.setattr(capabilities, "find_spec", lambda _: None)
    assert missing_for_kernels(GPU) == "the package triton is not installed"


def test_a_kernel_that_cannot_be_made_is_told_by_its_reason(gpu, tmp_path):
    def fail(_):
        raise subprocess.CalledProcessError(1, ["gcc", "launcher.c"])

    gpu.setattr(capabilities, "_make_kernel", fail)
    (tmp_path / "Python.h").touch()
    gpu.setattr(sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    assert missing_for_kernels(GPU).startswith("making a kernel failed: Command '['gcc', 'launcher.c']'")
    (tmp_path / "Python.h").unlink()
    assert (
        missing_for_kernels(GPU) == f"there is no {tmp_path}/Python.h (on Debian and Ubuntu in python3-dev)"
    )


def plan() -> TrainingPlan:
    options = TrainingOptions(data="shards")
    return resolve(options, vocabulary=100, world_size=2, accelerator=True)


def test_one_rank_that_misses_something_lets_all_go_without_compilation():
    assert plan().compiled
    assert settled_compilation(plan(), ["", ""], wanted=False) == plan()
    assert not settled_compilation(plan(), ["", "no gcc"], wanted=False).compiled
    with pytest.raises(ValueError, match="--compile on: no gcc; no triton: fix this, or use --compile off"):
        settled_compilation(plan(), ["no gcc", "no triton", "no gcc"], wanted=True)
