"""What a run will need on given GPUs: the layouts that fit, the best one, time and money."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from pipeline.runner.ranges import check_ranges
from trainer.config.options import Optimizer, TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.memory.choice import AvailableMemory, ChosenLayout, choose_layout, layout_of
from trainer.memory.estimate import predict
from trainer.memory.layout import Layout
from trainer.model.flops import GPUS, Gpu, find_gpu, flops_per_token

VOCABULARY = 50_257  # GPT-2's
MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64)
MODES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("none", {"recompute": "none"}),
    ("selective", {"recompute": "selective"}),
    ("block / 2", {"recompute": "block", "recompute_every": 2}),
    ("block", {"recompute": "block"}),
    ("offload", {"recompute": "offload"}),
)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The command line."""

    size: str
    """Model size: micro, nano, small, medium, large or xl."""
    gpus: Annotated[int, Ge(1)] = 1
    """Number of GPUs, one per rank."""
    gpus_per_node: Annotated[int, Ge(1)] = 8
    """GPUs per machine; more machines need a hostfile."""
    gpu_memory: Annotated[float, Gt(0)] = 80.0
    """GiB per GPU, as PyTorch reports it; some is reserved for the CUDA context and fragmentation."""
    gpu: str = "H100 SXM"
    """GPU model, for its peak FLOP/s."""
    steps: int | None = None
    """Optimizer steps. Default: the recipe's."""
    tokens: int | None = None
    """Total tokens to train on. Default: the recipe's."""
    global_batch_tokens: int | None = None
    """Tokens per step. Default: the recipe's."""
    optimizer: Optimizer = "adamw"
    """adamw, or muon, which has one moment instead of two for the matrices inside the blocks."""
    vocabulary: Annotated[int, Ge(1)] = VOCABULARY
    """Entries of the vocabulary."""
    mfu: Annotated[float, Gt(0), Le(1)] = 0.4
    """Assumed MFU: the share of the GPUs' peak FLOP/s that training uses."""
    gpu_hour_dollars: Annotated[float, Ge(0)] = 2.5
    """Assumed price per GPU hour."""
    data: str = "out/shards"
    """Folder of token shards, for the printed command."""
    json: bool = False
    """Print a JSON object instead of tables."""


def check_options(options: PlanOptions) -> Gpu:
    """Check the options and return the GPU.

    Raises:
        ValueError: an option is out of range, or the GPU is unknown.
    """
    check_ranges(options)
    gpu = find_gpu(options.gpu)
    if gpu is None:
        raise ValueError(
            f"unknown GPU {options.gpu!r}: choose one of {', '.join(known.name for known in GPUS)}"
        )
    return gpu


def _training_options(options: PlanOptions, stage: int) -> TrainingOptions:
    return TrainingOptions(
        data=options.data,
        output=f"out/{options.size}",
        size=options.size,
        zero_stage=stage,  # type: ignore[arg-type]  # 0, 1, 2 or 3
        global_batch_tokens=options.global_batch_tokens,
        steps=options.steps,
        optimizer=options.optimizer,
    )


