"""How a run is laid out on the memory that is there: micro-batch and recomputation, and why."""

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
class Room:
    """The memory that is there for one rank, in bytes."""

    available: int
    total: int
    accelerator: bool
    host: int | None = None  # of the machine's own memory, for what is offloaded; None: not looked at


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A plan that fits, what it takes, and why it is laid out so."""

    plan: TrainingPlan
    memory: Memory
    reason: str


def layout_of(plan: TrainingPlan, *, accelerator: bool) -> Layout:
    """Return what of a plan decides its memory."""
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


def fit(
    plan: TrainingPlan, options: TrainingOptions, room: Room, earlier: Mapping[str, Any] | None
) -> Fitted:
    """Choose the fastest layout that fits for what the options leave open.

    A run that goes on keeps what it had, if it is still open and fits, on as many ranks: so its numbers
    stay the same to the bit.

    Args:
        plan: the resolved options, whose micro-batch is the recipe's where none is given.
        earlier: the plan that the checkpoint was made by, as its state.json has it.

    Raises:
        ValueError: too little memory; the message names the smallest change that would do.
    """
    open_ = _candidates(plan, options, room)
    if earlier and earlier.get("world_size") == plan.world_size:
        same = [layout for layout in open_ if _same(layout, earlier)]
        if same and _fits(plan, same[0], room):
            return _fitted(plan, same[0], room, "as in the checkpoint")
    fitting = [layout for layout in open_ if _fits(plan, layout, room)]
    if fitting:
        best = min(fitting, key=lambda layout: _cost(plan, layout))
        return _fitted(plan, best, room, _chosen(plan, best, open_, room))
    if options.skip_memory_check:
        smallest = min(open_, key=lambda layout: predict(plan.model, layout).total)
        return _fitted(plan, smallest, room, "too little memory by the prediction, which is ignored")
    raise ValueError(_too_little(plan, open_, room))


def _candidates(plan: TrainingPlan, options: TrainingOptions, room: Room) -> list[Layout]:
    """Return every layout that the options allow.

    On a CPU a larger micro-batch than the recipe's gains nothing, and to recompute nothing but memory.
    """
    base = layout_of(plan, accelerator=room.accelerator)
    micro_batches = [plan.micro_batch]
    if options.micro_batch is None:
        largest = LARGEST_MICRO_BATCH if room.accelerator else plan.micro_batch
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
    """Yield the micro-batches, the largest first, that leave few rows empty in the last of a step."""
    seen = 0
    for turns in range(1, sequences + 1):
        micro_batch = -(-sequences // turns)
        if micro_batch <= largest and micro_batch != seen:
            yield micro_batch
        seen = micro_batch


def per_rank(plan: TrainingPlan) -> int:
    """Return how many sequences of a step each rank takes."""
    return -(-plan.sequences_per_step // plan.world_size)


def _fits(plan: TrainingPlan, layout: Layout, room: Room) -> bool:
    return predict(plan.model, layout).total <= room.available and not _crowds(plan, layout, room)


def _crowds(plan: TrainingPlan, layout: Layout, room: Room) -> bool:
    """Say whether a GPU's rank would keep more in the machine's memory than there is."""
    return room.accelerator and room.host is not None and host_bytes(plan.model, layout) > room.host


def _same(layout: Layout, earlier: Mapping[str, Any]) -> bool:
    names = ("micro_batch", "recompute", "recompute_every")
    return all(getattr(layout, name) == earlier.get(name) for name in names)


def _cost(plan: TrainingPlan, layout: Layout) -> float:
    """Return how long a step takes beside what the same step would without any of this."""
    share = per_rank(plan)
    rows = -(-share // layout.micro_batch) * layout.micro_batch  # those left empty are computed too
    uneven = 0.1 if rows > share else 0.0  # and an odd number of them is the last resort
    again = RECOMPUTE_COST[layout.recompute] / layout.recompute_every
    fixed = FIXED_TOKENS / (layout.micro_batch * plan.model.context) if layout.accelerator else 0.0
    # Where a GPU is not to be filled, the recipe's micro-batch: the largest of those allowed.
    return (1 + again) * (1 + fixed) * rows / share + uneven - layout.micro_batch * 1e-9


def _fitted(plan: TrainingPlan, layout: Layout, room: Room, reason: str) -> Fitted:
    memory = predict(plan.model, layout)
    chosen = dataclasses.replace(
        plan,
        micro_batch=layout.micro_batch,
        accumulation_steps=-(-per_rank(plan) // layout.micro_batch),
        recompute=layout.recompute,
        recompute_every=layout.recompute_every,
    )
    place = "a GPU" if room.accelerator else "a rank"
    return Fitted(
        plan=chosen,
        memory=memory,
        reason=f"{describe(layout)}, {reason}: {_gib(memory.total)} of {_gib(room.available)} GiB {place}",
    )


def describe(layout: Layout) -> str:
    """Say a layout's micro-batch and what it computes again."""
    again = {"none": "nothing recomputed", "selective": "norms and GELU recomputed"}.get(layout.recompute)
    which = "every block" if layout.recompute_every == 1 else f"one block in {layout.recompute_every}"
    if again is None:
        again = f"{which} recomputed" + (", inputs offloaded" if layout.recompute == "offload" else "")
    return f"micro-batch {layout.micro_batch}, {again}"


def _chosen(plan: TrainingPlan, best: Layout, open_: list[Layout], room: Room) -> str:
    """Say whether a layout was chosen, and what the next larger micro-batch would have taken."""
    if len(open_) == 1:
        return "as given"
    larger = [
        layout
        for layout in open_
        if layout == replace(best, micro_batch=layout.micro_batch)
        and layout.micro_batch > best.micro_batch
        and per_rank(plan) % layout.micro_batch == 0
        and not _fits(plan, layout, room)
    ]
    if not larger:
        return "chosen"
    next_ = min(larger, key=lambda layout: layout.micro_batch)
    return f"chosen, since {next_.micro_batch} would need {_gib(predict(plan.model, next_).total)}"


def _too_little(plan: TrainingPlan, open_: list[Layout], room: Room) -> str:
    """Say what is missing, and the least that would have to change."""
    crowding = [layout for layout in open_ if _crowds(plan, layout, room)]
    if room.host is not None and len(crowding) == len(open_):
        least = min(crowding, key=lambda layout: host_bytes(plan.model, layout))
        return (
            f"too little memory in the machine for what is to be offloaded: {describe(least)} at ZeRO "
            f"stage {least.zero_stage} on {least.ranks} ranks keeps "
            f"{_gib(host_bytes(plan.model, least))} GiB a rank "
            f"there, and {_gib(room.host)} are there (--skip-memory-check starts all the same)"
        )
    least = min(open_, key=lambda layout: predict(plan.model, layout).total)
    needed = predict(plan.model, least).total
    found = next((change for change in _changes(plan, least) if _fits(plan, change[1], room)), None)
    advice = f"{found[0]} would do" if found else "no ZeRO stage, recomputation or offload would do"
    return (
        f"too little memory: {describe(least)} at ZeRO stage {least.zero_stage} on {least.ranks} ranks needs "
        f"{_gib(needed)} GiB a rank, and {_gib(room.available)} are there: {advice} "
        "(--skip-memory-check starts all the same)"
    )


def _changes(plan: TrainingPlan, layout: Layout) -> Iterator[tuple[str, Layout]]:
    """Yield other layouts with the options that give them, those first that change least."""
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
