"""What a training run is: the model's shape, the options, and their arithmetic.

Nothing here imports torch, so that `--help` and a mistake in the options are answered at once.
"""

import dataclasses
import os
import shutil
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from trainer.recipes import SIZES, Size

Value = TypeVar("Value")
Precision = Literal["bf16", "fp32"]
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
    output: str
    """Folder of the run: checkpoints, metrics.jsonl, options.json. If it holds this very run, it goes on."""
    size: str = "nano"
    """Model size: micro, nano, small, medium, large or xl."""
    steps: int | None = None
    """Optimizer steps of the whole run; the learning rate's cosine ends there."""
    global_batch_tokens: int | None = None
    """Tokens in one optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: int | None = None
    """Sequences that one rank takes through the model at once."""
    learning_rate: float | None = None
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float | None = None
    """Learning rate at the last step."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; left out, the size's own but at most a tenth of all steps."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""
    dropout: float = 0.0
    """Probability of dropping an activation."""
    seed: int = 1337
    """Decides the initial weights, the order of the data and the dropout."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products in bf16 or fp32 (weights and optimizer stay fp32); auto is bf16 on a GPU."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What the ranks share out: 1 optimizer states, 2 also gradients, 3 also weights, 0 nothing."""
    offload_optimizer: bool = False
    """Keep AdamW's states and do its work in the machine's memory, which needs ZeRO stage 1, 2 or 3."""
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
    where there is a C compiler and the weights are not sharded (--zero-stage 3)."""
    document_attention: bool = False
    """Let tokens attend to their own document only. Slower, and takes context² bytes a sequence."""
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


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A run with nothing left open: every option resolved against the size, the data and the ranks."""

    data: str
    output: str
    size: str
    model: ModelConfig
    steps: int
    micro_batch: int
    accumulation_steps: int
    world_size: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
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
    evaluate_every: int
    evaluation_tokens: int
    checkpoint_every: int
    keep_checkpoints: int
    keep_every: int

    @property
    def sequences_per_step(self) -> int:
        """Sequences in one optimizer step, over all ranks."""
        return self.world_size * self.micro_batch * self.accumulation_steps

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
            "steps": self.steps,
            "global_batch_tokens": self.tokens_per_step,
            "learning_rate": self.learning_rate,
            "final_learning_rate": self.final_learning_rate,
            "warmup_steps": self.warmup_steps,
            "weight_decay": self.weight_decay,
            "gradient_clip": self.gradient_clip,
            "dropout": self.model.dropout,
            "document_attention": self.model.document_separator is not None,
            "seed": self.seed,
            "precision": self.precision,
        }


