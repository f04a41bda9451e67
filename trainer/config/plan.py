"""A training run's plan: every option resolved against the size, the data and the ranks.

Nothing here imports torch, so that `--help` and errors in the options are fast.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pipeline.runner.ranges import check_ranges
from trainer.config.model_config import ModelConfig
from trainer.config.options import Precision, Recompute, TrainingOptions
from trainer.config.recipes import (
    FINAL_FRACTION,
    FINE_TUNING_RATE,
    FINE_TUNING_SEQUENCES,
    SIZES,
    Size,
    matching,
)

Value = TypeVar("Value")


# The options that decide which numbers a run computes. Two runs that agree here (and on data) take the same
# steps; others, such as the ZeRO stage or the micro-batch, change at most the order of floating-point
# additions.
IDENTITY = (
    "size",
    "init_from",
    "context",
    "steps",
    "global_batch_tokens",
    "learning_rate",
    "final_learning_rate",
    "schedule",
    "warmup_steps",
    "decay_steps",
    "optimizer",
    "beta1",
    "beta2",
    "epsilon",
    "weight_decay",
    "gradient_clip",
    "dropout",
    "document_attention",
    "seed",
    "shuffle_shards",
    "precision",
    "float8",
)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(TrainingOptions):
    """Every option resolved against the size, the data and the ranks.

    What `TrainingOptions` leaves open has a value here; the rest is as given.
    """

    output: str
    size: str
    init_from: str  # empty: from scratch
    context: int
    steps: int
    global_batch_tokens: int
    micro_batch: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    decay_steps: int
    precision: Precision
    zero_stage: Literal[0, 1, 2, 3]
    evaluate_every: int
    evaluation_tokens: int
    checkpoint_every: int
    log_every: int
    sample_every: int
    # Beyond the options:
    model: ModelConfig
    world_size: int
    sequences_per_step: int  # over all ranks
    accumulation_steps: int
    recompute: Recompute
    recompute_every: int  # blocks; the others are not recomputed
    compiled: bool

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step, over all ranks."""
        return self.sequences_per_step * self.context

    def identity(self) -> dict[str, Any]:
        """Return the options that identify this run (see `IDENTITY`)."""
        spikes = self.anomalies
        return {name: getattr(self, name) for name in IDENTITY} | {
            "skip_spikes": spikes.skip_spikes,
            "spike_threshold": spikes.spike_threshold,
        }


