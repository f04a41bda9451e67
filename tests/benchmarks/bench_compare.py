"""Comparing two corpora: how fast each stage is, and its memory with four times the documents.

    python tests/benchmarks/bench_compare.py [--documents 10000] [--word-memory 8]

Made texts of some 600 words, every one with two words of its own, at addresses of a domain for every three
documents; two fifths of one corpus are in the other. Each task's work runs in a process of its own, without
Ray. Told: MB of text for a second of CPU time, and the most memory of one task (the peak of its resident
set, by the kernel's count, with what it maps from disk). `--word-memory` is how many MiB of counts are held
before they go to disk: 128 in a real run, less here, so that what outgrows it is measured too.
"""

import argparse
import json
import os
import random
import re
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compare import comparison
from pipeline.compare.comparison import Comparer
from pipeline.compare.sides import open_side
from pipeline.compare.survey import Columns, SurveyOptions
from pipeline.runner import sums
from pipeline.runner.executor import _checksums
from pipeline.runner.stages import Counts, InputFile, Partition, Stage, StageOutput, Task
from pipeline.sources.options import Reading

TIMES = 4
SHARED = 0.4
FILES = 2
SCHEMA = pa.schema([("text", pa.string()), ("url", pa.string()), ("date", pa.string())])


@dataclass
class Cost:
    """What the tasks of a stage took."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


def documents(numbers: range) -> Iterator[dict[str, str]]:
    """Documents by their numbers: the same number is the same document."""
    chance = random.Random(0)
    words = [
        "".join(chance.choices("etaoinshrdlucmfwypvbgk", k=chance.randrange(2, 11))) for _ in range(30_000)
    ]
    total = 0.0
    weights = [total := total + 1 / (rank + 10) for rank in range(len(words))]
    for number in numbers:
        own = random.Random(number)
        text = own.choices(words, cum_weights=weights, k=own.randrange(200, 1_000))
        text += [f"own{number}", f"other{number}"]
        url = f"http://site-{number // 3}.org/{number}"
        yield {"text": " ".join(text), "url": url, "date": f"{2005 + number % 13}-05-06"}


def write(folder: Path, numbers: range) -> int:
    """Write a corpus; return the bytes of its texts."""
    folder.mkdir(parents=True)
    size_bytes = 0
    for file in range(FILES):
        with pq.ParquetWriter(folder / f"{file}.parquet", SCHEMA, compression="zstd") as writer:
            mine = numbers[file * len(numbers) // FILES : (file + 1) * len(numbers) // FILES]
            for start in range(0, len(mine), 1_000):
                rows = list(documents(mine[start : start + 1_000]))
                size_bytes += sum(len(row["text"]) for row in rows)
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return size_bytes


def compare(documents_: int, folder: Path) -> tuple[dict[str, Cost], int]:
    """Compare two corpora of so many documents; return each stage's cost, and the bytes of all texts."""
    apart = int(documents_ * (1 - SHARED))
    sizes = [write(folder / "a", range(documents_)), write(folder / "b", range(apart, apart + documents_))]
    costs: dict[str, Cost] = {}

    def run(
        stage: Stage, inputs: Mapping[str, Sequence[InputFile]], root: str, *, workers: Any
    ) -> StageOutput:
        cost = costs.setdefault(stage.name, Cost())
        partitions = [_in_child(stage, name, files, Path(root), cost) for name, files in inputs.items()]
        return StageOutput(
            stage=stage.name, partitions=partitions, reused=0, seconds=0.0, task_seconds=0.0, bytes_read=0
        )

    comparison.run_stage = run  # type: ignore[assignment]
    sides = [open_side(str(folder / name), "text", str(folder / "out")) for name in "ab"]
    columns = Columns()
    options = SurveyOptions(reading=Reading(columns=columns.names), columns=columns)
    found = Comparer(sides, options, str(folder / "out")).compare()
    assert found.contained is not None and found.words is not None
    shared = documents_ - apart
    assert [side.matched for side in found.contained] == [shared, shared], found.contained
    return costs, sum(sizes)


def _in_child(stage: Stage, name: str, files: Sequence[InputFile], root: Path, cost: Cost) -> Partition:
    """Do a task's work in a forked process, and add what it took."""
    folder = root / stage.name / name
    folder.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = time.process_time()
        notes: dict[str, Any] = {}
        task = Task(name, [file.address for file in files], folder, stage.options, lambda *_: None, notes, "")
        counts = stage.work(task)
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
        told = [counts.read, counts.kept, dict(counts.dropped), notes, time.process_time() - before, peak]
        (root / f"{stage.name}-{name}.json").write_text(json.dumps(told))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{stage.name} {name} failed"
    read, kept, dropped, notes, seconds, peak = json.loads((root / f"{stage.name}-{name}.json").read_text())
    cost.cpu_seconds += seconds
    cost.peak_bytes = max(cost.peak_bytes, peak)
    return Partition(
        name=name,
        address=str(folder),
        files=_checksums(folder),
        counts=Counts(read, kept, dropped),
        notes=notes,
        bytes_read=0,
        seconds=seconds,
    )


def main() -> None:
    """Compare small and large corpora, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument(
        "--word-memory", type=int, default=8, help="MiB of counts held before they go to disk"
    )
    options = parser.parse_args()
    sums.BYTES_IN_MEMORY = options.word_memory * 2**20
    few, many = options.documents, TIMES * options.documents
    found = []
    for number in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            found.append(compare(number, Path(folder)))
    size_bytes = found[1][1]
    print(
        f"two corpora of {few:,} and of {many:,} documents; the larger ones have {size_bytes / 1e6:,.0f} MB"
    )
    heads = f"{'CPU s':>8}{'MB/s':>8}{f'peak at {few:,}':>18}{f'at {many:,}':>14}{'ratio':>8}"
    print(f"{'stage':<12}{heads}")
    for name, cost in found[1][0].items():
        before = found[0][0][name].peak_bytes
        rate = size_bytes / 1e6 / max(cost.cpu_seconds, 1e-9)
        peaks = f"{before / 1e6:>15,.0f} MB{cost.peak_bytes / 1e6:>11,.0f} MB{cost.peak_bytes / before:>8.2f}"
        print(f"{name:<12}{cost.cpu_seconds:>8.1f}{rate:>8,.0f}{peaks}")
    total = sum(cost.cpu_seconds for cost in found[1][0].values())
    print(f"{'all':<12}{total:>8.1f}{size_bytes / 1e6 / total:>8,.1f}   {2 * many / total:,.0f} documents/s")
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
