"""The only module that drives DeepSpeed: the sharded optimizer, one step, and the tensors of a checkpoint."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint.folder import FileRecord, read_tensors, tensor_files
from trainer.checkpoint.tensor_writer import TensorWriter
from trainer.config.model_config import IGNORED
from trainer.config.plan import TrainingPlan
from trainer.distributed.deepspeed.optimizer_state import MOMENTS, Partitions
from trainer.distributed.deepspeed.update_gate import UpdateGate
from trainer.distributed.muon import MuonWithAdamW, matrix_names
from trainer.distributed.out_of_memory import OutOfMemoryTogetherError
from trainer.distributed.ranks import Ranks, all_gather, fail_together, import_deepspeed
from trainer.memory.estimate import reduce_bucket
from trainer.model.gpt2 import GPT2, Batch
from trainer.model.kv_cache import KeyValues

# PyTorch's own, before an engine at stage 3 replaces it for the whole process.
LINEAR = torch.nn.functional.linear
Accept = Callable[[float, float], bool]  # of loss and gradient norm: whether the update is to be applied


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of one optimizer step: the same on every rank."""

    loss: float  # mean over the whole global batch, in nats
    gradient_norm: float  # of the whole gradient, before clipping; Inf if it was NaN or Inf
    applied: bool  # whether the update was applied
    stop: bool  # whether some rank was asked to stop


