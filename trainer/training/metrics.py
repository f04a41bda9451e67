"""A run's metrics file, one line per step."""

import json
import math
from pathlib import Path
from typing import Any

from pipeline.runner.storage import write_text

Record = dict[str, Any]


class MetricsFile:
    """metrics.jsonl: one JSON object per line, for steps (`loss`) and evaluations (`validation_loss`)."""

    def __init__(self, run: Path) -> None:
        self._path = run / "metrics.jsonl"

    def resume_after(self, step: int) -> None:
        """Drop what was written after `step`, so that a resumed run reads as if it had never stopped.

        With 0 the run starts over, and its first evaluation is dropped as well.
        """
        kept = [record for record in self.read() if 0 < step >= record["step"]]
        write_text(str(self._path), "".join(json.dumps(record) + "\n" for record in kept))

    def append(self, record: Record) -> None:
        """Add one line. NaN and Inf, which JSON does not have, become null."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")

    def read(self) -> list[Record]:
        """Return all records, without a truncated last line."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
