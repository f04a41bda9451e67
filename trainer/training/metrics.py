"""A run's figures, a line a step, for machines to read."""

import json
import math
from pathlib import Path
from typing import Any

from pipeline.runner.storage import write_text

Record = dict[str, Any]


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
        """Add one line. JSON knows no infinities: what is no number becomes null."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")

    def read(self) -> list[Record]:
        """Return all records; a last line that was cut off in the middle does not count."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
