"""Time of saving a checkpoint by several ranks, with files written while the next are gathered, and without.

    python tests/benchmarks/bench_checkpoint.py --size small --ranks 2
    python tests/benchmarks/bench_checkpoint.py --size small --ranks 2 --disk 200

The ranks are processes of this machine (gloo), at ZeRO stage 2. Without overlap each waits for its file
before the ranks gather the next. --disk makes each file take as long as a disk of so many MB/s a rank.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

VOCABULARY = 50_257


def main() -> None:
    """Start the ranks, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="small")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disk", type=float, default=0.0, help="MB/s; 0: this machine's own")
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        started = [
            processes.Process(target=save, args=(rank, folder, options)) for rank in range(options.ranks)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()


def save(rank: int, folder: str, options: argparse.Namespace) -> None:
    """Save the same checkpoint again and again, both ways in turn (in each rank)."""
    size = str(options.ranks)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_SIZE": size}
    os.environ |= {"DS_ACCELERATOR": "cpu", "CROSS_SIZE": "1", "TMPDIR": folder}
    tempfile.tempdir = folder
    import torch

    from trainer.checkpoint import tensor_writer
    from trainer.config.options import TrainingOptions
    from trainer.config.plan import resolve
    from trainer.distributed.deepspeed.engine import Engine
    from trainer.distributed.ranks import Ranks, joined
    from trainer.model.gpt2 import build

    write_file = tensor_writer.write_file

    def slowly(path: Path, content: bytes) -> Any:
        started = time.perf_counter()
        record = write_file(path, content)
        if options.disk:
            time.sleep(max(0.0, len(content) / options.disk / 1e6 - (time.perf_counter() - started)))
        return record

    tensor_writer.write_file = slowly
    write = tensor_writer.TensorWriter.write

    def write_and_wait(self: Any, path: Path, tensors: Any) -> None:
        write(self, path, tensors)
        self.finish()

    given = TrainingOptions(data="", size=options.size, zero_stage=2, precision="fp32")
    plan = resolve(given, vocabulary=VOCABULARY, world_size=options.ranks, accelerator=False)
    ranks, times = Ranks.from_environment(), dict[str, list[float]]()
    with joined(ranks, torch.device("cpu")):
        engine = Engine(build(plan.model, seed=0), plan, ranks, torch.device("cpu"))
        for _ in range(options.rounds):
            for name, way in (("one after the other", write_and_wait), ("while gathering", write)):
                tensor_writer.TensorWriter.write = way  # type: ignore[method-assign]
                torch.distributed.barrier()
                started = time.perf_counter()
                records = engine.save(Path(folder))
                times.setdefault(name, []).append(time.perf_counter() - started)
    if rank == 0:
        content = sum(record.size_bytes for record in records.values())
        before, after = (
            statistics.median(times[name]) for name in ("one after the other", "while gathering")
        )
        print(
            f"GPT-2 {options.size}, {content / 1e6:,.0f} MB in {len(records)} files, {size} ranks: "
            f"{before:.2f} s one after the other, {after:.2f} s while gathering: {after / before:.2f}"
        )


if __name__ == "__main__":
    main()
