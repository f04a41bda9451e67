"""The processes that train together: which one this is, how they meet, and what they do as one."""

import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil
import torch

from trainer.memory.container import processors

Value = TypeVar("Value")
# What mpirun says to its ranks (Open MPI; MPICH and Intel MPI), in the order of torchrun's names.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MPI = (
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which process this is among those that train together, as the launcher's environment says.

    Without a launcher it is the only one. `local` counts within one machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @classmethod
    def from_environment(cls) -> "Ranks":
        """Read what `deepspeed`, `torchrun`, or else `mpirun` or Slurm's `srun` has set."""
        variables = os.environ if "RANK" in os.environ else {**os.environ, **(_of_mpirun() or _of_srun())}
        size = int(variables.get("WORLD_SIZE", "1"))
        local_size = variables.get("LOCAL_SIZE") or variables.get("LOCAL_WORLD_SIZE") or size
        return cls(
            rank=int(variables.get("RANK", "0")),
            size=size,
            local_rank=int(variables.get("LOCAL_RANK", "0")),
            local_size=int(local_size),
        )


def _of_mpirun() -> dict[str, str]:
    """Return what `mpirun` says, by torchrun's names; nothing where it did not start this process."""
    for names in MPI:
        if all(name in os.environ for name in names):
            return dict(zip(TORCHRUN, (os.environ[name] for name in names), strict=True))
    return {}


def _of_srun() -> dict[str, str]:
    """Return what `srun` says to one of several tasks, by torchrun's names; nothing where it started none.

    In a batch script there are Slurm's variables too, but not those of a step.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return {}
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(_tasks_here()),
    }


def _tasks_here() -> int:
    """Return how many tasks the step has on this machine: 8(x2),3 is 8 on two machines and 3 on a third."""
    counts: list[int] = []
    for part in os.environ["SLURM_STEP_TASKS_PER_NODE"].split(","):
        tasks, _, times = part.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(times or 1)
    return counts[min(int(os.environ["SLURM_NODEID"]), len(counts) - 1)]


def find_device(ranks: Ranks) -> torch.device:
    """Return what this rank computes on: a GPU of its own, or the CPU where there is none or it is wanted.

    Slurm may show each rank but its own GPU, which then is the first.

    Raises:
        ValueError: there are several GPUs, but fewer than ranks.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0 or os.environ.get("DS_ACCELERATOR") == "cpu":
        return torch.device("cpu")
    if gpus == 1:
        return torch.device("cuda", 0)
    if gpus < ranks.local_size:
        raise ValueError(
            f"{ranks.local_size} ranks on this machine see {gpus} GPUs: start one rank for each, or set "
            "DS_ACCELERATOR=cpu to train without"
        )
    return torch.device("cuda", ranks.local_rank)


@contextmanager
def joined(ranks: Ranks, device: torch.device, *, timeout_s: float = 600) -> Iterator[None]:
    """Meet the other ranks, and part from them at the end.

    Args:
        timeout_s: longest that a rank waits for another: for a slow disk or a compilation, but not for one
            that is gone.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    os.environ["DS_ACCELERATOR"] = device.type
    # DeepSpeed reads these even where there is no launcher to set them, and takes LOCAL_RANK for the GPU's.
    index = ranks.local_rank if device.index is None else device.index
    os.environ |= {"RANK": str(ranks.rank), "WORLD_SIZE": str(ranks.size), "LOCAL_RANK": str(index)}
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_s)
    # The groups that DeepSpeed makes take these, which for gloo are half an hour.
    torch.distributed.distributed_c10d.default_pg_timeout = timeout
    torch.distributed.distributed_c10d.default_pg_nccl_timeout = timeout  # type: ignore[attr-defined]
    with _meeting_place(ranks) as store:
        try:
            torch.distributed.init_process_group(
                backend,
                store=store,
                rank=ranks.rank,
                world_size=ranks.size,
                device_id=device if device.type == "cuda" else None,
                timeout=timeout,
            )
        except RuntimeError as error:
            if "Duplicate GPU" in str(error):  # NCCL's words
                raise ValueError("several ranks have the same GPU: start one rank for each") from error
            raise
        try:
            import_deepspeed().init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
            with _told_plainly():
                if "OMP_NUM_THREADS" not in os.environ:
                    torch.set_num_threads(_threads(ranks))
                yield
        finally:
            torch.distributed.destroy_process_group()


def set_timeout(seconds: float) -> None:
    """Let no rank wait longer than this for another, from now on, in any group."""
    groups = list(torch.distributed.distributed_c10d._world.pg_map)
    for group in groups:
        torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)


def compute_deterministically() -> None:
    """Have PyTorch choose, from now on, only operations that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS asks for
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Two processes may time kernels differently, and then choose differently.
    torch._inductor.config.deterministic = True


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Say in one line that another rank has gone, which comes as some library's own error.

    Where NCCL notices it, after the timeout, it ends the process by itself.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise ConnectionError(
                "another rank has gone or does not answer: the same command goes on from the last checkpoint"
            ) from error
        raise


