"""A run's figures and samples of text: files of one JSON object per line."""

import json
import math
from pathlib import Path
from typing import Any

from pipeline.runner.json_text import parse_json
from pipeline.runner.storage import write_text

Record = dict[str, Any]


class RecordFile:
    """A file of records that each have a `step`.

    metrics.jsonl has steps (`loss`) and evaluations (`validation_loss`), samples.jsonl has texts that the
    model wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def resume_after(self, step: int) -> None:
        """Drop what was written after `step`, so that a resumed run reads as if it had never stopped.

        With 0 the run starts over, and what was written before its first step is dropped as well.
        """
        if self._path.exists():
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
        return [parse_json(line) for line in lines if line.endswith("\n")]


def metrics_file(run: Path) -> RecordFile:
    """Return the figures of the run in this folder."""
    return RecordFile(run / "metrics.jsonl")


def samples_file(run: Path) -> RecordFile:
    """Return the texts that the run in this folder has written."""
    return RecordFile(run / "samples.jsonl")