def resolve(
    options: TrainingOptions,
    *,
    vocabulary: int,
    world_size: int,
    accelerator: bool,
    end_of_text: int | None = None,
) -> TrainingPlan:
    """Fill in from the size's recipe what the options leave out, and check that the numbers go together.

    Raises:
        ValueError: an unknown size, a value out of range, or a batch that does not divide among the ranks.
    """
    if options.size not in SIZES:
        raise ValueError(f"unknown size {options.size!r}: choose one of {', '.join(SIZES)}")
    _check_ranges(options)
    _check_offload(options)
    size = SIZES[options.size]
    steps = _given(options.steps, size.steps)
    warmup_steps = _given(options.warmup_steps, min(size.warmup_steps, steps // 10))
    if warmup_steps > steps:
        raise ValueError(f"--warmup-steps is {warmup_steps}, but there are only {steps} steps")
    micro_batch, accumulation_steps = _divide_batch(options, size, world_size)
    return TrainingPlan(
        data=options.data,
        output=options.output,
        size=options.size,
        model=ModelConfig(
            layers=size.layers,
            heads=size.heads,
            width=size.width,
            context=size.context,
            vocabulary=vocabulary,
            dropout=options.dropout,
            document_separator=end_of_text if options.document_attention else None,
        ),
        steps=steps,
        micro_batch=micro_batch,
        accumulation_steps=accumulation_steps,
        world_size=world_size,
        learning_rate=_given(options.learning_rate, size.learning_rate),
        final_learning_rate=_given(options.final_learning_rate, size.final_learning_rate),
        warmup_steps=warmup_steps,
        weight_decay=options.weight_decay,
        gradient_clip=options.gradient_clip,
        seed=options.seed,
        precision=_precision(options, accelerator),
        zero_stage=options.zero_stage,
        offload_optimizer=options.offload_optimizer,
        offload_parameters=options.offload_parameters,
        recompute=_recompute(options),
        recompute_every=options.activation_checkpointing_interval,
        compile=_compile(options, accelerator),
        evaluate_every=_given(options.evaluate_every, max(1, min(250, steps // 4))),
        evaluation_tokens=_given(options.evaluation_tokens, size.evaluation_tokens),
        checkpoint_every=_given(options.checkpoint_every, max(1, min(1000, steps // 2))),
        keep_checkpoints=options.keep_checkpoints,
        keep_every=options.keep_every,
    )


def _given(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value


def _precision(options: TrainingOptions, accelerator: bool) -> Precision:
    if options.precision == "auto":
        return "bf16" if accelerator else "fp32"
    return options.precision


def _compile(options: TrainingOptions, accelerator: bool) -> bool:
    if options.compile == "on" and options.zero_stage == 3:
        raise ValueError(
            "--compile on does not go with --zero-stage 3, which gathers weights as the blocks are called: "
            "use --compile off, or --zero-stage 2"
        )
    if options.compile != "auto":
        return options.compile == "on"
    return accelerator and options.zero_stage < 3 and has_compiler()


def has_compiler() -> bool:
    """Whether there is the C compiler that torch.compile needs."""
    return any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang"))


def _recompute(options: TrainingOptions) -> Recompute:
    if options.activation_checkpointing == "auto":
        return "none"
    return options.activation_checkpointing


def _check_ranges(options: TrainingOptions) -> None:
    smallest = {
        "steps": 1,
        "global_batch_tokens": 1,
        "micro_batch": 1,
        "learning_rate": 0,
        "final_learning_rate": 0,
        "warmup_steps": 0,
        "weight_decay": 0,
        "gradient_clip": 0,
        "dropout": 0,
        "evaluate_every": 0,
        "evaluation_tokens": 1,
        "checkpoint_every": 1,
        "keep_checkpoints": 1,
        "keep_every": 0,
        "activation_checkpointing_interval": 1,
    }
    for name, least in smallest.items():
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be at least {least}")
    if options.dropout >= 1:
        raise ValueError(f"--dropout is {options.dropout}: it must be less than 1")


def _check_offload(options: TrainingOptions) -> None:
    """Refuse an offload that ZeRO's stage does not allow."""
    if options.offload_optimizer and options.zero_stage == 0:
        raise ValueError("--offload-optimizer needs --zero-stage 1, 2 or 3: at stage 0 nothing is shared out")
    if options.offload_parameters and options.zero_stage < 3:
        raise ValueError(f"--offload-parameters needs --zero-stage 3, and it is {options.zero_stage}")


def _divide_batch(options: TrainingOptions, size: Size, world_size: int) -> tuple[int, int]:
    """Return micro-batch and accumulation steps that make up the global batch exactly."""
    tokens = _given(options.global_batch_tokens, size.global_batch_tokens)
    per_rank, rest = divmod(tokens, size.context * world_size)
    if rest or not per_rank:
        nearest = max(1, round(tokens / (size.context * world_size))) * size.context * world_size
        raise ValueError(
            f"--global-batch-tokens {tokens:,} is no multiple of {world_size} ranks × {size.context} tokens: "
            f"the nearest that fits is {nearest}"
        )
    if options.micro_batch is None:
        micro_batch = next(count for count in range(size.micro_batch, 0, -1) if per_rank % count == 0)
    elif per_rank % options.micro_batch:
        raise ValueError(
            f"--micro-batch {options.micro_batch} does not divide the {per_rank} sequences of each rank "
            f"({tokens:,} tokens / {world_size} ranks / {size.context})"
        )
    else:
        micro_batch = options.micro_batch
    return micro_batch, per_rank // micro_batch


def as_record(plan: TrainingPlan) -> dict[str, Any]:
    """Return the plan as plain values, for options.json and state.json."""
    return dataclasses.asdict(plan)
