"""Reads a run's files back: what it has done so far."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.runner.json_text import parse_json
from trainer.report.charts import Point
from trainer.report.metrics import Record, metrics_file, samples_file

RECENT = 50  # steps, for what is to be said of the present speed
# What every record of a kind has, and of which type: null is what was NaN or Inf.
EVALUATION = {"step": int, "validation_loss": float | int | None}
SAMPLE = {"step": int, "prompt": str, "text": str}
STEP = {
    **dict.fromkeys(("step", "tokens", "skipped", "spikes", "memory_bytes"), int),
    **dict.fromkeys(("seconds", "tokens_per_second"), float | int),
    **dict.fromkeys(("loss", "gradient_norm", "learning_rate", "mfu"), float | int | None),
    "applied": bool,
}


@dataclass(frozen=True)
class RunHistory:
    """A run's plan, figures and texts. Nothing in it needs torch."""

    folder: Path
    plan: dict[str, Any]
    environment: dict[str, Any]
    """What it runs on; empty for runs of version 0.1."""
    steps: list[Record]
    evaluations: list[Record]
    samples: list[Record]

    @classmethod
    def read(cls, folder: Path) -> "RunHistory":
        """Read a run's folder.

        Raises:
            ValueError: it holds no run, or a damaged one.
        """
        options = folder / "options.json"
        if not options.is_file():
            raise ValueError(f"{folder} is not a training run: there is no options.json")
        try:
            content = parse_json(options.read_text(encoding="utf-8"))
            plan, records = dict(content["plan"]), metrics_file(folder).read()
            if type(plan["steps"]) is not int or plan["steps"] < 1:
                raise ValueError(f"steps {plan['steps']!r}")
            return cls(
                folder=folder,
                plan=plan,
                environment=dict(content.get("environment", {})),
                steps=_checked([r for r in records if "tokens_per_second" in r], STEP),
                evaluations=_checked([r for r in records if "validation_loss" in r], EVALUATION),
                samples=_checked(samples_file(folder).read(), SAMPLE),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{folder} holds a damaged file of a run: {error}") from error

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def last_step(self) -> int:
        """The step that the run ends with."""
        return int(self.plan["steps"])

    @property
    def step(self) -> int:
        """The last step that was taken."""
        return int(self.steps[-1]["step"]) if self.steps else 0

    def points(self, name: str) -> list[Point]:
        """Return a figure over the steps, without what was NaN or Inf or unknown."""
        records = self.evaluations if name.startswith("validation_") else self.steps
        return [(r["step"], float(r[name])) for r in records if isinstance(r.get(name), int | float)]

    @cached_property
    def tokens_per_second(self) -> float:
        """The median of the last steps."""
        return float(statistics.median([r["tokens_per_second"] for r in self.steps[-RECENT:]] or [0.0]))

    @property
    def seconds_left(self) -> float | None:
        """What the remaining steps will take at the present speed; None before the first."""
        if not self.steps:
            return None
        seconds = statistics.median(record["seconds"] for record in self.steps[-RECENT:])
        return float((self.last_step - self.step) * seconds)

    @property
    def anomalies(self) -> list[tuple[str, int, str]]:
        """Kind, step and description of every spike and of every update that was not applied."""
        found, spikes = [], 0
        for record in self.steps:
            if record["applied"] is False:
                found.append(("skipped", record["step"], f"step {record['step']:,}: update skipped"))
            elif record["spikes"] > spikes:
                found.append(("spike", record["step"], f"step {record['step']:,}: spike"))
            spikes = record["spikes"]
        return found


def _checked(records: list[Record], fields: Mapping[str, Any]) -> list[Record]:
    for number, record in enumerate(records):
        for name, kind in fields.items():
            if not isinstance(record[name], kind):
                raise ValueError(f"record {number} has {name} {record[name]!r}")
    return records
