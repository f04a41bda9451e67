"""What each stage of a run did and what it cost, for people and for machines."""

from collections.abc import Sequence
from typing import Any

from pipeline.runner.stages import StageOutput

_ROW = "{:<14}{:>11}{:>8}{:>15}{:>15}{:>13}{:>10}{:>10}{:>9}"


def summary_table(outputs: Sequence[StageOutput]) -> str:
    """Return a table with a row a stage.

    Records are those of all partitions, `reused` ones too; times and MB/s are this run's. `seconds` passed
    by the clock, `task s` in all tasks together; MB/s are of bytes read (inputs as they lie on the disk, and
    pages) by seconds passed.
    """
    titles = ("stage", "partitions", "reused", "records in", "kept", "dropped", "seconds", "task s", "MB/s")
    rows = [_ROW.format(*titles)]
    for output in outputs:
        counts = output.counts
        records = (f"{number:,}" for number in (counts.read, counts.kept, counts.read - counts.kept))
        cost = ("", "", "")
        if output.seconds:
            rate = output.bytes_read / 1e6 / output.seconds
            cost = (f"{output.seconds:,.1f}", f"{output.task_seconds:,.1f}", f"{rate:,.2f}")
        rows.append(_ROW.format(output.stage, len(output.partitions), output.reused, *records, *cost))
    return "\n".join(rows)


def summary_json(outputs: Sequence[StageOutput]) -> list[dict[str, Any]]:
    """Return the table for machines, with the reasons of the drops."""
    return [
        {
            "stage": output.stage,
            "partitions": len(output.partitions),
            "reused": output.reused,
            "read": output.counts.read,
            "kept": output.counts.kept,
            "dropped": dict(output.counts.dropped),
            "bytes_read": output.bytes_read,
            "seconds": round(output.seconds, 3),
            "task_seconds": round(output.task_seconds, 3),
        }
        for output in outputs
    ]
