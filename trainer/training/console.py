"""Console output of a run: a table of its settings, and a line every few steps."""

from typing import Any

from trainer.config.plan import TrainingPlan
from trainer.config.recipes import SIZES
from trainer.distributed.muon import MOMENTUM, STEPS
from trainer.report.units import GIB, duration

Record = dict[str, Any]


def settings_table(plan: TrainingPlan, *, inputs: list[tuple[str, str]], resumed: int) -> str:
    """Return every setting of a run, one per line, with the arithmetic of the batch."""
    model = plan.model
    rows = [
        ("model", f"GPT-2 {plan.size}: {model.layers} layers, {model.heads} heads, width {model.width}"),
        ("parameters", f"{model.parameters:,}"),
        ("vocabulary", f"{model.vocabulary:,}, padded to {model.padded_vocabulary:,}"),
        ("weights", f"from {plan.init_from}" if plan.init_from else "random initialization"),
        *inputs,
        ("steps", _steps(plan) + (f", resuming after step {resumed:,}" if resumed else "")),
        ("batch", _batch(plan)),
        ("learning rate", _rates(plan)),
        *([("Muon", _muon(plan))] if plan.optimizer == "muon" else []),
        (
            "AdamW",
            f"betas {plan.beta1:g} {plan.beta2:g}, epsilon {plan.epsilon:g}, weight decay "
            f"{plan.weight_decay:g} on matrices, gradient norm clipped at {plan.gradient_clip:g}",
        ),
        ("dropout", f"{model.dropout:g}"),
        (
            "precision",
            f"{plan.precision} matrix products{', float8 in blocks' if plan.float8 else ''}, fp32 weights",
        ),
        ("ZeRO stage", str(plan.zero_stage)),
        ("recomputation", _recomputation(plan)),
        ("compilation", _compilation(plan)),
        *([("operations", "deterministic only")] if plan.deterministic else []),
        *([("attention", "within documents only")] if model.document_separator is not None else []),
        ("seed", str(plan.seed)),
        ("evaluation", f"every {plan.evaluate_every:,} steps" if plan.evaluate_every else "none"),
        ("checkpoint", f"every {plan.checkpoint_every:,} steps, keeping the last {plan.keep_checkpoints}"),
        ("output", plan.output),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _steps(plan: TrainingPlan) -> str:
    return f"{plan.steps:,} × {plan.tokens_per_step:,} = {plan.steps * plan.tokens_per_step:,} tokens"


def _batch(plan: TrainingPlan) -> str:
    tokens = f"{plan.tokens_per_step:,} tokens"
    slots = plan.world_size * plan.micro_batch * plan.accumulation_steps
    empty = slots - plan.sequences_per_step
    shared = (
        f"{plan.world_size} ranks × {plan.micro_batch} sequences × {plan.model.context} tokens × "
        f"{plan.accumulation_steps} accumulated"
    )
    if empty:
        return (
            f"{plan.sequences_per_step} sequences, {tokens}: {shared}, of which {empty} sequences are empty"
        )
    return f"{shared} = {tokens}"


def _rates(plan: TrainingPlan) -> str:
    shape = (
        "cosine" if plan.schedule == "cosine" else f"constant, then over the last {plan.decay_steps:,} steps"
    )
    recipe = SIZES.get(plan.size)
    own = recipe and not plan.init_from and recipe.learning_rate == plan.learning_rate
    source = " (GPT-3's for this size)" if own and plan.size not in ("micro", "nano") else ""
    return (
        f"{plan.learning_rate:g}{source}, after {plan.warmup_steps:,} steps of warm-up, "
        f"{shape} to {plan.final_learning_rate:g}"
    )


def _muon(plan: TrainingPlan) -> str:
    return (
        f"for the matrices inside the blocks, with the same lr and weight decay: Nesterov momentum "
        f"{MOMENTUM:g}, {STEPS} steps of Newton-Schulz in {plan.precision}"
    )


def _compilation(plan: TrainingPlan) -> str:
    if plan.compiled:
        return "the blocks and the loss, during the first step"
    return "none (not with ZeRO stage 3)" if plan.zero_stage == 3 else "none"


def _recomputation(plan: TrainingPlan) -> str:
    if plan.recompute == "none" or plan.recompute_every == 1:
        return plan.recompute
    return f"{plan.recompute}, one block in {plan.recompute_every}"


class Console:
    """Prints aligned lines about the steps of a run, for a terminal or a log file."""

    def __init__(self, plan: TrainingPlan, *, shown: bool) -> None:
        self._plan, self._shown = plan, shown
        self._tokens, self._seconds = 0, 0.0  # since the last line
        self._all_tokens, self._all_seconds = 0, 0.0

    def step(self, record: Record) -> None:
        """Record a finished step; print a line if it is due."""
        self._tokens += self._plan.tokens_per_step
        self._seconds += record["seconds"]
        step, last = record["step"], self._plan.steps
        if step % self._plan.log_every and step != last and self._all_tokens:
            return
        self._all_tokens += self._tokens
        self._all_seconds += self._seconds
        left = (last - step) * self._plan.tokens_per_step * self._all_seconds / self._all_tokens
        self.line(
            f"step {step:>{len(f'{last:,}')},}/{last:,}  loss {record['loss']:7.4f}  "
            f"lr {record['learning_rate']:.2e}  grad_norm {record['gradient_norm']:6.2f}  "
            f"{self._tokens / max(self._seconds, 1e-9):>9,.0f} tokens/s  MFU {_share(record['mfu']):>7}  "
            f"{record['memory_bytes'] / GIB:5.1f} GiB  {duration(left):>9} left"
        )
        self._tokens, self._seconds = 0, 0.0

    def line(self, text: str) -> None:
        """Print a line."""
        if self._shown:
            print(text, flush=True)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