def resolve_stage(options: PlanOptions, stage: int) -> TrainingPlan:
    """Return the run at a ZeRO stage.

    Raises:
        ValueError: the options are inconsistent.
    """
    given = _training_options(options, stage)
    plan = resolve(given, vocabulary=options.vocabulary, world_size=options.gpus, accelerator=True)
    if options.tokens is None:
        return plan
    if options.steps is not None:
        raise ValueError("give only one of --steps and --tokens")
    if options.tokens < plan.tokens_per_step:
        raise ValueError(f"--tokens is {options.tokens}: one step takes {plan.tokens_per_step}")
    return replace(plan, steps=options.tokens // plan.tokens_per_step)


def recommend(
    options: PlanOptions, plans: list[TrainingPlan], available: AvailableMemory
) -> ChosenLayout | None:
    """Return the lowest ZeRO stage's fastest layout that fits, or None.

    A higher stage communicates more. On one GPU there is nothing to shard.
    """
    stages = (0,) if options.gpus == 1 else (1, 2, 3)
    chosen = []
    for stage in stages:
        try:
            found = choose_layout(plans[stage], _training_options(options, stage), available, None)
        except ValueError:
            continue
        chosen.append(found)
        if found.plan.recompute in ("none", "selective"):
            break
    order = ("none", "selective", "block", "offload")
    return min(chosen, key=lambda found: order.index(found.plan.recompute), default=None)


def largest_that_fits(plan: TrainingPlan, layout: Layout, available: AvailableMemory, limit: int) -> int:
    """Return the largest micro-batch up to `limit` that fits; 0 if none does."""
    fitting, too_large = 0, limit + 1
    while too_large - fitting > 1:
        middle = (fitting + too_large) // 2
        if predict(plan.model, replace(layout, micro_batch=middle)).total <= available.device_bytes:
            fitting = middle
        else:
            too_large = middle
    return fitting


def estimate_cost(options: PlanOptions, plan: TrainingPlan, gpu: Gpu) -> dict[str, Any] | None:
    """Return tokens, hours and dollars at the assumed MFU; None if the GPU's peak is unknown."""
    peak = gpu.peak(plan.precision)
    if peak is None:
        return None
    tokens = plan.steps * plan.tokens_per_step
    rate = options.mfu * peak * options.gpus / flops_per_token(plan.model)
    hours = tokens / rate / 3600
    return {
        "gpu": gpu.name,
        "peak": peak,
        "assumed_mfu": options.mfu,
        "tokens": tokens,
        "tokens_per_second": rate,
        "hours": hours,
        "gpu_hours": hours * options.gpus,
        "dollars": hours * options.gpus * options.gpu_hour_dollars,
    }


def command_line(options: PlanOptions, plan: TrainingPlan) -> list[str]:
    """Return the command that starts the plan, on several lines."""
    nodes = -(-options.gpus // options.gpus_per_node)
    hosts = f"--hostfile hostfile --num_nodes {nodes}" if nodes > 1 else f"--num_gpus {options.gpus}"
    given = [
        f"--size {plan.size} --data {options.data} --output {plan.output}",
        f"--zero-stage {plan.zero_stage} --micro-batch {plan.micro_batch} "
        f"--activation-checkpointing {plan.recompute}"
        + (
            f" --activation-checkpointing-interval {plan.recompute_every}" if plan.recompute_every > 1 else ""
        ),
    ]
    if options.steps is not None or options.tokens is not None:
        given.append(f"--steps {plan.steps}")
    if options.global_batch_tokens is not None:
        given.append(f"--global-batch-tokens {options.global_batch_tokens}")
    if options.optimizer != "adamw":
        given.append(f"--optimizer {options.optimizer}")
    first = f"deepspeed {hosts} launch/pretrain.py"
    return [f"  {first} \\", *(f"    {line} \\" for line in given[:-1]), f"    {given[-1]}"]


def as_record(
    options: PlanOptions,
    plans: list[TrainingPlan],
    available: AvailableMemory,
    best: ChosenLayout | None,
    gpu: Gpu,
) -> dict[str, Any]:
    """Return the content of the tables as plain values, in bytes."""
    layouts = [
        replace(layout_of(plan, accelerator=True), micro_batch=size, **mode)
        for plan in plans
        for _, mode in MODES
        for size in MICRO_BATCHES
    ]
    peaks = [(layout, predict(plans[0].model, layout).total) for layout in layouts]
    return {
        "parameters": plans[0].model.parameters,
        "available_bytes": available.device_bytes,
        "layouts": [
            {
                "zero_stage": layout.zero_stage,
                "recompute": layout.recompute,
                "recompute_every": layout.recompute_every,
                "micro_batch": layout.micro_batch,
                "peak_bytes": peak,
                "fits": peak <= available.device_bytes,
            }
            for layout, peak in peaks
        ],
        "recommended": None
        if best is None
        else {
            "zero_stage": best.plan.zero_stage,
            "micro_batch": best.plan.micro_batch,
            "recompute": best.plan.recompute,
            "recompute_every": best.plan.recompute_every,
            "accumulation_steps": best.plan.accumulation_steps,
            "moment": best.memory.moment,
            "parts_bytes": best.memory.parts(),
            "peak_bytes": best.memory.total,
            "reason": best.reason,
            "command": " ".join(line.strip(" \\") for line in command_line(options, best.plan)),
            "estimate": estimate_cost(options, best.plan, gpu),
        },
    }