class Engine:
    """A model and its optimizer, sharded over the ranks as the plan says."""

    def __init__(self, model: GPT2, plan: TrainingPlan, ranks: Ranks, device: torch.device) -> None:
        self.rank, self.world_size = ranks.rank, ranks.size
        self.device = device
        self._plan = plan
        if plan.compiled and torch.nn.functional.linear is not LINEAR:
            raise ValueError(
                "an engine at ZeRO stage 3 has replaced torch.nn.functional.linear in this process, so a "
                "compiled model would get gradients of zero: train it in its own process"
            )
        self._short = False  # whether this rank has run out of memory
        matrices = matrix_names(model) if plan.optimizer == "muon" else ()
        deepspeed, config, optimizer = import_deepspeed(), deepspeed_config(plan), _optimizer(model, plan)
        if plan.zero_stage == 3:  # parameter by parameter, so that no device ever holds the whole model
            deepspeed.zero.Init(module=model, config_dict_or_path=config, dtype=torch.float32)
        self._engine, self._optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=config
        )
        if self.world_size == 1 and plan.zero_stage == 0:  # a useless copy of all gradients
            self._engine.enable_backward_allreduce = False
        self._partitions = Partitions(
            self._engine, optimizer, zero_stage=plan.zero_stage, one_moment=matrices
        )
        if isinstance(optimizer, MuonWithAdamW):
            rank = ranks.rank if plan.zero_stage else 0  # at stage 0 every rank has all matrices to itself
            optimizer.lay_out(self._partitions.matrices(), rank=rank, device=device)
        self._gate = UpdateGate(self._engine, zero_stage=plan.zero_stage, clip=plan.gradient_clip)

    def step(
        self,
        micro_batches: Iterable[Batch],
        *,
        targets: int,
        learning_rate: float,
        stop: bool,
        accept: Accept,
    ) -> StepResult:
        """Take one optimizer step on this rank's share of the global batch.

        Args:
            micro_batches: inputs and targets [B, T], as many as the plan accumulates.
            targets: how many the whole global batch has. The loss is the mean over these, however unevenly
                they are shared out.
            stop: whether this rank was asked to stop; the result says whether any was.
            accept: decides from the loss and the gradient's norm whether the update is applied; if not,
                weights and moments stay bitwise the same. Called once on every rank with the same numbers,
                and not at all if one of them is NaN or Inf: such an update is always skipped.

        Raises:
            OutOfMemoryTogetherError: some rank ran out of memory, and all ranks raise this.
            torch.OutOfMemoryError: this rank did, and the others do not know.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.train()
        # Loss and requests stay on the device until the step's end: nothing here waits for the GPU.
        sums = torch.tensor([0.0, float(stop), 0.0], dtype=torch.float64, device=self.device)
        # DeepSpeed takes the mean over ranks and micro-batches, and here each target counts alike.
        shares = self.world_size * self._plan.accumulation_steps / targets
        for batch in micro_batches:
            share = int((batch[1] != IGNORED).sum()) * shares
            sums[0] += self._forward_and_back(batch, share)
            if self._engine.is_gradient_accumulation_boundary():
                sums[2] = self._short
                torch.distributed.all_reduce(sums)
                loss_sum, stops, short = sums.tolist()
                if short:
                    raise OutOfMemoryTogetherError
                mean = loss_sum / (self.world_size * self._plan.accumulation_steps)
                self._gate.apply_if(partial(_acceptable, accept, mean))
            self._engine.step()
        return StepResult(
            loss=mean, gradient_norm=self._gate.norm, applied=self._gate.applied, stop=stops > 0
        )

    def _forward_and_back(self, batch: Batch, share: float) -> Tensor:
        """Add a micro-batch's gradient to the step's; return its part of the loss.

        If memory runs out, this rank continues with one row of each micro-batch, so that all ranks reach the
        end of the step, where they learn that it is void. Only at stages 0 and 1, where no rank waits for
        another before that.
        """
        if not self._short:
            try:
                return self._forward_and_back_rows(batch, share)
            except torch.OutOfMemoryError:
                if self.world_size == 1 or self._plan.zero_stage > 1:
                    raise
            self._short = True
            if self._plan.zero_stage == 1:
                self._optimizer.exit_backward()  # the backward pass that was broken off, if it was one
        with torch.compiler.set_stance("force_eager"):  # which has no kernels for a single row
            return self._forward_and_back_rows((batch[0][:1], batch[1][:1]), share)

    def _forward_and_back_rows(self, batch: Batch, share: float) -> Tensor:
        loss: Tensor = self._engine(*self._tensors(batch), reduction="mean") * share
        self._engine.backward(loss)
        return loss.detach()

    def evaluate(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """Return the sum of losses and the number of targets over all ranks' batches: inputs, targets [B, T].

        Each rank must give as many batches: under ZeRO-3 a forward pass is collective.
        """
        self._engine.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # read once, at the end
        with torch.no_grad():
            for batch in batches:
                inputs, targets = self._tensors(batch)
                sums[0] += self._engine(inputs, targets).double().sum()
                sums[1] += (targets != IGNORED).sum()
        torch.distributed.all_reduce(sums)
        loss, count = sums.tolist()
        return loss, int(count)

    def logits(self, tokens: Tensor, position: Tensor, past: KeyValues) -> Tensor:
        """Return the logits [B, V] after one position [B] of each row of tokens [B, T]; on all ranks.

        The tokens follow the cached ones and are added to the cache.
        """
        self._engine.eval()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # there are no kernels for the shape
            logits: Tensor = self._engine(
                tokens.to(self.device), position=position.to(self.device), past=past
            )
        return logits

    @property
    def updates(self) -> int:
        """The number of applied updates."""
        return self._partitions.updates

    def save(self, folder: Path) -> dict[str, FileRecord]:
        """Write the tensors of a checkpoint, each rank its share; all ranks must call it.

        Files go to the ranks in turn. While one is written, the ranks gather the next, tensor by tensor: no
        rank holds more than two files' content at a time.

        Returns:
            The records of all files, on every rank.

        Raises:
            OSError: some rank could not write (as `fail_together` does).
        """
        with TensorWriter() as writer:
            owners = self.owners
            for file in tensor_files(self.shapes, one_moment=self.one_moment):
                writes = owners[file.name] == self.rank and not writer.error
                tensors = {}
                for name in file.parameters:
                    tensor = self._partitions.read(file.kind, name)  # collective, also after an error
                    if writes:
                        tensors[name] = tensor.cpu()
                if writes:
                    writer.write(folder / file.name, tensors)
        parts = all_gather((writer.records, writer.error))
        errors = sorted({error for _, error in parts if error})
        if errors:
            fail_together(OSError("; ".join(errors)))
        return {name: record for records, _ in parts for name, record in records.items()}

    @property
    def owners(self) -> dict[str, int]:
        """Which rank writes each file of a checkpoint."""
        files = tensor_files(self.shapes, one_moment=self.one_moment)
        return {file.name: number % self.world_size for number, file in enumerate(files)}

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The whole shape of every parameter."""
        return self._partitions.shapes

    @property
    def one_moment(self) -> tuple[str, ...]:
        """The parameters that have a first moment only: those under Muon."""
        return self._partitions.one_moment

    def replicated_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that every rank has a copy of, which must be bitwise equal."""
        return self._partitions.replicated()

    def load_moments(self, folder: Path, *, updates: int) -> None:
        """Load a checkpoint's moments; the model was built with its weights."""
        for kind in MOMENTS:
            for name, value in read_tensors(folder, kind).items():
                self._partitions.write_moment(kind, name, value)
        self._partitions.updates = updates

    def discard(self) -> None:
        """Drop the references that would keep DeepSpeed's engine alive."""
        self._engine.destroy()
        import_deepspeed().runtime.zero.parameter_offload.FWD_MODULE_STACK.clear()

    def _tensors(self, batch: Batch) -> list[Tensor]:
        return [tensor.to(self.device, non_blocking=True) for tensor in batch]


