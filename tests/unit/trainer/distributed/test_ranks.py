import os
from pathlib import Path

import pytest
import torch
from rank_processes import rank_processes

from trainer.distributed.ranks import (
    MPI,
    Ranks,
    _first_host,
    _name_on_this_machine,
    all_gather,
    find_device,
    joined,
)

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE", "DS_ACCELERATOR")
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "19",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_PROCID": "17",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "19",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2),3",
    "SLURM_STEP_NODELIST": "gpu[01-03]",
}


@pytest.fixture
def launched(monkeypatch) -> pytest.MonkeyPatch:
    """No launcher's environment but what a test sets."""
    for name in [*NAMES, *(name for name in os.environ if name.startswith("SLURM"))]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_all(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.mark.parametrize("size", ["LOCAL_SIZE", "LOCAL_WORLD_SIZE"])  # DeepSpeed's launcher, and torchrun
def test_a_launcher_says_which_rank_this_is_also_inside_a_step_of_slurm(launched, size):
    set_all(launched, {**SRUN, "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", size: "8"})
    assert Ranks.from_environment() == Ranks(rank=9, size=16, local_rank=1, local_size=8)


def test_srun_says_it_where_no_launcher_does(launched):
    set_all(launched, SRUN)
    assert Ranks.from_environment() == Ranks(rank=17, size=19, local_rank=1, local_size=3)


def test_a_batch_script_of_slurm_and_a_single_task_are_one_rank(launched):
    alone = Ranks(rank=0, size=1, local_rank=0, local_size=1)
    set_all(launched, {"SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    assert Ranks.from_environment() == alone
    set_all(launched, {**SRUN, "SLURM_STEP_NUM_TASKS": "1"})
    assert Ranks.from_environment() == alone


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu[01-03]", "gpu01"),
        ("gpu[07,09-12],cpu1", "gpu07"),
        ("node-a,node-b", "node-a"),
        ("alone", "alone"),
        ("rack[2-3]-n", "rack2-n"),
    ],
)
def test_the_first_of_slurms_hosts_is_where_the_ranks_meet(hosts, first):
    assert _first_host(hosts) == first


def device_of(patch: pytest.MonkeyPatch, *, gpus: int, local_rank: int = 3, local_size: int = 8) -> str:
    patch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    patch.setattr(torch.cuda, "device_count", lambda: gpus)
    ranks = Ranks(rank=local_rank, size=local_size, local_rank=local_rank, local_size=local_size)
    return str(find_device(ranks))


def test_each_rank_takes_its_own_gpu_whether_it_sees_all_or_that_alone(launched):
    assert device_of(launched, gpus=8) == "cuda:3"
    assert device_of(launched, gpus=1) == "cuda:0"
    assert device_of(launched, gpus=8, local_rank=0, local_size=1) == "cuda:0"


def test_ranks_that_see_too_few_gpus_do_not_train_on_the_cpu_unless_told_to(launched):
    with pytest.raises(ValueError, match="8 ranks on this machine see 4 GPUs: start one rank for each"):
        device_of(launched, gpus=4)
    assert device_of(launched, gpus=0) == "cpu"
    launched.setenv("DS_ACCELERATOR", "cpu")
    assert device_of(launched, gpus=4) == "cpu"


def one_of_srun(rank: int, cores: list[int] | None, folder: str, answers: object) -> None:
    """What a task of two does: meet the other, and count its threads."""
    from trainer.memory import container

    os.environ |= {**SRUN, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
    os.environ |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    os.environ["SLURM_STEP_ID"] = folder.replace("/", "_")  # of this test alone, today
    for name in (*NAMES, "OMP_NUM_THREADS"):
        os.environ.pop(name, None)
    container.GROUPS, container.OWN = Path(folder), Path(folder) / "none"
    os.sched_getaffinity = lambda _: set(cores or range(8))
    ranks = Ranks.from_environment()
    with joined(ranks, torch.device("cpu")):
        answers.put((all_gather(ranks.rank), torch.get_num_threads(), os.environ["LOCAL_RANK"]))  # type: ignore[attr-defined]
        torch.distributed.barrier()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "quota", "threads"),
    [
        (False, "max 100000", 4),  # eight cores for both
        (True, "max 100000", 8),  # eight cores for each
        (True, "600000 100000", 3),  # and six processors' time for both
    ],
)
def test_two_tasks_of_srun_meet_and_share_out_the_cores_that_they_share(tmp_path, own, quota, threads):
    (tmp_path / "cpu.max").write_text(quota)
    processes = rank_processes()
    answers = processes.SimpleQueue()
    started = []
    for rank in range(2):
        cores = list(range(8 * rank, 8 * rank + 8)) if own else None
        started.append(processes.Process(target=one_of_srun, args=(rank, cores, str(tmp_path), answers)))
        started[-1].start()
    found = sorted(answers.get() for _ in started)
    for process in started:
        process.join(60)
    assert found == [([0, 1], threads, "0"), ([0, 1], threads, "1")]


def test_ranks_of_torchrun_in_a_step_of_slurm_meet_where_torchrun_says(monkeypatch):
    monkeypatch.setattr(os, "environ", {"SLURM_STEP_NODELIST": "n1", "SLURM_JOB_ID": "7"})
    ranks = Ranks(rank=0, size=2, local_rank=0, local_size=2)
    assert _name_on_this_machine(ranks) == "slurm-7-0-0"
    os.environ["MASTER_ADDR"] = "n1"
    assert _name_on_this_machine(ranks) == ""


@pytest.mark.parametrize("names", MPI)
def test_the_ranks_of_mpirun_are_those_that_it_says(monkeypatch, names):
    for name in ("RANK", *NAMES):
        monkeypatch.delenv(name, raising=False)
    for name, value in zip(names, (3, 8, 1, 2), strict=True):
        monkeypatch.setenv(name, str(value))
    assert Ranks.from_environment() == Ranks(rank=3, size=8, local_rank=1, local_size=2)


def one_of_mpirun(rank: int, answers: object) -> None:
    os.environ |= dict(zip(MPI[0], (str(rank), "2", str(rank), "2"), strict=True))
    for name in (*NAMES, "RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    with joined(Ranks.from_environment(), torch.device("cpu")):
        answers.put(all_gather(rank))  # type: ignore[attr-defined]
        torch.distributed.barrier()


@pytest.mark.slow
def test_two_ranks_of_mpirun_meet_without_an_address():
    processes = rank_processes()
    answers = processes.SimpleQueue()
    started = [processes.Process(target=one_of_mpirun, args=(rank, answers)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [answers.get(), answers.get()] == [[0, 1], [0, 1]]


def test_mpirun_over_several_machines_asks_for_an_address(monkeypatch):
    for name in (*NAMES, "RANK", "MASTER_ADDR", "CROSS_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in zip(MPI[0], (3, 8, 1, 2), strict=True):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match="set MASTER_ADDR and MASTER_PORT"):
        _name_on_this_machine(Ranks.from_environment())
