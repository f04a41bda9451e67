"""The only module that drives DeepSpeed: the sharded optimizer, one step, and the tensors of a checkpoint."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint import FileRecord, read_tensors, tensor_files
from trainer.config import IGNORED, TrainingPlan
from trainer.gate import Gate
from trainer.loader import Batch
from trainer.memory import reduce_bucket
from trainer.model import GPT2
from trainer.partitions import MOMENTS, Partitions
from trainer.ranks import Ranks, fail_together, gather, import_deepspeed
from trainer.shortage import OutOfMemoryTogetherError
from trainer.tensor_writer import TensorWriter

Accept = Callable[[float, float], bool]  # of loss and gradient norm: whether the update is to be applied


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What came of one optimizer step: the same on every rank."""

    loss: float  # mean over the whole global batch, in nats
    gradient_norm: float  # of the whole gradient, before clipping; infinite where it is no number
    applied: bool  # whether weights and moments have changed
    stop: bool  # some rank was asked to stop


class Engine:
    """A model and its optimizer, sharded over the ranks as the plan says."""

    def __init__(self, model: GPT2, plan: TrainingPlan, ranks: Ranks, device: torch.device) -> None:
        self.rank, self.world_size = ranks.rank, ranks.size
        self.device = device
        self._plan = plan
        self._short = False  # whether this rank has run out of memory
        deepspeed, config, adamw = import_deepspeed(), deepspeed_config(plan), _adamw(model, plan)
        if plan.zero_stage == 3:  # parameter by parameter, so that no device ever holds the whole model
            deepspeed.zero.Init(module=model, config_dict_or_path=config, dtype=torch.float32)
        self._engine, self._optimizer, *_ = deepspeed.initialize(model=model, optimizer=adamw, config=config)
        self._partitions = Partitions(self._engine, adamw, zero_stage=plan.zero_stage)
        self._gate = Gate(self._engine, zero_stage=plan.zero_stage, clip=plan.gradient_clip)

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
                weights and moments stay as they are, to the bit. Asked once on every rank with the same
                numbers, and not at all where one of them is not finite: such an update is never applied.

        Raises:
            OutOfMemoryTogetherError: some rank has too little memory for a micro-batch. None can go on.
            torch.OutOfMemoryError: this rank has, and the others do not know.
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
                self._gate.close_unless(partial(_acceptable, accept, mean))
            self._engine.step()
        return StepResult(loss=mean, gradient_norm=self._gate.norm, applied=self._gate.opened, stop=stops > 0)

    def _forward_and_back(self, batch: Batch, share: float) -> Tensor:
        """Add a micro-batch's gradient to the step's; return its part of the loss.

        Where the memory does not do for it, this rank goes on with one row of each, so that all ranks come
        to the step's end, and learn there that it counts for nothing. But only at stages 0 and 1, where no
        rank waits for another before that.
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

    def evaluate(self, batch: Batch) -> tuple[float, int]:
        """Return this rank's sum of losses and number of targets, over one batch: inputs, targets [B, T]."""
        self._engine.eval()
        with torch.no_grad():
            losses = self._engine(*self._tensors(batch))
        return float(losses.double().sum()), int((batch[1] != IGNORED).sum())

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Add up each value over all ranks."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums]

    @property
    def updates(self) -> int:
        """How many steps' updates have been applied."""
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
            for number, file in enumerate(tensor_files(self._partitions.shapes)):
                writes = number % self.world_size == self.rank and not writer.error
                tensors = {}
                for name in file.parameters:
                    tensor = self._partitions.read(file.kind, name)  # a joint act, also after an error
                    if writes:
                        tensors[name] = tensor.cpu()
                if writes:
                    writer.write(folder / file.name, tensors)
        parts = gather((writer.records, writer.error))
        errors = sorted({error for _, error in parts if error})
        if errors:
            fail_together(OSError("; ".join(errors)))
        return {name: record for records, _ in parts for name, record in records.items()}

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The whole shape of every parameter."""
        return self._partitions.shapes

    def replicated_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights of which every rank has a copy, to be the same to the bit."""
        return self._partitions.replicated()

    def load_moments(self, folder: Path, *, updates: int) -> None:
        """Go on with a checkpoint's moments; its weights the model was built with."""
        for kind in MOMENTS:
            for name, value in read_tensors(folder, kind).items():
                self._partitions.write_moment(kind, name, value)
        self._partitions.updates = updates

    def discard(self) -> None:
        """Undo what would keep DeepSpeed's engine alive, wherever a step has ended."""
        self._engine.destroy()
        import_deepspeed().runtime.zero.parameter_offload.FWD_MODULE_STACK.clear()

    def _tensors(self, batch: Batch) -> list[Tensor]:
        return [tensor.to(self.device, non_blocking=True) for tensor in batch]


def _acceptable(accept: Accept, loss: float, norm: float) -> bool:
    return math.isfinite(loss) and accept(loss, norm)


def _adamw(model: GPT2, plan: TrainingPlan) -> torch.optim.AdamW:
    """PyTorch's own AdamW (nothing to compile), with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (plan.beta1, plan.beta2)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=betas, eps=plan.epsilon, fused=True)


def deepspeed_config(plan: TrainingPlan) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a plan.

    bf16 is autocast: products in bf16, but weights, gradient sums and communication in fp32. So the
    accumulated gradient is as exact as one big batch's, every stage computes the same numbers, and
    checkpoints look alike in both precisions.

    Gradients are sent while the backward pass goes on at stage 3 only, as is DeepSpeed's default: at stages
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
        "zero_force_ds_cpu_optimizer": False,  # PyTorch's AdamW runs on the CPU as well
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
