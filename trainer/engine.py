"""The only module that speaks DeepSpeed: ranks, the sharded optimizer, one step, and its checkpoint files."""

import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor

from trainer.batches import Tokens
from trainer.checkpoint import FileRecord, read_tensors, tensor_files, write_tensors
from trainer.config import TrainingPlan
from trainer.memory import reduce_bucket
from trainer.model import GPT2
from trainer.partitions import MOMENTS, Partitions

Value = TypeVar("Value")

BETAS = (0.9, 0.95)  # as GPT-3 and llm.c
EPSILON = 1e-8


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
    elif "OMP_NUM_THREADS" not in os.environ:  # ranks on one machine share its cores
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
        )
        try:
            _deepspeed().init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
            yield
        finally:
            torch.distributed.destroy_process_group()


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


def _deepspeed() -> Any:
    """Import DeepSpeed quietly, without its search for a compiler."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed  # which reads DS_ACCELERATOR

    # DeepSpeed calls collectives by names that PyTorch 2.13 has replaced.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    deepspeed.utils.logging.set_log_level_from_string("warning")
    # On a CPU DeepSpeed would compile a shared-memory all-reduce, for inference only. Training has no
    # use for it, and should not need a compiler.
    deepspeed.ops.__compatible_ops__ = {}
    return deepspeed


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What came of one optimizer step: the same on every rank."""

    loss: float  # mean over the whole global batch, in nats
    gradient_norm: float  # before clipping
    stop: bool  # some rank was asked to stop


class Engine:
    """A model and its optimizer, sharded over the ranks as the plan says."""

    def __init__(self, model: GPT2, plan: TrainingPlan, ranks: Ranks, device: torch.device) -> None:
        self.rank, self.world_size = ranks.rank, ranks.size
        self._device = device
        self._plan = plan
        adamw = _adamw(model, plan)
        self._engine, self._optimizer, *_ = _deepspeed().initialize(
            model=model, optimizer=adamw, config=deepspeed_config(plan)
        )
        self._partitions = Partitions(self._engine, adamw, zero_stage=plan.zero_stage)

    def step(
        self, micro_batches: Iterable[tuple[Tokens, Tokens]], *, learning_rate: float, stop: bool
    ) -> StepResult:
        """Take one optimizer step on this rank's share of the global batch.

        Args:
            micro_batches: inputs and targets [B, T], as many as the plan accumulates.
            stop: whether this rank was asked to stop; the result says whether any was.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.train()
        loss_sum = torch.zeros((), device=self._device)
        norm = math.nan
        for inputs, targets in micro_batches:
            loss = self._engine(self._tensor(inputs), self._tensor(targets), reduction="mean")
            self._engine.backward(loss)
            loss_sum += loss.detach()
            if self._plan.zero_stage == 0 and self._engine.is_gradient_accumulation_boundary():
                norm = self._whole_gradient_norm()
            self._engine.step()
        if self._plan.zero_stage > 0:
            norm = float(self._engine.get_global_grad_norm())
        loss_total, stops = self.sum_over_ranks([float(loss_sum), float(stop)])
        mean = loss_total / (self.world_size * self._plan.accumulation_steps)
        return StepResult(loss=mean, gradient_norm=norm, stop=stops > 0)

    def evaluate(self, inputs: Tokens, targets: Tokens) -> tuple[float, int]:
        """Return this rank's sum of losses and number of targets, over one batch [B, T]."""
        self._engine.eval()
        with torch.no_grad():
            losses = self._engine(self._tensor(inputs), self._tensor(targets))
        return float(losses.double().sum()), int((targets >= 0).sum())

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Add up each value over all ranks."""
        sums = torch.tensor(values, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def gather(self, value: Value) -> list[Value]:
        """Return every rank's value, in the order of the ranks, on every rank."""
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def wait_for_all(self) -> None:
        """Wait until every rank has come here."""
        torch.distributed.barrier()

    @property
    def updates(self) -> int:
        """How many steps' updates have been applied."""
        return self._partitions.updates

    def save(self, folder: Path) -> dict[str, FileRecord]:
        """Write the tensors of a checkpoint, each rank its share; all ranks must call it.

        Files go to the ranks in turn, and each is gathered tensor by tensor when it is written: no rank
        holds more than one file's content at a time.

        Returns:
            The records of all files, on every rank.

        Raises:
            OSError: some rank could not write; every rank raises it.
        """
        records: dict[str, FileRecord] = {}
        error = ""
        for number, file in enumerate(tensor_files(self._partitions.shapes)):
            writes = number % self.world_size == self.rank and not error
            tensors = {}
            for name in file.parameters:
                tensor = self._partitions.read(file.kind, name)  # a joint act, also after an error
                if writes:
                    tensors[name] = tensor.cpu()
            if writes:
                try:
                    records[file.name] = write_tensors(folder / file.name, tensors)
                except OSError as caught:
                    error = str(caught)
        parts = self.gather((records, error))
        errors = sorted({error for _, error in parts if error})
        if errors:
            raise OSError(f"cannot save {folder.name}: {'; '.join(errors)}")
        return {name: record for written, _ in parts for name, record in written.items()}

    def load_moments(self, folder: Path, *, updates: int) -> None:
        """Go on with a checkpoint's moments; its weights the model was built with."""
        for kind in MOMENTS:
            for name, value in read_tensors(folder, kind).items():
                self._partitions.write_moment(kind, name, value)
        self._partitions.updates = updates

    def _whole_gradient_norm(self) -> float:
        """Norm of the gradient, which DeepSpeed does not keep at stage 0."""
        gradients = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _tensor(self, tokens: Tokens) -> Tensor:
        return torch.from_numpy(tokens).to(self._device)


def _adamw(model: GPT2, plan: TrainingPlan) -> torch.optim.AdamW:
    """PyTorch's own AdamW (nothing to compile), with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def deepspeed_config(plan: TrainingPlan) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a plan.

    bf16 is autocast: products in bf16, but weights, gradient sums and communication in fp32. So the
    accumulated gradient is as exact as one big batch's, every stage computes the same numbers, and
    checkpoints look alike in both precisions.
    """
    return {
        "train_batch_size": plan.sequences_per_step,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation_steps,
        "gradient_clipping": plan.gradient_clip,
        "zero_optimization": {"stage": plan.zero_stage, "reduce_bucket_size": reduce_bucket(plan.model)},
        "torch_autocast": {
            "enabled": plan.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # which would be communicated in bf16
        },
    }
