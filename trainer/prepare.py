"""What is checked before the ranks meet: options, shards and output folder go together, and make a run."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.storage import local_path
from tokenizer.shards import Shards, open_shards
from trainer import checkpoint
from trainer.agreement import code_facts, option_facts
from trainer.batches import TrainingData, ValidationData
from trainer.config import TrainingOptions, TrainingPlan, as_record, resolve
from trainer.planning import Fitted, fit
from trainer.ranks import Ranks, find_device
from trainer.room import find_room, smallest_room


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has passed every check and may begin, or go on."""

    options: TrainingOptions
    plan: TrainingPlan
    ranks: Ranks
    device: torch.device
    output: Path
    identity: dict[str, Any]
    vocabulary_fingerprint: str
    training: TrainingData
    validation: ValidationData
    fitted: Fitted | None = None  # how it was laid out, once the ranks have met

    @property
    def inputs_table(self) -> list[tuple[str, str]]:
        """What the run reads and what it runs on, as rows of the table at its start."""
        tokens = self.training.windows * self.plan.model.context
        epochs = self.plan.steps * self.plan.tokens_per_step / tokens
        return [
            ("training data", f"{tokens:,} tokens from {self.plan.data}, for {epochs:.2f} epochs"),
            ("validation", f"{self.validation.tokens:,} tokens"),
            ("device", _device_name(self.device)),
            *([("layout", self.fitted.reason)] if self.fitted else []),
        ]

    @property
    def facts(self) -> dict[str, str]:
        """What every rank must hold to be the same before they begin."""
        return {**option_facts(as_record(self.plan)), **option_facts(self.identity), **code_facts()}

    @property
    def evaluates(self) -> bool:
        """Whether there are to be validation losses."""
        return self.plan.evaluate_every > 0 and self.validation.tokens > 0


def prepare(options: TrainingOptions, ranks: Ranks) -> Run:
    """Resolve and check everything that can be known before the ranks meet; write nothing.

    Raises:
        ValueError: the options, the shards or the output folder will not do.
    """
    output = local_path(options.output)
    if output is None:
        raise ValueError(f"--output {options.output}: checkpoints are written to a local disk")
    shards = open_shards(options.data)
    device = find_device(ranks)
    plan = resolve(
        options,
        vocabulary=shards.index.vocabulary.size,
        end_of_text=shards.index.vocabulary.end_of_text,
        world_size=ranks.size,
        accelerator=device.type == "cuda",
    )
    identity = {**plan.mathematics(), "data": shards.fingerprint[:16]}
    checkpoint.check_same_run(output, identity)
    training, validation = _open_data(shards, plan)
    return Run(
        options=options,
        plan=plan,
        ranks=ranks,
        device=device,
        output=output,
        identity=identity,
        vocabulary_fingerprint=shards.index.vocabulary.fingerprint,
        training=training,
        validation=validation,
    )


def lay_out(run: Run) -> Run:
    """Choose the layout that fits the rank with the least memory; all ranks must call it, and get the same.

    Raises:
        ValueError: too little memory; on the first rank of each machine, which is to tell it.
    """
    finished = checkpoint.finished_checkpoints(run.output)
    earlier = checkpoint.read_state(finished[-1]).plan if finished else None
    room = find_room(run.device, local_ranks=run.ranks.local_size)
    try:
        fitted = fit(run.plan, run.options, smallest_room(room, run.device), earlier)
    except ValueError:
        if run.ranks.local_rank > 0:
            sys.exit(0)
        raise
    return replace(run, plan=fitted.plan, fitted=fitted)


def _open_data(shards: Shards, plan: TrainingPlan) -> tuple[TrainingData, ValidationData]:
    context, vocabulary = plan.model.context, plan.model.vocabulary
    stream = shards.open("train")
    training = TrainingData(stream, context=context, vocabulary=vocabulary, seed=plan.seed)
    if training.windows < plan.sequences_per_step:
        raise ValueError(
            f"{shards.folder} has too little to train on: {len(stream):,} tokens, {training.windows:,} "
            f"sequences of {context}, and one batch takes {plan.sequences_per_step:,}"
        )
    validation = ValidationData(
        shards.open("validation"), context=context, vocabulary=vocabulary, most_tokens=plan.evaluation_tokens
    )
    return training, validation


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, one a rank"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return "CPU" + (f" (the {gpus} GPUs here are fewer than the ranks, or not wanted)" if gpus else "")
