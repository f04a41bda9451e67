"""Reads a run's files back: what it has done so far."""

import json
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.report.charts import Point
from trainer.report.metrics import Record, metrics_file, samples_file

RECENT = 50  # steps, for what is to be said of the present speed


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
            content = json.loads(options.read_text(encoding="utf-8"))
            records = metrics_file(folder).read()
            return cls(
                folder=folder,
                plan=dict(content["plan"]),
                environment=dict(content.get("environment", {})),
                steps=[record for record in records if "tokens_per_second" in record],
                evaluations=[record for record in records if "validation_loss" in record],
                samples=samples_file(folder).read(),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{folder}: its options.json or metrics.jsonl is damaged: {error!r}") from error

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
