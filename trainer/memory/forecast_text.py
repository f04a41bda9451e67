"""What `launch/plan.py` prints."""

from dataclasses import replace

from trainer.config.plan import TrainingPlan
from trainer.memory.choice import AvailableMemory, ChosenLayout, describe, layout_of, per_rank
from trainer.memory.estimate import GIB, predict
from trainer.memory.forecast import (
    MICRO_BATCHES,
    MODES,
    PlanOptions,
    command_line,
    estimate_cost,
    largest_that_fits,
)
from trainer.memory.layout import Layout
from trainer.model.flops import Gpu, flops_per_token


def heading(options: PlanOptions, plan: TrainingPlan) -> list[str]:
    """Return the model, the GPUs and what the table shows."""
    model = plan.model
    return [
        f"GPT-2 {options.size}: {model.parameters:,} parameters, {model.layers} layers, width {model.width}, "
        f"context {model.context:,}",
        f"{options.gpus} GPUs of {options.gpu_memory:g} GiB, {plan.precision}; a step takes "
        f"{plan.tokens_per_step:,} tokens, {per_rank(plan):,} sequences per GPU",
        "",
        "Predicted peak memory per GPU in GiB, by ZeRO stage, recomputation and micro-batch",
        "(· does not fit, > chosen; max: the largest micro-batch that fits)",
    ]


def table(plans: list[TrainingPlan], available: AvailableMemory, best: ChosenLayout | None) -> list[str]:
    """Return a row per stage and mode: the peak at each micro-batch, and the largest that fits."""
    limit = per_rank(plans[0])
    sizes = [size for size in MICRO_BATCHES if size <= limit]
    lines = ["  stage  recompute  " + "".join(f"{size:>10}" for size in sizes) + "       max"]
    for plan in plans:
        for name, mode in MODES:
            layout = replace(layout_of(plan, accelerator=True), **mode)
            cells = [_cell(plan, replace(layout, micro_batch=size), available, best) for size in sizes]
            most = largest_that_fits(plan, layout, available, limit)
            stage = f"{plan.zero_stage}" if name == "none" else ""
            lines.append(f"  {stage:>5}  {name:<9}  " + "".join(cells) + f"{most or 'none':>10}")
    return lines


def _cell(plan: TrainingPlan, layout: Layout, available: AvailableMemory, best: ChosenLayout | None) -> str:
    total = predict(plan.model, layout).total
    chosen = best is not None and layout == layout_of(best.plan, accelerator=True)
    mark = ">" if chosen else "" if total <= available.device_bytes else "·"
    return f"{mark + format(total / GIB, '.1f'):>10}"


def recommendation(options: PlanOptions, best: ChosenLayout, available: AvailableMemory) -> list[str]:
    """Return the choice, the reason, its memory by part, and the command line."""
    plan, memory = best.plan, best.memory
    reasons = {
        0: "one GPU: nothing to shard",
        1: "it fits, and communicates least",
        2: "stage 1 does not fit as well",
        3: "neither stage 1 nor stage 2 fits as well",
    }
    lines = [
        f"Recommended: ZeRO stage {plan.zero_stage} ({reasons[plan.zero_stage]}),",
        f"{best.reason}.",
        "",
        f"  {'peak is during: ' + memory.moment:<44} GiB",
    ]
    lines += [
        f"  {name.replace('_', ' '):<40} {size / GIB:>7.2f}" for name, size in memory.parts().items() if size
    ]
    lines += [f"  {'total':<40} {memory.total / GIB:>7.2f}", "", *command_line(options, plan)]
    return lines


def cost(options: PlanOptions, plan: TrainingPlan, gpu: Gpu) -> list[str]:
    """Return time and cost of all steps, with the assumptions."""
    estimate = estimate_cost(options, plan, gpu)
    if estimate is None:
        return [f"No estimate of time: the {gpu.name} has no {plan.precision} peak."]
    return [
        f"{plan.steps:,} steps are {estimate['tokens']:,} tokens of {flops_per_token(plan.model) / 1e9:.2f} "
        f"GFLOPs. Assumed: {gpu.name} with {estimate['peak'] / 1e12:,.0f} TFLOP/s,",
        f"MFU {options.mfu:.0%}, ${options.gpu_hour_dollars:g} per GPU hour. Estimate:",
        f"  {estimate['tokens_per_second']:,.0f} tokens/s, {estimate['hours']:,.1f} hours, "
        f"{estimate['gpu_hours']:,.0f} GPU hours, ${estimate['dollars']:,.0f}",
    ]


def nothing_fits(options: PlanOptions, plans: list[TrainingPlan], available: AvailableMemory) -> str:
    """Return what would make the size fit: offloading, more GPUs, or more memory."""
    plan = plans[3] if options.gpus > 1 else plans[0]
    least = replace(layout_of(plan, accelerator=True), micro_batch=1, recompute="block")
    offloaded = replace(least, zero_stage=3, offload_optimizer=True, offload_parameters=True)
    ways = [f"a GPU of {predict(plan.model, least).total / GIB:.0f} GiB"]
    if predict(plan.model, offloaded).total <= available.device_bytes:
        ways.append("--zero-stage 3 --offload-optimizer --offload-parameters (slower)")
    for gpus in (2**power for power in range(1, 11)):
        more = replace(least, zero_stage=3, ranks=gpus)
        if gpus > options.gpus and predict(plan.model, more).total <= available.device_bytes:
            ways.append(f"{gpus} such GPUs at stage 3")
            break
    return (
        f"Nothing fits: {describe(least)} at ZeRO stage {plan.zero_stage} already needs more than "
        f"{options.gpu_memory:g} GiB.\nWhat would fit:\n  " + "\n  ".join(ways)
    )