@contextmanager
def _meeting_place(ranks: Ranks) -> Iterator[Any]:
    """Give the store where the ranks find each other, or None for the address that the launcher names.

    DeepSpeed's launcher names the same port in every run unless told otherwise. On one machine a file
    serves as well, so that two runs never fight over it.
    """
    if ranks.local_size == ranks.size and sys.platform == "linux":
        # The machine's own name may not resolve, or resolve to an outer interface.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if ranks.size == 1:
        yield torch.distributed.HashStore()  # type: ignore[attr-defined]  # documented all the same
    elif name := _name_on_this_machine(ranks):
        file = Path(tempfile.gettempdir()) / f"outbound-{name}"
        try:
            yield torch.distributed.FileStore(str(file), ranks.size)  # type: ignore[attr-defined]
        finally:
            file.unlink(missing_ok=True)
    else:
        if "SLURM_STEP_NODELIST" in os.environ:
            os.environ.setdefault("MASTER_ADDR", _first_host(os.environ["SLURM_STEP_NODELIST"]))
            # The same for every rank of a job, and another one for another job on the machine.
            os.environ.setdefault("MASTER_PORT", str(20_000 + int(os.environ["SLURM_JOB_ID"]) % 10_000))
        yield None


def _name_on_this_machine(ranks: Ranks) -> str:
    """Return what the ranks of this run, and no others, call themselves on this machine.

    Empty where they are on several machines, or where the launcher has named an address.
    """
    started_by_mpirun = bool(_of_mpirun()) and "MASTER_ADDR" not in os.environ
    if started_by_mpirun and ranks.local_size < ranks.size:
        raise ValueError("mpirun over several machines: set MASTER_ADDR and MASTER_PORT (mpirun -x)")
    if os.environ.get("CROSS_SIZE") == "1" or started_by_mpirun:  # one launcher is every rank's parent
        launcher = psutil.Process(os.getppid())
        return f"{launcher.pid}-{launcher.create_time()}"
    # Under torchrun a step's tasks are not the ranks, and restart within it.
    if (
        "SLURM_STEP_NODELIST" in os.environ
        and "MASTER_ADDR" not in os.environ
        and ranks.local_size == ranks.size
    ):
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        return "slurm-" + "-".join(os.environ.get(name, "0") for name in names)
    return ""


def _first_host(hosts: str) -> str:
    """Return the first of Slurm's list of hosts: n03 of n[03-05,9],m1."""
    found = re.fullmatch(r"([^\[,]*)(?:\[([^-,\]]*)[^\]]*\])?([^\[,]*)(?:,.*)?", hosts)
    assert found, hosts
    return "".join(part or "" for part in found.groups())


def _threads(ranks: Ranks) -> int:
    """Return how many threads this rank may run; all ranks must ask.

    Ranks of a machine that may use the same cores share them out. Slurm, or DeepSpeed's
    --bind_cores_to_rank, gives each its own. A container's quota is for all of them.
    """
    cores = _cores()
    sharing = all_gather((socket.gethostname(), cores)).count((socket.gethostname(), cores))
    return int(max(1, min(len(cores) // sharing, processors() / ranks.local_size)))


def _cores() -> frozenset[int]:
    """Cores that this process may use (macOS does not tell)."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def import_deepspeed() -> Any:
    """Import DeepSpeed quietly, without its search for a compiler, for the engine and for `joined`."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed  # which reads DS_ACCELERATOR

    # DeepSpeed calls collectives by names that PyTorch 2.13 has replaced.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    # Its warnings tell of what is wanted here: an update that was refused, an AdamW that is PyTorch's.
    deepspeed.utils.logging.set_log_level_from_string("error")
    # On a CPU DeepSpeed would compile a shared-memory all-reduce, for inference only. Training has no
    # use for it, and should not need a compiler.
    deepspeed.ops.__compatible_ops__ = {}
    return deepspeed


def all_gather(value: Value) -> list[Value]:
    """Return every rank's value, in the order of the ranks, on every rank."""
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def one_error_a_machine(ranks: Ranks) -> Iterator[None]:
    """Let the first rank of each machine report a mistake that every rank finds, before or after they meet.

    The others leave without an error, since DeepSpeed's launcher ends all ranks as soon as one has failed,
    and the first must live to report it.
    """
    try:
        yield
    except (ValueError, OSError):
        if ranks.local_rank > 0:
            sys.exit(0)
        raise


def leave(ranks: Ranks, code: int) -> NoReturn:
    """End this process, whose work is done; one of several ranks at once.

    DeepSpeed keeps groups whose threads (gloo's) still run while Python takes itself down. One that outlives
    what it uses ends the process with SIGABRT: about one run in eight would count as failed.
    """
    if ranks.size == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def on_first_rank(act: Callable[[], None]) -> None:
    """Do on the first rank what is done once for all; the others wait, and fail with it.

    Raises:
        OSError, ValueError: what the first rank met; on the others `SystemExit`, as `fail_together` does.
    """
    error: Exception | None = None
    if torch.distributed.get_rank() == 0:
        try:
            act()
        except (OSError, ValueError) as caught:
            error = caught
    if any(all_gather(error is not None)):
        fail_together(error or AssertionError("the first rank knows why"))


def on_first_of_each_machine(act: Callable[[], object], ranks: Ranks) -> None:
    """Do on the first rank of each machine what is done once there; the others wait, and fail with it.

    Raises:
        OSError, ValueError: what the first of them met, on the first rank; on the others `SystemExit`.
    """
    error: Exception | None = None
    if ranks.local_rank == 0:
        try:
            act()
        except (OSError, ValueError) as caught:
            error = caught
    if errors := [text for text in all_gather(error and str(error)) if text is not None]:
        fail_together(error or OSError(errors[0]))


def fail_together(error: Exception) -> NoReturn:
    """End the run on all ranks, each of which must come here: the first speaks for all.

    The others leave without an error of their own, since DeepSpeed's launcher ends all ranks as soon as one
    has failed, and the first must live to speak.
    """
    if torch.distributed.get_rank() == 0:
        raise error
    sys.exit(0)
