"""The processes that train together: which one this is, how they meet, and what they do as one."""

import os
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

Value = TypeVar("Value")
# Longest that a rank waits for another: for a slow disk or a compilation, but not for one that has gone.
PATIENCE = timedelta(minutes=10)


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
        """Read what `deepspeed`, or `torchrun`, has set."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        local_size = os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE") or size
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            size=size,
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            local_size=int(local_size),
        )


def find_device(ranks: Ranks) -> torch.device:
    """Return what this rank computes on: a GPU of its own if every rank here can have one, else the CPU."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus < ranks.local_size or os.environ.get("DS_ACCELERATOR") == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", ranks.local_rank)


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Meet the other ranks, and part from them at the end."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if "OMP_NUM_THREADS" not in os.environ:  # ranks on one machine share its cores
        torch.set_num_threads(max(1, _cores() // ranks.local_size))
    os.environ["DS_ACCELERATOR"] = device.type
    # DeepSpeed reads these even where there is no launcher to set them.
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    os.environ.setdefault("LOCAL_RANK", "0")
    backend = "nccl" if device.type == "cuda" else "gloo"
    with _meeting_place(ranks) as store:
        torch.distributed.init_process_group(
            backend,
            store=store,
            rank=ranks.rank,
            world_size=ranks.size,
            device_id=device if device.type == "cuda" else None,
            timeout=PATIENCE,
        )
        try:
            import_deepspeed().init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
            with _told_plainly():
                yield
        finally:
            torch.distributed.destroy_process_group()


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

    Where NCCL notices it, after `PATIENCE`, it ends the process by itself.
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
    elif os.environ.get("CROSS_SIZE") == "1":  # DeepSpeed's launcher, one machine: it is every rank's parent
        launcher = psutil.Process(os.getppid())
        file = Path(tempfile.gettempdir()) / f"outbound-{launcher.pid}-{launcher.create_time()}"
        try:
            yield torch.distributed.FileStore(str(file), ranks.size)  # type: ignore[attr-defined]
        finally:
            file.unlink(missing_ok=True)
    else:
        yield None


def _cores() -> int:
    """Cores that this process may use (macOS does not tell)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_deepspeed() -> Any:
    """Import DeepSpeed quietly, without its search for a compiler, for `trainer.engine` and for `joined`."""
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


def gather(value: Value) -> list[Value]:
    """Return every rank's value, in the order of the ranks, on every rank."""
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


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
    if any(gather(error is not None)):
        fail_together(error or AssertionError("the first rank knows why"))


def fail_together(error: Exception) -> NoReturn:
    """End the run on all ranks, each of which must come here: the first speaks for all.

    The others leave without an error of their own, since DeepSpeed's launcher ends all ranks as soon as one
    has failed, and the first must live to speak.
    """
    if torch.distributed.get_rank() == 0:
        raise error
    sys.exit(0)
