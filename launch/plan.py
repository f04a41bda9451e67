"""Say before a run what it will take: memory of a GPU, time and money.

python launch/plan.py --size xl --gpus 8 --gpu-memory 80
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from trainer.config.options import Optimizer, TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.memory.choice import Fitted, Room, describe, fit, layout_of, per_rank
from trainer.memory.estimate import GIB, Layout, predict
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
    gpus: int = 1
    """GPUs in all, one a rank."""
    gpus_per_node: int = 8
    """GPUs in one machine; more than that need a hostfile."""
    gpu_memory: float = 80.0
    """GiB that PyTorch finds on each; a part is set aside for the CUDA context and fragmentation."""
    gpu: str = "H100 SXM"
    """Which GPU, for its peak FLOP/s."""
    steps: int | None = None
    """Steps in place of the recipe's."""
    tokens: int | None = None
    """Tokens to train on in place of the recipe's."""
    global_batch_tokens: int | None = None
    """Tokens in one step in place of the recipe's."""
    optimizer: Optimizer = "adamw"
    """adamw or muon, which holds one moment of the matrices inside the blocks in place of two."""
    vocabulary: int = VOCABULARY
    """Entries of the vocabulary."""
    mfu: float = 0.4
    """Assumed share of the GPUs' peak that training makes use of."""
    gpu_hour_dollars: float = 2.5
    """Assumed price of one GPU for one hour."""
    data: str = "out/shards"
    """Token shards, for the command line that is printed."""
    json: bool = False
    """Print a JSON object in place of tables."""


def main(options: PlanOptions) -> None:
    """Print what fits, what is best, and what it will cost."""
    gpu = _check(options)
    plans = [_resolved(options, stage) for stage in (0, 1, 2, 3)]
    room = Room(
        available=int(options.gpu_memory * GIB), total=int(options.gpu_memory * GIB), accelerator=True
    )
    best = _recommended(options, plans, room)
    if options.json:
        print(json.dumps(_record(options, plans, room, best, gpu), indent=2))
        return
    print("\n".join([*_heading(options, plans[0]), "", *_table(plans, room, best), ""]))
    if best is None:
        print(_nothing_fits(options, plans, room))
        return
    print("\n".join([*_recommendation(options, best, room), "", *_cost(options, best.plan, gpu)]))


def _check(options: PlanOptions) -> Gpu:
    """Return the GPU that is meant.

    Raises:
        ValueError: an option is out of range, or the GPU is not known.
    """
    for name in ("gpus", "gpus_per_node", "gpu_memory", "mfu", "vocabulary"):
        value = getattr(options, name)
        if not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be above 0")
    if options.mfu > 1:
        raise ValueError(f"--mfu is {options.mfu}: it is a share of the peak, at most 1")
    if not 0 <= options.gpu_hour_dollars < float("inf"):
        raise ValueError(f"--gpu-hour-dollars is {options.gpu_hour_dollars}: it must be at least 0")
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


