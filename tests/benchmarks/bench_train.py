"""Speed of training beside transformers' Trainer and a plain PyTorch loop, on the same tokens and cores.

    python tests/benchmarks/bench_train.py                   # on a CPU; bench_gpu.py is for a GPU

Ours is the engine that the command uses, at ZeRO stage 0 on one rank. The plain loop has the same model, all
logits at once, and nothing around it. Each ratio is the median over interleaved rounds of their time by
ours: above 1, ours is faster. Then what each mode of recomputation costs, and the time to the first step.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/proofs")]
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402  # the settings come first
import torch  # noqa: E402
from live_memory import LiveMemory  # noqa: E402
from loss_curve import write_shards  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trainer.config.options import TrainingOptions  # noqa: E402
from trainer.config.plan import TrainingPlan, resolve  # noqa: E402
from trainer.data.loader import as_tensors  # noqa: E402
from trainer.distributed.deepspeed.engine import Engine  # noqa: E402
from trainer.distributed.ranks import Ranks, joined  # noqa: E402
from trainer.model.gpt2 import GPT2, build  # noqa: E402

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
Steps = Callable[[int], None]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--sequences", type=int, default=8, help="in a step, two micro-batches")
    parser.add_argument("--steps", type=int, default=8, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    plan = _plan(options.size, options.vocabulary, options.sequences)
    with joined(ALONE, torch.device("cpu")):
        compare_speed(plan, steps=options.steps, rounds=options.rounds)
        compare_modes(plan, rounds=options.rounds)
    compare_start()


def _plan(size: str, vocabulary: int, sequences: int) -> TrainingPlan:
    options = TrainingOptions(data="", output="", size=size, zero_stage=0, precision="fp32")
    plan = resolve(options, vocabulary=vocabulary, world_size=1, accelerator=False)
    micro_batch = sequences // 2
    return dataclasses.replace(
        plan, micro_batch=micro_batch, accumulation_steps=2, sequences_per_step=2 * micro_batch
    )


def _batches(plan: TrainingPlan) -> Iterator[Any]:
    """Yield random micro-batches [B, T + 1], the same to all."""
    generator = np.random.default_rng(0)
    while True:
        yield generator.integers(0, plan.model.vocabulary, (plan.micro_batch, plan.model.context + 1))


def compare_speed(plan: TrainingPlan, *, steps: int, rounds: int) -> None:
    """Print tokens a second of ours, and the ratios of theirs."""
    contestants: dict[str, Steps] = {"ours": _ours(plan), "plain loop": _plain_loop(plan)}
    try:
        contestants["transformers' Trainer"] = _trainer(plan)
    except ImportError as error:
        print(f"transformers' Trainer is left out: {error}")
    walls: dict[str, list[float]] = {name: [] for name in contestants}
    processors: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            run(steps)
            walls[name].append(time.perf_counter() - wall)
            processors[name].append(time.process_time() - processor)
    tokens = steps * plan.tokens_per_step
    model, threads = plan.model, torch.get_num_threads()
    print(
        f"GPT-2 {plan.size}, {model.vocabulary:,} entries, {threads} threads, "
        f"{plan.accumulation_steps} × {plan.micro_batch} × {model.context} tokens a step, "
        f"{rounds} rounds of {steps} steps:"
    )
    print(f"  {'ours':<24}{tokens / statistics.median(walls['ours'][1:]):>10,.0f} tokens/s")
    for name in list(contestants)[1:]:
        wall, processor = (_ratio(times[name], times["ours"]) for times in (walls, processors))
        print(f"  {name:<24}{wall:>10.3f} × our time, {processor:.3f} × our processor time")


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs[1:], ours[1:], strict=True))


def _ours(plan: TrainingPlan) -> Steps:
    model = build(plan.model, seed=0, recompute=plan.recompute, recompute_every=plan.recompute_every)
    engine, batches = Engine(model, plan, ALONE, torch.device("cpu")), _batches(plan)

    def run(steps: int) -> None:
        for _ in range(steps):
            share = itertools.islice(batches, plan.accumulation_steps)
            pairs = (as_tensors((batch[:, :-1], batch[:, 1:]), engine.device) for batch in share)
            targets = plan.tokens_per_step
            engine.step(
                pairs, targets=targets, learning_rate=1e-4, stop=False, accept=lambda _loss, _norm: True
            )

    return run


def _plain_loop(plan: TrainingPlan) -> Steps:
    model, batches = build(plan.model, seed=0), _batches(plan)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            for batch in itertools.islice(batches, plan.accumulation_steps):
                tokens = torch.from_numpy(batch)
                logits = model(tokens[:, :-1])
                loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
                (loss / plan.accumulation_steps).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return run


def _trainer(plan: TrainingPlan) -> Steps:
    """transformers' Trainer with its own GPT-2 and its defaults, but for what the others do too."""
    import accelerate  # noqa: F401  # without which there is no Trainer
    from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # by which it would train as many ranks do
        os.environ.pop(name)
    shape = plan.model
    config = GPT2Config(
        n_layer=shape.layers, n_head=shape.heads, n_embd=shape.width, n_positions=shape.context,
        vocab_size=shape.vocabulary, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model, batches = GPT2LMHeadModel(config), _batches(plan)

    def run(steps: int) -> None:
        rows = itertools.islice(batches, steps * plan.accumulation_steps)
        # Labels are moved on by one inside: a position less than ours.
        data = [{"input_ids": row[:-1], "labels": row[:-1]} for batch in rows for row in batch]
        arguments = TrainingArguments(
            output_dir=tempfile.gettempdir(), max_steps=steps, use_cpu=True, report_to="none",
            per_device_train_batch_size=plan.micro_batch, disable_tqdm=True, save_strategy="no",
            gradient_accumulation_steps=plan.accumulation_steps, logging_strategy="no", learning_rate=1e-4,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=data)  # type: ignore[arg-type]
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return run


def compare_modes(plan: TrainingPlan, *, rounds: int) -> None:
    """Print time and kept bytes of a forward and backward pass in each mode."""
    batch = torch.from_numpy(next(_batches(plan)))
    models = {}
    for mode, every in (("none", 1), ("selective", 1), ("block", 2), ("block", 1), ("offload", 1)):
        name = mode if every == 1 else f"{mode}, one in {every}"
        models[name] = build(plan.model, seed=0, recompute=mode, recompute_every=every)  # type: ignore[arg-type]
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            start = time.process_time()
            _loss(model, batch).backward()
            times[name].append(time.process_time() - start)
    print("recomputation, one micro-batch forward and back:")
    for name, model in models.items():
        with LiveMemory(ignored=model.parameters()) as memory:
            loss = _loss(model, batch)
            kept = memory.now / 2**20
        place = ", of which the blocks' inputs would lie in the CPU's memory" if name == "offload" else ""
        print(f"  {name:<24}{_ratio(times[name], times['none']):>10.3f} × time, {kept:8.1f} MiB kept{place}")
        loss.backward()


def _loss(model: GPT2, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = model(batch[:, :-1], batch[:, 1:], reduction="mean")
    return loss


def compare_start() -> None:
    """Print how long the command takes to its first step, beside what its libraries take to import."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder, "shards"), vocabulary=509, windows=200)
        line = f"--data {folder}/shards --size micro --steps 1 --evaluate-every 0 --output {folder}/run"
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "import torch, deepspeed": [sys.executable, "-c", "import torch, deepspeed"],
            "--help": [sys.executable, "launch/pretrain.py", "--help"],
            "one step, saved": [sys.executable, "launch/pretrain.py", *line.split()],
        }
        environment = {**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        print("start, in seconds (processor time):")
        for name, command in commands.items():
            before, start = os.times(), time.perf_counter()
            subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
            wall, after = time.perf_counter() - start, os.times()
            spent = (
                after.children_user + after.children_system - before.children_user - before.children_system
            )
            print(f"  {name:<24}{wall:>10.1f} ({spent:.1f})")


if __name__ == "__main__":
    main()