def _acceptable(accept: Accept, loss: float, norm: float) -> bool:
    return math.isfinite(loss) and accept(loss, norm)


def _optimizer(model: GPT2, plan: TrainingPlan) -> torch.optim.AdamW:
    """PyTorch's own AdamW (nothing to compile), with weight decay on matrices only, or Muon beside it.

    Muon's products are in the precision of all others.
    """
    own = matrix_names(model) if plan.optimizer == "muon" else ()
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and name not in own]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adamw: dict[str, Any] = {
        "lr": plan.learning_rate,
        "betas": (plan.beta1, plan.beta2),
        "eps": plan.epsilon,
        "fused": True,
    }
    if not own:
        return torch.optim.AdamW(groups, **adamw)
    groups = [{**group, "muon": False} for group in groups]
    orthogonal = [model.get_parameter(name) for name in own]
    groups.append({"params": orthogonal, "weight_decay": plan.weight_decay, "muon": True})
    products = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    return MuonWithAdamW(groups, products=products, **adamw)


def deepspeed_config(plan: TrainingPlan) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a plan.

    bf16 is autocast: products in bf16, but weights, gradient sums and communication in fp32. So the
    accumulated gradient is as exact as one big batch's, every stage computes the same numbers, and
    checkpoints look alike in both precisions.

    Gradients are sent during the backward pass at stage 3 only, as is DeepSpeed's default: at stages
    1 and 2 that asks for a second bucket, and has raced with torch.compile's streams (DeepSpeed issue 8061).
    """
    return {
        # Rows that an uneven share leaves empty count here.
        "train_batch_size": plan.world_size * plan.micro_batch * plan.accumulation_steps,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation_steps,
        "gradient_clipping": plan.gradient_clip if plan.zero_stage else 0.0,  # at stage 0 the gate clips
        "zero_optimization": {
            "stage": plan.zero_stage,
            "reduce_bucket_size": reduce_bucket(plan.model),
            **_offload(plan),
        },
        # Its clock would wait for the GPU twice a micro-batch; `loop.py` has one of its own.
        "timers": {"throughput": {"enabled": False}},
        "zero_force_ds_cpu_optimizer": False,  # PyTorch's AdamW runs on the CPU as well
        "zero_allow_untested_optimizer": plan.optimizer == "muon",  # ours, which DeepSpeed does not know
        "torch_autocast": {
            "enabled": plan.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # which would be communicated in bf16
        },
    }


def _offload(plan: TrainingPlan) -> dict[str, Any]:
    """Return what of a plan lies in the machine's memory, page-locked where there is a GPU to copy to."""
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    chosen = {"offload_optimizer": plan.offload_optimizer, "offload_param": plan.offload_parameters}
    return {name: place for name, wanted in chosen.items() if wanted}
