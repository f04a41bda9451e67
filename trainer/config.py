"""What a training run is: the model's shape, the options, and their arithmetic.

Nothing here imports torch, so that `--help` and a mistake in the options are answered at once.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from trainer.anomalies import AnomalyOptions
from trainer.recipes import FINAL_FRACTION, FINE_TUNING_RATE, FINE_TUNING_SEQUENCES, SIZES, Size, matching
from trainer.schedule import Schedule
from trainer.trackers import TrackerOptions

Value = TypeVar("Value")
Precision = Literal["bf16", "fp32"]
Optimizer = Literal["adamw", "muon"]
Recompute = Literal["none", "selective", "block", "offload"]  # what trainer/recompute.py does
IGNORED = -1  # a target at which no loss is counted


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT-2."""

    layers: int
    heads: int
    width: int
    context: int
    vocabulary: int
    dropout: float = 0.0
    document_separator: int | None = None  # begins each document; attention stays within one if it is given

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.width} channels do not divide among {self.heads} heads")

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding as trained: a multiple of 128, which the GPU's matrix units prefer."""
        return -(-self.vocabulary // 128) * 128

    @property
    def parameters(self) -> int:
        """How many parameters the exported model has: tied head once, no padding.

        Per block 12 C² weights (4 C² of attention, 8 C² of the feed-forward net) and 13 C biases and gains.
        """
        embeddings = (self.vocabulary + self.context) * self.width
        block = 12 * self.width**2 + 13 * self.width
        return embeddings + self.layers * block + 2 * self.width


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The command line of `launch/pretrain.py`. What is left out comes from the size's recipe."""

    data: str
    """Folder of token shards, as `tokenizer/write_shards.py` writes it."""
    output: str | None = None
    """Folder of the run: checkpoints, metrics.jsonl, options.json. If it holds this very run, it goes on.
    Left out: out/ and the size."""
    size: str | None = None
    """Model size: micro, nano, small, medium, large or xl. Left out: that of --init-from; else small on a
    GPU and nano on a CPU."""
    init_from: str | None = None
    """Begin with the weights of another run or checkpoint, or of a Hugging Face GPT-2 directory."""
    context: int | None = None
    """Tokens in a sequence, at most as many as --init-from was trained with."""
    steps: int | None = None
    """Optimizer steps of the whole run, where the learning rate's decay ends."""
    tokens: int | None = None
    """Tokens to train on in all, in place of --steps."""
    epochs: float | None = None
    """How often to go through the training data, in place of --steps."""
    global_batch_tokens: int | None = None
    """Tokens in one optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: int | None = None
    """Sequences that one rank takes through the model at once."""
    learning_rate: float | None = None
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float | None = None
    """Learning rate at the last step; left out, a tenth of the peak, and 0 with --schedule wsd."""
    schedule: Schedule = "cosine"
    """How the rate goes down: half a cosine; or wsd (warm-up, stable, decay), which stays at the peak till
    the last --decay-steps. Until then such a run may be given more --steps."""
    decay_steps: int | None = None
    """Last steps of a wsd run, in which the rate falls; left out, a fifth of all steps."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; left out, the size's own but at most a tenth of all steps."""
    optimizer: Optimizer = "adamw"
    """What turns gradients into updates: adamw; or muon, which does so for the matrices inside the blocks,
    with one moment in place of two, and leaves embeddings and vectors to AdamW, all at the same rates."""
    beta1: float = 0.9
    """AdamW's decay of the first moment, as GPT-3 and llm.c."""
    beta2: float = 0.95
    """AdamW's decay of the second moment, as GPT-3 and llm.c."""
    epsilon: float = 1e-8
    """AdamW's epsilon, as GPT-3 and llm.c."""
    weight_decay: float = 0.1
    """Decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""
    dropout: float = 0.0
    """Probability of dropping an activation."""
    seed: int = 1337
    """Decides the initial weights, the order of the data and the dropout."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products in bf16 or fp32 (weights and optimizer stay fp32); auto is bf16 on a GPU that has
    it."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """What the ranks share out: 1 optimizer states, 2 also gradients, 3 also weights, 0 nothing. Left out: 1,
    or 0 where there is but one rank; as much as an offload needs."""
    offload_optimizer: bool = False
    """Keep the optimizer's states and do its work in the machine's memory; needs ZeRO stage 1, 2 or 3."""
    offload_parameters: bool = False
    """Keep the weights in the machine's memory too, and only what is in use on the GPU; needs stage 3."""
    activation_checkpointing: Literal["auto", "none", "selective", "block", "offload"] = "auto"
    """What to compute again in the backward pass in place of keeping it: none; selective, all but matrix
    products and attention; block, everything but each block's input; offload, the same with the inputs in
    the CPU's memory. From left to right less memory and more time."""
    activation_checkpointing_interval: int = 1
    """Do so in every n-th block only."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch.compile make kernels of the blocks and of the loss, at the first step: auto does so on a GPU
    where there is all that takes (Triton, a C compiler, Python.h) and the weights are not sharded
    (--zero-stage 3)."""
    float8: bool = False
    """Multiply in float8 in the blocks, on a GPU that can (compute capability 8.9: L4, H100 and newer). Wants
    the extra float8, compiled blocks and bf16. Not measured yet."""
    deterministic: bool = False
    """Compute the same bits each time on a GPU too, so that a resumed run equals one that never stopped to
    the last bit. Without it a GPU's attention adds up its gradients in no fixed order. docs/performance.md
    has its price."""
    document_attention: bool = False
    """Let tokens attend to their own document only. Where the blocks are not compiled, or with dropout, it
    takes context² bytes a sequence."""
    ignore_memory: bool = False
    """Start even if by the prediction the memory will not do."""
    evaluate_every: int | None = None
    """Steps between two validation losses (the first and last step have one in any case); 0: none at all."""
    evaluation_tokens: int | None = None
    """Most validation tokens that one evaluation reads."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints (the last step has one in any case)."""
    keep_checkpoints: int = 2
    """How many checkpoints to keep, the newest."""
    keep_every: int = 0
    """Keep besides, for good, those after every so many steps; 0: none."""
    log_every: int | None = None
    """Steps between two lines on the console (metrics.jsonl has every step)."""
    profile_steps: str | None = None
    """Profile some steps, such as 10:13 (10, 11 and 12): a trace and a table, in the run's folder profile."""
    anomalies: AnomalyOptions = field(default_factory=AnomalyOptions)
    """What to do about updates that look wrong."""
    trackers: TrackerOptions = field(default_factory=TrackerOptions)
    """Where else figures go."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A run with nothing left open: every option resolved against the size, the data and the ranks."""

    data: str
    output: str
    size: str
    init_from: str  # empty: from scratch
    model: ModelConfig
    steps: int
    sequences_per_step: int  # over all ranks
    micro_batch: int
    accumulation_steps: int
    world_size: int
    learning_rate: float
    final_learning_rate: float
    schedule: Schedule
    warmup_steps: int
    decay_steps: int
    optimizer: Optimizer
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    gradient_clip: float
    seed: int
    precision: Precision
    zero_stage: int
    offload_optimizer: bool
    offload_parameters: bool
    recompute: Recompute
    recompute_every: int  # blocks; in the others nothing is computed again
    compile: bool
    float8: bool
    deterministic: bool
    evaluate_every: int
    evaluation_tokens: int
    checkpoint_every: int
    keep_checkpoints: int
    keep_every: int
    log_every: int
    profile_steps: tuple[int, int]  # the first, and the one after the last
    anomalies: AnomalyOptions
    trackers: TrackerOptions

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step, over all ranks."""
        return self.sequences_per_step * self.model.context

    def mathematics(self) -> dict[str, Any]:
        """Return the options that decide which numbers a run computes, by their command-line names.

        Two runs that agree here (and on data) take the same steps; what is absent, such as the ranks, the
        ZeRO stage or the micro-batch, changes at most the order of floating-point additions.
        """
        return {
            "size": self.size,
            "init_from": self.init_from,
            "context": self.model.context,
            "steps": self.steps,
            "global_batch_tokens": self.tokens_per_step,
            "learning_rate": self.learning_rate,
            "final_learning_rate": self.final_learning_rate,
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "optimizer": self.optimizer,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
            "gradient_clip": self.gradient_clip,
            "dropout": self.model.dropout,
            "document_attention": self.model.document_separator is not None,
            "seed": self.seed,
            "precision": self.precision,
            "float8": self.float8,
            "skip_spikes": self.anomalies.skip_spikes,
            "spike_threshold": self.anomalies.spike_threshold,
        }


def resolve(
    options: TrainingOptions,
    *,
    vocabulary: int,
    world_size: int,
    accelerator: bool,
    bf16: bool = True,
    end_of_text: int | None = None,
    start: ModelConfig | None = None,
    epoch_tokens: int | None = None,
) -> TrainingPlan:
    """Fill in from the size's recipe what the options leave out, and check that the numbers go together.

    Args:
        bf16: whether the accelerator has matrix products in bf16.
        end_of_text: the token that begins a document.
        start: the model whose weights the run begins with, if it does not begin from scratch.
        epoch_tokens: how many tokens the training data has.

    Raises:
        ValueError: an unknown size, a value out of range, or a batch that is none.
    """
    _check_ranges(options)
    stage = _zero_stage(options, world_size)
    name = _size_name(options, start, accelerator=accelerator)
    size = SIZES[name] if start is None else _fine_tuning(name, start, epoch_tokens)
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
    return TrainingPlan(
        data=options.data,
        output=_given(options.output, f"out/{name}"),
        size=name,
        init_from=options.init_from or "",
        model=model,
        steps=steps,
        sequences_per_step=sequences,
        micro_batch=micro_batch,
        accumulation_steps=accumulation_steps,
        world_size=world_size,
        learning_rate=learning_rate,
        final_learning_rate=_given(options.final_learning_rate, final),
        schedule=options.schedule,
        warmup_steps=warmup_steps,
        decay_steps=_decay_steps(options, steps, warmup_steps),
        optimizer=options.optimizer,
        beta1=options.beta1,
        beta2=options.beta2,
        epsilon=options.epsilon,
        weight_decay=options.weight_decay,
        gradient_clip=options.gradient_clip,
        seed=options.seed,
        precision=precision,
        zero_stage=stage,
        offload_optimizer=options.offload_optimizer,
        offload_parameters=options.offload_parameters,
        recompute=_recompute(options),
        recompute_every=options.activation_checkpointing_interval,
        compile=compiled,
        float8=options.float8,
        deterministic=options.deterministic,
        evaluate_every=_given(options.evaluate_every, max(1, min(250, steps // 4))),
        evaluation_tokens=_given(options.evaluation_tokens, size.evaluation_tokens),
        checkpoint_every=_given(options.checkpoint_every, max(1, min(1000, steps // 2))),
        keep_checkpoints=options.keep_checkpoints,
        keep_every=options.keep_every,
        log_every=_given(options.log_every, max(1, min(10, steps // 20))),
        profile_steps=_profile_steps(options),
        anomalies=options.anomalies,
        trackers=options.trackers,
    )


def _size_name(options: TrainingOptions, start: ModelConfig | None, *, accelerator: bool) -> str:
    if options.size is not None and options.size not in SIZES:
        raise ValueError(f"unknown size {options.size!r}: choose one of {', '.join(SIZES)}")
    if start is None:
        return _given(options.size, "small" if accelerator else "nano")
    found = matching(layers=start.layers, heads=start.heads, width=start.width)
    shape = f"{start.layers} layers, {start.heads} heads, {start.width} wide"
    if options.size not in (None, found):
        raise ValueError(f"--size {options.size} is not that of --init-from {options.init_from}: {shape}")
    return _given(found, f"{start.layers}x{start.width}")


def _fine_tuning(name: str, start: ModelConfig, epoch_tokens: int | None) -> Size:
    """Return a recipe for going on with a model's weights: one epoch, small batches at a low rate."""
    sequence = 16 if name not in SIZES else SIZES[name].micro_batch
    return Size(
        layers=start.layers,
        heads=start.heads,
        width=start.width,
        context=start.context,
        learning_rate=FINE_TUNING_RATE,
        tokens=_given(epoch_tokens, 10_000_000),
        global_batch_tokens=FINE_TUNING_SEQUENCES * start.context,
        micro_batch=sequence,
    )


def _model(options: TrainingOptions, size: Size, vocabulary: int, end_of_text: int | None) -> ModelConfig:
    context = _given(options.context, size.context)
    if options.init_from and context > size.context:
        raise ValueError(
            f"--context is {context}, but --init-from {options.init_from} knows {size.context} positions"
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
    """Return how many steps to take: as many batches as make up the tokens of the options or the recipe."""
    given = [name for name in ("steps", "tokens", "epochs") if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give only one of {' and '.join('--' + name for name in given)}")
    if options.steps is not None:
        return options.steps
    if options.epochs is not None:
        if epoch_tokens is None:
            raise ValueError("--epochs needs the data: give --steps or --tokens")
        return max(1, math.ceil(options.epochs * epoch_tokens / batch_tokens))
    return max(1, _given(options.tokens, size.tokens) // batch_tokens)


def _decay_steps(options: TrainingOptions, steps: int, warmup_steps: int) -> int:
    """Return over how many steps the rate goes down."""
    if warmup_steps > steps:
        raise ValueError(f"--warmup-steps is {warmup_steps}, but there are only {steps} steps")
    if options.schedule == "cosine":
        if options.decay_steps is not None:
            raise ValueError("--decay-steps belongs to --schedule wsd: a cosine falls all the way")
        return steps - warmup_steps
    decay_steps = _given(options.decay_steps, min(steps // 5, steps - warmup_steps))
    if warmup_steps + decay_steps > steps:
        raise ValueError(
            f"--warmup-steps {warmup_steps} and --decay-steps {decay_steps} are more than the {steps} steps"
        )
    return decay_steps


def _given(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value


def _precision(options: TrainingOptions, *, accelerator: bool, bf16: bool) -> Precision:
    if options.precision == "bf16" and accelerator and not bf16:
        raise ValueError(
            "--precision bf16: this GPU would emulate it, slower than fp32 (it takes compute capability 8.0, "
            "an A100 or newer): use --precision fp32"
        )
    if options.precision == "auto":
        return "bf16" if accelerator and bf16 else "fp32"
    return options.precision


def _check_float8(precision: Precision, width: int, *, compiled: bool, wanted: bool) -> None:
    if wanted and not compiled:
        raise ValueError(
            "--float8 wants compiled blocks, without which it is slower than bf16: leave out --compile off, "
            "use --zero-stage 2 or less, and a GPU"
        )
    if wanted and precision != "bf16":
        raise ValueError("--float8 goes with --precision bf16, in which the other products are")
    if wanted and width % 16:
        raise ValueError(f"--float8 takes widths that are multiples of 16, and the model is {width} wide")


def _compile(options: TrainingOptions, stage: int, *, accelerator: bool) -> bool:
    if options.compile == "on" and stage == 3:
        raise ValueError(
            "--compile on does not go with --zero-stage 3, which gathers weights as the blocks are called: "
            "use --compile off, or --zero-stage 2"
        )
    if options.compile != "auto":
        return options.compile == "on"
    return accelerator and stage < 3


def _recompute(options: TrainingOptions) -> Recompute:
    if options.activation_checkpointing == "auto":
        return "none"
    return options.activation_checkpointing


def _profile_steps(options: TrainingOptions) -> tuple[int, int]:
    if options.profile_steps is None:
        return 0, 0
    found = re.fullmatch(r"(\d+):(\d+)", options.profile_steps)
    first, stop = (int(found[1]), int(found[2])) if found else (0, 0)
    if first >= stop:
        raise ValueError(
            f"--profile-steps {options.profile_steps}: give the first step and the one after the last: 10:13"
        )
    return first, stop


def _check_ranges(options: TrainingOptions) -> None:
    smallest = {
        "context": 1,
        "steps": 1,
        "tokens": 1,
        "global_batch_tokens": 1,
        "micro_batch": 1,
        "learning_rate": 0,
        "final_learning_rate": 0,
        "warmup_steps": 0,
        "decay_steps": 0,
        "beta1": 0,
        "beta2": 0,
        "weight_decay": 0,
        "gradient_clip": 0,
        "dropout": 0,
        "evaluate_every": 0,
        "evaluation_tokens": 1,
        "checkpoint_every": 1,
        "keep_checkpoints": 1,
        "keep_every": 0,
        "activation_checkpointing_interval": 1,
        "log_every": 1,
    }
    for name, least in smallest.items():
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be at least {least}")
    for name in ("dropout", "beta1", "beta2"):
        if getattr(options, name) >= 1:
            raise ValueError(f"--{name} is {getattr(options, name)}: it must be less than 1")
    for name in ("epsilon", "epochs"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} is {value}: it must be above 0")
    for name, value in dataclasses.asdict(options).items():
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be a finite number")
    options.anomalies.check()
    options.trackers.check()


def _zero_stage(options: TrainingOptions, world_size: int) -> int:
    """Return the ZeRO stage, and refuse an offload that it does not allow."""
    least = 3 if options.offload_parameters else int(world_size > 1 or options.offload_optimizer)
    stage = _given(options.zero_stage, least)
    if options.offload_optimizer and stage == 0:
        raise ValueError("--offload-optimizer needs --zero-stage 1, 2 or 3: at stage 0 nothing is shared out")
    if options.offload_parameters and stage < 3:
        raise ValueError(f"--offload-parameters needs --zero-stage 3, and it is {stage}")
    return stage


def _sequences(options: TrainingOptions, size: Size, context: int, world_size: int) -> int:
    """Return how many sequences a batch has: any number that gives every rank one."""
    tokens = _given(options.global_batch_tokens, max(1, size.global_batch_tokens // context) * context)
    sequences, rest = divmod(tokens, context)
    if rest:
        raise ValueError(
            f"--global-batch-tokens {tokens:,} is no multiple of {context} tokens: the nearest that fits is "
            f"{max(world_size, round(tokens / context)) * context}"
        )
    if sequences < world_size:
        raise ValueError(
            f"a batch of {tokens:,} tokens has {sequences} sequences of {context}, too few for {world_size} "
            f"ranks: the smallest --global-batch-tokens that fits is {world_size * context}"
        )
    return sequences


def _share_out(options: TrainingOptions, size: Size, per_rank: int) -> tuple[int, int]:
    """Return micro-batch and accumulation steps that hold a rank's sequences, with few rows left empty."""
    if options.micro_batch is not None:
        micro_batch = min(options.micro_batch, per_rank)
        return micro_batch, -(-per_rank // micro_batch)
    accumulation_steps = -(-per_rank // size.micro_batch)
    return -(-per_rank // accumulation_steps), accumulation_steps


def as_record(plan: TrainingPlan) -> dict[str, Any]:
    """Return the plan as plain values, for options.json and state.json."""
    return dataclasses.asdict(plan)
