"""Chooses the layout that fits the available memory: micro-batch and recomputation, with the reason."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainer.config.options import Recompute, TrainingOptions
from trainer.config.plan import TrainingPlan
from trainer.memory.estimate import GIB, Memory, host_bytes, predict
from trainer.memory.layout import Layout

# How much longer a step takes than without recomputation: a ranking, not a prediction. Every block again
# is one more forward pass, two of six FLOPs a weight; norms and GELU are read and written once more;
# offloaded inputs cross to the CPU and back.
RECOMPUTE_COST: dict[Recompute, float] = {"none": 0.0, "selective": 0.05, "block": 1 / 3, "offload": 0.5}

# A micro-batch costs as much as its tokens and some 500 more, whatever its size: the weights are read,
# copied to bf16 and their gradients added up: 20 bytes a weight at 3.35 TB/s, against 6 FLOPs a weight and
# token at half of 989 TFLOP/s (an H100).
FIXED_TOKENS = 500
LARGEST_MICRO_BATCH = 128  # beyond it no GPU gains


@dataclass(frozen=True, kw_only=True)
class AvailableMemory:
    """The memory available to one rank, in bytes."""

    device_bytes: int
    total_bytes: int
    accelerator: bool
    host_bytes: int | None = None  # CPU memory, for offloading; None: not checked


@dataclass(frozen=True, kw_only=True)
class ChosenLayout:
    """A plan in the layout that was chosen, its predicted memory, and the reason."""

    plan: TrainingPlan
    memory: Memory
    reason: str


def layout_of(plan: TrainingPlan, *, accelerator: bool) -> Layout:
    """Return the part of a plan that decides its memory."""
    return Layout(
        zero_stage=plan.zero_stage,
        ranks=plan.world_size,
        micro_batch=plan.micro_batch,
        precision=plan.precision,
        optimizer=plan.optimizer,
        recompute=plan.recompute,
        recompute_every=plan.recompute_every,
        offload_optimizer=plan.offload_optimizer,
        offload_parameters=plan.offload_parameters,
        accelerator=accelerator,
        compiled=plan.compiled,
    )


def choose_layout(
    plan: TrainingPlan,
    options: TrainingOptions,
    available: AvailableMemory,
    earlier: Mapping[str, Any] | None,
) -> ChosenLayout:
    """Choose the fastest layout that fits and that the options allow.

    A run that resumes on the same number of ranks keeps its layout if it is still allowed and fits, so its
    numbers stay bitwise the same.

    Args:
        plan: the resolved options; its micro-batch is the recipe's if none is given.
        earlier: the checkpoint's plan, from its state.json.

    Raises:
        ValueError: not enough memory; the message names the smallest change that would fit.
    """
    candidates = _candidates(plan, options, available)
    if earlier and earlier.get("world_size") == plan.world_size:
        same = [layout for layout in candidates if _same(layout, earlier)]
        if same and _fits(plan, same[0], available):
            return _chosen_layout(plan, same[0], available, "as in the checkpoint")
    fitting = [layout for layout in candidates if _fits(plan, layout, available)]
    if fitting:
        best = min(fitting, key=lambda layout: _cost(plan, layout))
        return _chosen_layout(plan, best, available, _why_chosen(plan, best, candidates, available))
    if options.skip_memory_check:
        smallest = min(candidates, key=lambda layout: predict(plan.model, layout).total)
        return _chosen_layout(plan, smallest, available, "not enough memory by the prediction (ignored)")
    raise ValueError(_not_enough_memory(plan, candidates, available))


def _candidates(plan: TrainingPlan, options: TrainingOptions, available: AvailableMemory) -> list[Layout]:
    """Return every layout that the options allow.

    On a CPU a larger micro-batch than the recipe's is no faster, and recomputation only saves memory.
    """
    base = layout_of(plan, accelerator=available.accelerator)
    micro_batches = [plan.micro_batch]
    if options.micro_batch is None:
        largest = LARGEST_MICRO_BATCH if available.accelerator else plan.micro_batch
        micro_batches = list(micro_batches_of(per_rank(plan), largest))
    modes: list[tuple[Recompute, int]] = [(plan.recompute, plan.recompute_every)]
    if options.activation_checkpointing == "auto":
        every = options.activation_checkpointing_interval
        intervals = [n for n in (4, 3, 2, 1) if n < plan.model.layers] if every == 1 else [every]
        modes = [("none", 1), ("selective", 1), *(("block", n) for n in intervals), ("offload", 1)]
    return [
        replace(base, micro_batch=micro_batch, recompute=recompute, recompute_every=every)
        for recompute, every in modes
        for micro_batch in micro_batches
    ]


def micro_batches_of(sequences: int, largest: int) -> Iterator[int]:
    """Yield the micro-batches that leave few empty rows in a step's last one, the largest first."""
    seen = 0
    for turns in range(1, sequences + 1):
        micro_batch = -(-sequences // turns)
        if micro_batch <= largest and micro_batch != seen:
            yield micro_batch
        seen = micro_batch


def per_rank(plan: TrainingPlan) -> int:
    """Return the number of sequences per rank and step."""
    return -(-plan.sequences_per_step // plan.world_size)


def _fits(plan: TrainingPlan, layout: Layout, available: AvailableMemory) -> bool:
    on_device = predict(plan.model, layout).total
    return on_device <= available.device_bytes and not _exceeds_host_memory(plan, layout, available)


def _exceeds_host_memory(plan: TrainingPlan, layout: Layout, available: AvailableMemory) -> bool:
    """Return whether a GPU's rank would need more CPU memory than is available."""
    if not available.accelerator or available.host_bytes is None:
        return False
    return host_bytes(plan.model, layout) > available.host_bytes


def _same(layout: Layout, earlier: Mapping[str, Any]) -> bool:
    names = ("micro_batch", "recompute", "recompute_every")
    return all(getattr(layout, name) == earlier.get(name) for name in names)


def _cost(plan: TrainingPlan, layout: Layout) -> float:
    """Return the relative duration of a step; 1 is a step without recomputation and overhead."""
    share = per_rank(plan)
    rows = -(-share // layout.micro_batch) * layout.micro_batch  # those left empty are computed too
    uneven = 0.1 if rows > share else 0.0  # and an odd number of them is the last resort
    again = RECOMPUTE_COST[layout.recompute] / layout.recompute_every
    fixed = FIXED_TOKENS / (layout.micro_batch * plan.model.context) if layout.accelerator else 0.0
    # Where a GPU is not to be filled, the recipe's micro-batch: the largest of those allowed.
    return (1 + again) * (1 + fixed) * rows / share + uneven - layout.micro_batch * 1e-9


def _chosen_layout(
    plan: TrainingPlan, layout: Layout, available: AvailableMemory, reason: str
) -> ChosenLayout:
    memory = predict(plan.model, layout)
    chosen = dataclasses.replace(
        plan,
        micro_batch=layout.micro_batch,
        accumulation_steps=-(-per_rank(plan) // layout.micro_batch),
        recompute=layout.recompute,
        recompute_every=layout.recompute_every,
    )
    place = "per GPU" if available.accelerator else "per rank"
    return ChosenLayout(
        plan=chosen,
        memory=memory,
        reason=f"{describe(layout)}, {reason}: {_gib(memory.total)} of "
        f"{_gib(available.device_bytes)} GiB {place}",
    )


def describe(layout: Layout) -> str:
    """Describe a layout's micro-batch and recomputation."""
    again = {"none": "nothing recomputed", "selective": "norms and GELU recomputed"}.get(layout.recompute)
    which = "every block" if layout.recompute_every == 1 else f"one block in {layout.recompute_every}"
    if again is None:
        again = f"{which} recomputed" + (", inputs offloaded" if layout.recompute == "offload" else "")
    return f"micro-batch {layout.micro_batch}, {again}"


def _why_chosen(
    plan: TrainingPlan, best: Layout, candidates: list[Layout], available: AvailableMemory
) -> str:
    """Return why a layout was chosen: what the next larger micro-batch would need."""
    if len(candidates) == 1:
        return "as given"
    larger = [
        layout
        for layout in candidates
        if layout == replace(best, micro_batch=layout.micro_batch)
        and layout.micro_batch > best.micro_batch
        and per_rank(plan) % layout.micro_batch == 0
        and not _fits(plan, layout, available)
    ]
    if not larger:
        return "chosen"
    next_ = min(larger, key=lambda layout: layout.micro_batch)
    return f"chosen because {next_.micro_batch} would need {_gib(predict(plan.model, next_).total)} GiB"


def _not_enough_memory(plan: TrainingPlan, candidates: list[Layout], available: AvailableMemory) -> str:
    """Return how much memory is missing, and the smallest change that would fit."""
    exceeding = [layout for layout in candidates if _exceeds_host_memory(plan, layout, available)]
    if available.host_bytes is not None and len(exceeding) == len(candidates):
        least = min(exceeding, key=lambda layout: host_bytes(plan.model, layout))
        return (
            f"not enough CPU memory for offloading: {describe(least)} at ZeRO stage {least.zero_stage} on "
            f"{least.ranks} ranks needs {_gib(host_bytes(plan.model, least))} GiB per rank, "
            f"{_gib(available.host_bytes)} GiB available (--skip-memory-check starts anyway)"
        )
    least = min(candidates, key=lambda layout: predict(plan.model, layout).total)
    needed = predict(plan.model, least).total
    found = next((change for change in _changes(plan, least) if _fits(plan, change[1], available)), None)
    advice = f"{found[0]} would fit" if found else "no ZeRO stage, recomputation or offload would fit"
    return (
        f"not enough memory: {describe(least)} at ZeRO stage {least.zero_stage} on {least.ranks} ranks needs "
        f"{_gib(needed)} GiB per rank, {_gib(available.device_bytes)} GiB available: {advice} "
        "(--skip-memory-check starts anyway)"
    )


def _changes(plan: TrainingPlan, layout: Layout) -> Iterator[tuple[str, Layout]]:
    """Yield other layouts with their options, the smallest changes first."""
    micro = (("--micro-batch 1", replace(layout, micro_batch=1)),) if layout.micro_batch > 1 else ()
    modes = [
        (f"--activation-checkpointing {mode}", replace(layout, recompute=mode, recompute_every=1))
        for mode in ("selective", "block", "offload")
        if layout.recompute != mode or layout.recompute_every > 1
    ]
    yield from (*micro, *modes)
    smallest = replace(layout, micro_batch=1, recompute="block", recompute_every=1)
    words = "--micro-batch 1 --activation-checkpointing block"
    for base, given in ((layout, ""), (smallest, f"{words} ")):
        if given:
            yield words, base
        for stage in range(layout.zero_stage + 1, 4):
            if layout.ranks > 1:
                yield f"{given}--zero-stage {stage}", replace(base, zero_stage=stage)
        for stage in sorted({max(1, layout.zero_stage), 2, 3}):
            option = f"{given}--zero-stage {stage} --offload-optimizer"
            yield option, replace(base, zero_stage=stage, offload_optimizer=True)
        everything = replace(base, zero_stage=3, offload_optimizer=True, offload_parameters=True)
        yield f"{given}--zero-stage 3 --offload-optimizer --offload-parameters", everything


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