def _resolved(options: PlanOptions, stage: int) -> TrainingPlan:
    given = _training_options(options, stage)
    plan = resolve(given, vocabulary=options.vocabulary, world_size=options.gpus, accelerator=True)
    if options.tokens is None:
        return plan
    if options.steps is not None:
        raise ValueError("give only one of --steps and --tokens")
    if options.tokens < plan.tokens_per_step:
        raise ValueError(f"--tokens is {options.tokens}: one step takes {plan.tokens_per_step}")
    return replace(plan, steps=options.tokens // plan.tokens_per_step)


def _recommended(options: PlanOptions, plans: list[TrainingPlan], room: Room) -> Fitted | None:
    """Return the lowest ZeRO stage's fastest layout that fits, or None.

    A higher stage sends more between the GPUs. On one GPU there is nothing to share out.
    """
    stages = (0,) if options.gpus == 1 else (1, 2, 3)
    fitted = []
    for stage in stages:
        try:
            found = fit(plans[stage], _training_options(options, stage), room, None)
        except ValueError:
            continue
        fitted.append(found)
        if found.plan.recompute in ("none", "selective"):
            break
    order = ("none", "selective", "block", "offload")
    return min(fitted, key=lambda found: order.index(found.plan.recompute), default=None)


def _heading(options: PlanOptions, plan: TrainingPlan) -> list[str]:
    model = plan.model
    return [
        f"GPT-2 {options.size}: {model.parameters:,} parameters, {model.layers} layers, {model.width} wide, "
        f"context {model.context:,}",
        f"{options.gpus} GPUs of {options.gpu_memory:g} GiB, {plan.precision}; a step takes "
        f"{plan.tokens_per_step:,} tokens, {per_rank(plan):,} sequences a GPU",
        "",
        "Predicted peak of each GPU in GiB, by ZeRO stage, recomputation and micro-batch",
        "(· does not fit, > chosen; most: the largest micro-batch that fits)",
    ]


def _table(plans: list[TrainingPlan], room: Room, best: Fitted | None) -> list[str]:
    """Return a row for each stage and mode: its peak at each micro-batch, and the largest that fits."""
    limit = per_rank(plans[0])
    sizes = [size for size in MICRO_BATCHES if size <= limit]
    lines = ["  stage  recompute  " + "".join(f"{size:>10}" for size in sizes) + "      most"]
    for plan in plans:
        for name, mode in MODES:
            layout = replace(layout_of(plan, accelerator=True), **mode)
            cells = [_cell(plan, replace(layout, micro_batch=size), room, best) for size in sizes]
            most = largest_that_fits(plan, layout, room, limit)
            stage = f"{plan.zero_stage}" if name == "none" else ""
            lines.append(f"  {stage:>5}  {name:<9}  " + "".join(cells) + f"{most or 'none':>10}")
    return lines


def _cell(plan: TrainingPlan, layout: Layout, room: Room, best: Fitted | None) -> str:
    total = predict(plan.model, layout).total
    chosen = best is not None and layout == layout_of(best.plan, accelerator=True)
    mark = ">" if chosen else "" if total <= room.available else "·"
    return f"{mark + format(total / GIB, '.1f'):>10}"


def largest_that_fits(plan: TrainingPlan, layout: Layout, room: Room, limit: int) -> int:
    """Return the largest micro-batch up to `limit` that fits; 0 if none does."""
    fitting, too_large = 0, limit + 1
    while too_large - fitting > 1:
        middle = (fitting + too_large) // 2
        if predict(plan.model, replace(layout, micro_batch=middle)).total <= room.available:
            fitting = middle
        else:
            too_large = middle
    return fitting


def _recommendation(options: PlanOptions, best: Fitted, room: Room) -> list[str]:
    """Return the choice, the reason, its memory by part, and the command line."""
    plan, memory = best.plan, best.memory
    reasons = {
        0: "on one GPU there is nothing to share out",
        1: "the lowest stage that shares anything out fits, and sends least",
        2: "stage 1 does not fit as well",
        3: "neither stage 1 nor 2 fits as well",
    }
    lines = [
        f"Recommended: ZeRO stage {plan.zero_stage} ({reasons[plan.zero_stage]}),",
        f"{best.reason}.",
        "",
        f"  {'most is held at the ' + memory.moment:<44} GiB",
    ]
    lines += [
        f"  {name.replace('_', ' '):<40} {size / GIB:>7.2f}" for name, size in memory.parts().items() if size
    ]
    lines += [f"  {'in all':<40} {memory.total / GIB:>7.2f}", "", *command_line(options, plan)]
    return lines


def command_line(options: PlanOptions, plan: TrainingPlan) -> list[str]:
    """Return the command that starts the plan, over several lines."""
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


def _cost(options: PlanOptions, plan: TrainingPlan, gpu: Gpu) -> list[str]:
    """Return time and cost of all steps, with the assumptions they rest on."""
    estimate = _estimate(options, plan, gpu)
    if estimate is None:
        return [f"No time is given: the {gpu.name} has no {plan.precision} peak."]
    return [
        f"{plan.steps:,} steps are {estimate['tokens']:,} tokens of {flops_per_token(plan.model) / 1e9:.2f} "
        f"GFLOPs. Assumed: {gpu.name} with {estimate['peak'] / 1e12:,.0f} TFLOP/s,",
        f"MFU {options.mfu:.0%}, ${options.gpu_hour_dollars:g} a GPU and hour. Then:",
        f"  {estimate['tokens_per_second']:,.0f} tokens/s, {estimate['hours']:,.1f} hours, "
        f"{estimate['gpu_hours']:,.0f} GPU hours, ${estimate['dollars']:,.0f}",
    ]


def _estimate(options: PlanOptions, plan: TrainingPlan, gpu: Gpu) -> dict[str, Any] | None:
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


def _nothing_fits(options: PlanOptions, plans: list[TrainingPlan], room: Room) -> str:
    """Say what would make the size fit: offloading, more GPUs, or how much memory."""
    plan = plans[3] if options.gpus > 1 else plans[0]
    least = replace(layout_of(plan, accelerator=True), micro_batch=1, recompute="block")
    offloaded = replace(least, zero_stage=3, offload_optimizer=True, offload_parameters=True)
    ways = [f"a GPU of {predict(plan.model, least).total / GIB:.0f} GiB"]
    if predict(plan.model, offloaded).total <= room.available:
        ways.append("--zero-stage 3 --offload-optimizer --offload-parameters (slower)")
    for gpus in (2**power for power in range(1, 11)):
        more = replace(least, zero_stage=3, ranks=gpus)
        if gpus > options.gpus and predict(plan.model, more).total <= room.available:
            ways.append(f"{gpus} such GPUs at stage 3")
            break
    return (
        f"Nothing fits: {describe(least)} at ZeRO stage {plan.zero_stage} already needs more than "
        f"{options.gpu_memory:g} GiB.\nWhat would fit:\n  " + "\n  ".join(ways)
    )


def _record(
    options: PlanOptions, plans: list[TrainingPlan], room: Room, best: Fitted | None, gpu: Gpu
) -> dict[str, Any]:
    """Return what the tables say, as plain values; bytes."""
    layouts = [
        replace(layout_of(plan, accelerator=True), micro_batch=size, **mode)
        for plan in plans
        for _, mode in MODES
        for size in MICRO_BATCHES
    ]
    peaks = [(layout, predict(plans[0].model, layout).total) for layout in layouts]
    return {
        "parameters": plans[0].model.parameters,
        "available_bytes": room.available,
        "layouts": [
            {
                "zero_stage": layout.zero_stage,
                "recompute": layout.recompute,
                "recompute_every": layout.recompute_every,
                "micro_batch": layout.micro_batch,
                "peak_bytes": peak,
                "fits": peak <= room.available,
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
            "estimate": _estimate(options, best.plan, gpu),
        },
    }


if __name__ == "__main__":
    run_command(PlanOptions, main, "Predict memory, time and cost of a training run, and recommend a layout.")
