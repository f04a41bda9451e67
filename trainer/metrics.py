"""What a run tells: a table of its settings, a line now and then, and metrics.jsonl for machines."""

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.storage import write_text
from trainer.config import TrainingPlan

Record = dict[str, Any]


def settings_table(plan: TrainingPlan, *, inputs: list[tuple[str, str]], resumed: int) -> str:
    """Return every setting of a run, a line each, with the arithmetic of the batch."""
    model = plan.model
    rows = [
        ("model", f"GPT-2 {plan.size}: {model.layers} layers, {model.heads} heads, {model.width} wide"),
        ("parameters", f"{model.parameters:,}"),
        ("vocabulary", f"{model.vocabulary:,}, padded to {model.padded_vocabulary:,}"),
        *inputs,
        ("steps", f"{plan.steps:,}" + (f", going on after step {resumed:,}" if resumed else "")),
        (
            "batch",
            f"{plan.world_size} ranks × {plan.micro_batch} sequences × {model.context} tokens × "
            f"{plan.accumulation_steps} accumulated = {plan.tokens_per_step:,} tokens",
        ),
        (
            "learning rate",
            f"{plan.learning_rate:g} after {plan.warmup_steps} steps, cosine to {plan.final_learning_rate:g}",
        ),
        (
            "AdamW",
            f"betas 0.9 0.95, weight decay {plan.weight_decay:g} on matrices, "
            f"gradient norm at most {plan.gradient_clip:g}",
        ),
        ("dropout", f"{model.dropout:g}"),
        ("precision", f"{plan.precision} products, fp32 weights"),
        ("ZeRO stage", str(plan.zero_stage)),
        ("recomputation", _recomputation(plan)),
        ("compilation", _compilation(plan)),
        *([("attention", "within documents only")] if model.document_separator is not None else []),
        ("seed", str(plan.seed)),
        ("evaluation", f"every {plan.evaluate_every:,} steps" if plan.evaluate_every else "none"),
        ("checkpoint", f"every {plan.checkpoint_every:,} steps, the last {plan.keep_checkpoints} kept"),
        ("output", plan.output),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _compilation(plan: TrainingPlan) -> str:
    if plan.compile:
        return "the blocks and the loss, during the first step"
    return "none (ZeRO-3 gathers weights as blocks are called)" if plan.zero_stage == 3 else "none"


def _recomputation(plan: TrainingPlan) -> str:
    if plan.recompute == "none" or plan.recompute_every == 1:
        return plan.recompute
    return f"{plan.recompute}, one block in {plan.recompute_every}"


class MetricsFile:
    """metrics.jsonl: one JSON object a line, steps (`loss`) and evaluations (`validation_loss`)."""

    def __init__(self, run: Path) -> None:
        self._path = run / "metrics.jsonl"

    def resume_after(self, step: int) -> None:
        """Drop what was written after `step`, so that a resumed run reads as if it had never stopped.

        With 0 the run begins anew, and its first evaluation goes as well.
        """
        kept = [record for record in self.read() if 0 < step >= record["step"]]
        write_text(str(self._path), "".join(json.dumps(record) + "\n" for record in kept))

    def append(self, record: Record) -> None:
        """Add one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read(self) -> list[Record]:
        """Return all records; a last line that was cut off in the middle does not count."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


class Progress:
    """What a person sees of the training: a bar on a terminal, and otherwise some twenty lines in all."""

    def __init__(self, *, first: int, steps: int, shown: bool) -> None:
        self._steps, self._shown = steps, shown
        self._bar = tqdm(
            initial=first,
            total=steps,
            unit="step",
            dynamic_ncols=True,
            disable=not (shown and sys.stderr.isatty()),
        )

    def step(self, record: Record) -> None:
        """Tell of one finished step."""
        figures = f"loss {record['loss']:.4f}, {record['tokens_per_second']:,.0f} tokens/s"
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update()
        if self._bar.disable and record["step"] % max(1, self._steps // 20) == 0:
            self.line(f"step {record['step']:>6,} of {self._steps:,}: {figures}")

    def line(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._shown:
            tqdm.write(text)
            sys.stdout.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.close()