def resolve(
    options: TrainingOptions,
    *,
    vocabulary: int,
    world_size: int,
    accelerator: bool,
    bf16: bool = True,
    end_of_text: int | None = None,
    initial_model: ModelConfig | None = None,
    epoch_tokens: int | None = None,
) -> TrainingPlan:
    """Fill in options from the size's recipe, and check that they are consistent.

    Args:
        bf16: whether the accelerator has bf16 matrix products.
        end_of_text: the token that starts a document.
        initial_model: the model of --init-from; None to train from scratch.
        epoch_tokens: how many tokens the training data has.

    Raises:
        ValueError: an unknown size, a value out of range, or an impossible batch.
    """
    check_ranges(options)
    options.trackers.check()
    stage = _zero_stage(options, world_size)
    name = _size_name(options, initial_model, accelerator=accelerator)
    size = SIZES[name] if initial_model is None else _fine_tuning(name, initial_model, epoch_tokens)
    model = _model(options, size, vocabulary, end_of_text)
    sequences = _sequences(options, size, model.context, world_size)
    micro_batch, accumulation_steps = _share_out(options, size, -(-sequences // world_size))
    steps = _steps(options, size, sequences * model.context, epoch_tokens)
    warmup_steps = min(size.warmup_tokens // (sequences * model.context), steps // 10)
    warmup_steps = _given(options.warmup_steps, warmup_steps)
    learning_rate = _given(options.learning_rate, size.learning_rate)
    final = 0.0 if options.schedule == "wsd" else FINAL_FRACTION * learning_rate
    precision = _precision(options, accelerator=accelerator, bf16=bf16)
    compiled = _compile(options, stage, accelerator=accelerator)
    _check_float8(precision, model.width, compiled=compiled, wanted=options.float8)
    profiled_steps(options)
    for prompt in options.sample_prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"--sample-prompts {prompt!r} is not text: {error.reason}") from error
    evaluate_every = _given(options.evaluate_every, max(1, min(250, steps // 4)))
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    resolved = {
        "output": _given(options.output, f"out/{name}"),
        "size": name,
        "init_from": options.init_from or "",
        "context": model.context,
        "steps": steps,
        "global_batch_tokens": sequences * model.context,
        "micro_batch": micro_batch,
        "learning_rate": learning_rate,
        "final_learning_rate": _given(options.final_learning_rate, final),
        "warmup_steps": warmup_steps,
        "decay_steps": _decay_steps(options, steps, warmup_steps),
        "precision": precision,
        "zero_stage": stage,
        "evaluate_every": evaluate_every,
        "evaluation_tokens": _given(options.evaluation_tokens, size.evaluation_tokens),
        "checkpoint_every": _given(options.checkpoint_every, max(1, min(1000, steps // 2))),
        "log_every": _given(options.log_every, max(1, min(10, steps // 20))),
        "sample_every": _given(options.sample_every, evaluate_every),
    }
    return TrainingPlan(
        **(given | resolved),
        model=model,
        world_size=world_size,
        sequences_per_step=sequences,
        accumulation_steps=accumulation_steps,
        recompute=_recompute(options),
        recompute_every=options.activation_checkpointing_interval,
        compiled=compiled,
    )


def _size_name(options: TrainingOptions, initial_model: ModelConfig | None, *, accelerator: bool) -> str:
    if options.size is not None and options.size not in SIZES:
        raise ValueError(f"unknown size {options.size!r}: choose one of {', '.join(SIZES)}")
    if initial_model is None:
        return _given(options.size, "small" if accelerator else "nano")
    found = matching(layers=initial_model.layers, heads=initial_model.heads, width=initial_model.width)
    shape = f"{initial_model.layers} layers, {initial_model.heads} heads, {initial_model.width} wide"
    if options.size not in (None, found):
        raise ValueError(f"--size {options.size} is not the size of --init-from {options.init_from}: {shape}")
    return _given(found, f"{initial_model.layers}x{initial_model.width}")


def _fine_tuning(name: str, initial_model: ModelConfig, epoch_tokens: int | None) -> Size:
    """Return a recipe for fine-tuning: one epoch, small batches, a low learning rate."""
    sequence = 16 if name not in SIZES else SIZES[name].micro_batch
    return Size(
        layers=initial_model.layers,
        heads=initial_model.heads,
        width=initial_model.width,
        context=initial_model.context,
        learning_rate=FINE_TUNING_RATE,
        tokens=_given(epoch_tokens, 10_000_000),
        global_batch_tokens=FINE_TUNING_SEQUENCES * initial_model.context,
        micro_batch=sequence,
    )


def _model(options: TrainingOptions, size: Size, vocabulary: int, end_of_text: int | None) -> ModelConfig:
    context = _given(options.context, size.context)
    if options.init_from and context > size.context:
        raise ValueError(
            f"--context is {context}, but --init-from {options.init_from} has {size.context} positions"
        )
    return ModelConfig(
        layers=size.layers,
        heads=size.heads,
        width=size.width,
        context=context,
        vocabulary=vocabulary,
        dropout=options.dropout,
        document_separator=end_of_text if options.document_attention else None,
    )


def _steps(options: TrainingOptions, size: Size, batch_tokens: int, epoch_tokens: int | None) -> int:
    """Return the number of steps: as many batches as the tokens of the options or the recipe make."""
    given = [name for name in ("steps", "tokens", "epochs") if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give only one of {' and '.join('--' + name for name in given)}")
    if options.steps is not None:
        return options.steps
    if options.epochs is not None:
        if epoch_tokens is None:
            raise ValueError("--epochs needs the data: use --steps or --tokens")
        return max(1, math.ceil(options.epochs * epoch_tokens / batch_tokens))
    return max(1, _given(options.tokens, size.tokens) // batch_tokens)


def _decay_steps(options: TrainingOptions, steps: int, warmup_steps: int) -> int:
    """Return the number of steps over which the learning rate decays."""
    if warmup_steps > steps:
        raise ValueError(f"--warmup-steps is {warmup_steps}, but there are only {steps} steps")
    if options.schedule == "cosine":
        if options.decay_steps is not None:
            raise ValueError("--decay-steps needs --schedule wsd: a cosine decays over all steps")
        return steps - warmup_steps
    decay_steps = _given(options.decay_steps, min(steps // 5, steps - warmup_steps))
    if warmup_steps + decay_steps > steps:
        raise ValueError(
            f"--warmup-steps {warmup_steps} and --decay-steps {decay_steps} add up to more "
            f"than the {steps} steps"
        )
    return decay_steps


def _given(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value


def _precision(options: TrainingOptions, *, accelerator: bool, bf16: bool) -> Precision:
    if options.precision == "bf16" and accelerator and not bf16:
        raise ValueError(
            "--precision bf16: this GPU would emulate it, slower than fp32 (it needs compute capability 8.0, "
            "an A100 or newer): use --precision fp32"
        )
    if options.precision == "auto":
        return "bf16" if accelerator and bf16 else "fp32"
    return options.precision


def _check_float8(precision: Precision, width: int, *, compiled: bool, wanted: bool) -> None:
    if wanted and not compiled:
        raise ValueError(
            "--float8 needs compiled blocks (without them it is slower than bf16): use a GPU, --zero-stage 2 "
            "or less, and no --compile off"
        )
    if wanted and precision != "bf16":
        raise ValueError("--float8 needs --precision bf16 for the other matrix products")
    if wanted and width % 16:
        raise ValueError(f"--float8 needs a width that is a multiple of 16; the model's is {width}")


def _compile(options: TrainingOptions, stage: int, *, accelerator: bool) -> bool:
    if options.compile == "on" and stage == 3:
        raise ValueError(
            "--compile on does not work with --zero-stage 3, which gathers weights as the blocks are called: "
            "use --compile off or --zero-stage 2"
        )
    if options.compile != "auto":
        return options.compile == "on"
    return accelerator and stage < 3


def _recompute(options: TrainingOptions) -> Recompute:
    if options.activation_checkpointing == "auto":
        return "none"
    return options.activation_checkpointing


def profiled_steps(options: TrainingOptions) -> tuple[int, int]:
    """Return the first step to profile and the one after the last, as `--profile-steps` has them.

    Raises:
        ValueError: it is not two numbers in ascending order.
    """
    if options.profile_steps is None:
        return 0, 0
    found = re.fullmatch(r"(\d+):(\d+)", options.profile_steps)
    first, stop = (int(found[1]), int(found[2])) if found else (0, 0)
    if first >= stop:
        raise ValueError(
            f"--profile-steps {options.profile_steps}: give the first step and the one after the "
            "last, such as 10:13"
        )
    return first, stop


def _zero_stage(options: TrainingOptions, world_size: int) -> Literal[0, 1, 2, 3]:
    """Return the ZeRO stage, and reject an offload that it does not allow."""
    least: Literal[0, 1, 3] = 1 if world_size > 1 or options.offload_optimizer else 0
    if options.offload_parameters:
        least = 3
    stage = _given(options.zero_stage, least)
    if options.offload_optimizer and stage == 0:
        raise ValueError("--offload-optimizer needs --zero-stage 1, 2 or 3: at stage 0 nothing is sharded")
    if options.offload_parameters and stage < 3:
        raise ValueError(f"--offload-parameters needs --zero-stage 3, not {stage}")
    return stage


def _sequences(options: TrainingOptions, size: Size, context: int, world_size: int) -> int:
    """Return the number of sequences in a batch, at least one per rank."""
    tokens = _given(options.global_batch_tokens, max(1, size.global_batch_tokens // context) * context)
    sequences, rest = divmod(tokens, context)
    if rest:
        raise ValueError(
            f"--global-batch-tokens {tokens:,} is not a multiple of {context} tokens: the nearest that "
            f"fits is {max(world_size, round(tokens / context)) * context}"
        )
    if sequences < world_size:
        raise ValueError(
            f"a batch of {tokens:,} tokens has {sequences} sequences of {context}, too few for {world_size} "
            f"ranks: the smallest --global-batch-tokens that fits is {world_size * context}"
        )
    return sequences


def _share_out(options: TrainingOptions, size: Size, per_rank: int) -> tuple[int, int]:
    """Return micro-batch and accumulation steps for a rank's sequences, with few empty rows."""
    if options.micro_batch is not None:
        micro_batch = min(options.micro_batch, per_rank)
        return micro_batch, -(-per_rank // micro_batch)
    accumulation_steps = -(-per_rank // size.micro_batch)
    return -(-per_rank // accumulation_steps), accumulation_steps


def as_record(plan: TrainingPlan) -> dict[str, Any]:
    """Return the plan as plain values, for options.json and state.json."""
    return dataclasses.asdict(plan)
