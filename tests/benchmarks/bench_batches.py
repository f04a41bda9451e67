"""The data loader alone: tokens a second of one core, from shards mapped into memory to tensors.

    python tests/benchmarks/bench_batches.py [--tokens 200_000_000] [--gpu 500_000]

Writes a shard of random tokens, then reads it in the training's order: random windows of 1,024 tokens,
checked against the vocabulary, as int64 tensors. Once called straight, in CPU seconds; and once through
the loader's thread, in seconds by the clock, beside a thread that does the same with nothing else to do.
The aim: 100 times what a GPU eats.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tokenizer.shards import formats
from tokenizer.shards.folder import TokenStream
from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.data.batches import TrainingData
from trainer.data.loader import Loader, as_tensors, micro_batches

VOCABULARY = 50_257
CPU = torch.device("cpu")
STEPS = 20
ROUNDS = 5


def write_shard(path: Path, tokens: int) -> None:
    """Write a shard of llm.c's format, of random tokens."""
    chance = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(formats.header("llm.c", tokens, "uint16"))
        for first in range(0, tokens, 2**24):
            count = min(2**24, tokens - first)
            file.write(chance.integers(0, VOCABULARY, count, dtype=np.uint16).tobytes())


def direct(data: TrainingData, plan: TrainingPlan) -> float:
    """Return tokens a CPU second, called straight."""
    started = time.process_time()
    for step in range(plan.steps):
        for batch in micro_batches(data, plan, rank=0, step=step):
            as_tensors(batch, CPU)
    return plan.steps * plan.tokens_per_step / (time.process_time() - started)


def threaded(data: TrainingData, plan: TrainingPlan) -> float:
    """Return tokens a second by the clock, through the loader."""
    started = time.perf_counter()
    with Loader(data, plan, rank=0, first_step=0, device=CPU, check_data=lambda: None) as loader:
        for _ in range(plan.steps):
            loader.step()
    assert loader.error is None
    return plan.steps * plan.tokens_per_step / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=200_000_000, help="in the shard")
    parser.add_argument("--gpu", type=int, default=500_000, help="tokens a second that a GPU eats")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train_000000.bin"
        write_shard(path, options.tokens)
        stream = TokenStream([formats.open_tokens(path, "llm.c", "uint16")])
        data = TrainingData(stream, context=1024, vocabulary=VOCABULARY, seed=0)
        chosen = TrainingOptions(data=folder, size="small", steps=STEPS)
        plan = resolve(chosen, vocabulary=VOCABULARY, world_size=1, accelerator=True)
        for name, measure in (("straight, a CPU second", direct), ("by the loader, a second", threaded)):
            speed = statistics.median(measure(data, plan) for _ in range(ROUNDS))
            ratio = speed / options.gpu
            print(f"{name:<24} {speed:>13,.0f} tokens, {ratio:.0f} times {options.gpu:,}", flush=True)


if __name__ == "__main__":
    main()
