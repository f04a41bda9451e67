"""Made control groups, as the kernel shows them."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from trainer.memory import container
from trainer.memory.available import find_available_memory
from trainer.memory.container import memory_left, processors
from trainer.memory.estimate import CUDA_CONTEXT, GIB


@pytest.fixture
def groups(tmp_path, monkeypatch) -> Path:
    """The folder of all groups, and the file that names the process's own: nothing is limited yet."""
    monkeypatch.setattr(container, "GROUPS", tmp_path)
    monkeypatch.setattr(container, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_where_nothing_is_limited_all_is_left(groups):
    assert memory_left() == processors() == float("inf")
    write(groups, memory__max="max\n", memory__current="5\n", cpu__max="max 100000\n")
    assert memory_left() == processors() == float("inf")


def test_what_was_read_from_files_and_can_be_let_go_of_counts_as_left(groups):
    statistics = "anon 100\nfile 800\ninactive_file 700\nactive_file 100\n"
    write(groups, memory__max="1000\n", memory__current="950\n", memory__stat=statistics)
    assert memory_left() == 750
    write(groups, cpu__max="150000 100000\n")
    assert processors() == 1.5


def test_the_tightest_group_above_the_process_counts(groups):
    write(groups / "job_1", memory__max="1000\n", memory__current="600\n", cpu__max="400000 100000\n")
    write(groups / "job_1/step_0", memory__max="max\n", memory__current="600\n", cpu__max="max 100000\n")
    (groups / "own").write_text("1:name=systemd:/\n0::/job_1/step_0\n")
    assert (memory_left(), processors()) == (400, 4)


def test_a_container_of_version_1_is_limited_as_well(groups):
    (groups / "own").write_text("4:memory:/docker/abc\n")
    write(
        groups / "memory",
        memory__limit_in_bytes="1000\n",
        memory__usage_in_bytes="900\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 300\n",
    )
    write(groups / "cpu", cpu__cfs_quota_us="250000\n", cpu__cfs_period_us="100000\n")
    assert (memory_left(), processors()) == (400, 2.5)
    write(groups / "cpu", cpu__cfs_quota_us="-1\n")
    assert processors() == float("inf")


def test_a_rank_has_what_others_leave_of_its_gpu_and_its_share_of_the_machine_beside(groups, monkeypatch):
    write(groups, memory__max=f"{10 * GIB}\n", memory__current=f"{2 * GIB}\n", memory__stat="inactive_file 0")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB, total=64 * GIB))
    assert find_available_memory(torch.device("cpu"), local_ranks=2).device_bytes == int(0.9 * 8 * GIB) // 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (50 * GIB, 80 * GIB))
    available = find_available_memory(torch.device("cuda", 0), local_ranks=2)
    assert (available.device_bytes, available.total_bytes, available.host_bytes) == (
        50 * GIB + CUDA_CONTEXT,
        80 * GIB,
        int(0.9 * 8 * GIB) // 2,
    )
