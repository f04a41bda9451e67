"""Tokens that Muon needs to reach AdamW's validation loss, each at the best of its own learning rates.

    python tests/benchmarks/bench_muon.py                    # some 15 minutes on two cores
    python tests/benchmarks/bench_muon.py --size nano --steps 600

Two corpora of the texts that the demonstration's web is made of, documentation that lies on this machine:
as many as the demonstration has pages, and four times as many. For both optimizers, rates twice and half as
high are tried until the best has a worse one on either side, with one seed. With another seed AdamW trains
once at its best rate, and Muon in runs of several lengths, each with its whole warm-up and decay: a shorter
run is not cut off before its rate has come down. How many tokens would have done is read off between two of
these runs, in a straight line.

The rate that is best beside Muon is a high one, and embeddings and positions, which AdamW updates in either
case, learn by it too. So there is a third contestant: AdamW for all, with embeddings and positions at that
rate and the rest at the best of its own. What Muon saves against that is due to Muon itself.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}

import numpy as np  # noqa: E402  # the settings come first
import torch  # noqa: E402

from launch.demo_site.documentation import texts  # noqa: E402
from tokenizer.bpe.encoder import Encoder  # noqa: E402
from tokenizer.bpe.merges import learn_merges  # noqa: E402
from tokenizer.bpe.pretokens import count_words  # noqa: E402
from tokenizer.bpe.vocabulary import Vocabulary  # noqa: E402
from trainer.config.options import Optimizer, TrainingOptions  # noqa: E402
from trainer.config.plan import TrainingPlan, resolve  # noqa: E402
from trainer.config.recipes import SIZES  # noqa: E402
from trainer.data.batches import TrainingData, ValidationData  # noqa: E402
from trainer.data.inputs import open_inputs  # noqa: E402
from trainer.data.loader import as_tensors, micro_batches  # noqa: E402
from trainer.distributed.deepspeed.engine import Engine  # noqa: E402
from trainer.distributed.muon import MuonWithAdamW  # noqa: E402
from trainer.distributed.ranks import Ranks, joined  # noqa: E402
from trainer.model.gpt2 import build  # noqa: E402
from trainer.training.schedule import learning_rate  # noqa: E402
from trainer.training.validation import validation_loss  # noqa: E402

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
CHOICE, REPORT = 1, 2  # seeds
LENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of AdamW's run
Train = Callable[..., float]


def main() -> None:
    """Print the validation losses, and at last the ratio of tokens, for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="micro")
    parser.add_argument("--texts", type=int, default=900, help="of the smaller corpus")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--vocabulary", type=int, default=2048)
    options = parser.parse_args()
    documents = ["\n\n".join(paragraphs) for _, paragraphs in itertools.islice(texts(), 4 * options.texts)]
    with tempfile.TemporaryDirectory() as folder, joined(ALONE, torch.device("cpu")):
        for name, times in (("demonstration", 1), ("larger", 4)):
            chosen = documents[: times * options.texts]
            data = write_shards(Path(folder, name), chosen, options.vocabulary)
            compare(name, data, options.size, options.steps)


def write_shards(folder: Path, documents: Sequence[str], size: int) -> Path:
    """Learn a vocabulary of the documents, and write one in twenty for validation, the others to train on."""
    encoded = [text.encode() for text in documents]
    table = count_words(encoded)
    counts = zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)
    vocabulary = Vocabulary(learn_merges(counts, size - 257).merges)
    encoder = Encoder(vocabulary)
    folder.mkdir()
    splits = {}
    order = np.random.default_rng(0).permutation(len(encoded))
    for split, numbers in (("train", order[len(order) // 20 :]), ("validation", order[: len(order) // 20])):
        parts = [[vocabulary.end_of_text, *encoder.encode(encoded[number])] for number in numbers]
        tokens = np.concatenate([np.array(part, "<u2") for part in parts])
        header = np.zeros(256, "<i4")
        header[:3] = 20240520, 1, len(tokens)
        content = header.tobytes() + tokens.tobytes()
        (folder / f"{split}.bin").write_bytes(content)
        about = {"documents": len(parts), "tokens": len(tokens), "characters": 0, "bytes": 0}
        shard = {"file": f"{split}.bin", "tokens": len(tokens), "documents": len(parts)}
        splits[split] = {**about, "shards": [{**shard, "sha256": hashlib.sha256(content).hexdigest()}]}
    known = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size}
    index = {"version": 2, "format": "llm.c", "token_type": "uint16", "seed": 0, "splits": splits}
    index["vocabulary"] = {**known, "end_of_text": vocabulary.end_of_text}
    (folder / "tokenizer.json").write_text(vocabulary.tokenizer_json)
    (folder / "shards.json").write_text(json.dumps(index))
    return folder


def compare(name: str, data: Path, size: str, steps: int) -> None:
    """Print how both optimizers do on some shards."""
    inputs = open_inputs(str(data))

    def train(
        optimizer: Optimizer, rate: float, *, seed: int, steps: int, embedding_rate: float | None = None
    ) -> float:
        options = TrainingOptions(
            data=str(data), size=size, optimizer=optimizer, learning_rate=rate, seed=seed, steps=steps,
            zero_stage=0, precision="fp32",
        )  # fmt: skip
        plan = resolve(
            options, vocabulary=inputs.shards.index.vocabulary.size, world_size=1, accelerator=False
        )
        return final_loss(plan, embedding_rate)

    tokens = len(inputs.shards.open("train"))
    print(f"{name}: {tokens:,} tokens to train on, {size}, {steps} steps", flush=True)
    best: dict[str, float] = {}
    for optimizer in ("adamw", "muon"):
        best[optimizer] = best_rate(train, optimizer, SIZES[size].learning_rate, steps)
    goal = train("adamw", best["adamw"], seed=REPORT, steps=steps)
    print(f"  adamw, rate {best['adamw']:.2e}, other seed: {goal:.4f}", flush=True)
    losses = {}
    for length in LENGTHS:
        losses[length] = train("muon", best["muon"], seed=REPORT, steps=round(length * steps))
        print(
            f"  muon, rate {best['muon']:.2e}, {length:.0%} of the tokens: {losses[length]:.4f}", flush=True
        )
    print_best("adamw", goal, losses)
    control = partial(train, embedding_rate=best["muon"])
    print(f"  adamw with embeddings at {best['muon']:.2e}, the rest at its own rate:", flush=True)
    own = best_rate(control, "muon", SIZES[size].learning_rate, steps, printed="adamw")
    goal = control("muon", own, seed=REPORT, steps=steps)
    print_best(f"adamw with embeddings at {best['muon']:.2e}, the rest at {own:.2e}", goal, losses)


def print_best(name: str, goal: float, losses: dict[float, float]) -> None:
    """Print how many tokens Muon takes to a loss."""
    share = share_to_reach(goal, losses)
    if share is None:
        tokens = f"more than {max(LENGTHS):.0%} of its tokens"
    else:
        tokens = f"{'at most ' if share == min(LENGTHS) else ''}{share:.0%} of its tokens"
    print(f"  {name}: {goal:.4f}, which muon reaches with {tokens}", flush=True)


def best_rate(train: Train, optimizer: str, middle: float, steps: int, printed: str | None = None) -> float:
    """Return the rate with the lowest loss, once there is a worse one on either side of it."""
    losses: dict[int, float] = {}
    best = 0
    while untried := [power for power in (best, best + 1, best - 1) if power not in losses]:
        rate, started = middle * 2.0 ** untried[0], time.perf_counter()
        losses[untried[0]] = train(optimizer, rate, seed=CHOICE, steps=steps)
        seconds = time.perf_counter() - started
        print(
            f"  {printed or optimizer}, rate {rate:.2e}: {losses[untried[0]]:.4f} ({seconds:.0f} s)",
            flush=True,
        )
        best = min(losses, key=losses.__getitem__)
    return middle * 2.0**best


def share_to_reach(goal: float, losses: dict[float, float]) -> float | None:
    """Return the length that would just reach the goal: between the first that does and the one before."""
    lengths = sorted(losses)
    reached = [length for length in lengths if losses[length] <= goal]
    if not reached or reached[0] == lengths[0]:
        return reached[0] if reached else None
    after = reached[0]
    before = lengths[lengths.index(after) - 1]
    return before + (after - before) * (losses[before] - goal) / (losses[before] - losses[after])


def final_loss(plan: TrainingPlan, embedding_rate: float | None) -> float:
    """Train as the command does, and return the validation loss after the last step.

    With a peak rate for embeddings and positions, AdamW updates all, the rest at the plan's rate.
    """
    inputs = open_inputs(plan.data)
    shape = {"context": plan.model.context, "vocabulary": plan.model.vocabulary}
    data = TrainingData(inputs.shards.open("train"), **shape, seed=plan.seed)
    held_out = ValidationData(inputs.shards.open("validation"), **shape, most_tokens=40_000)
    engine = Engine(build(plan.model, seed=plan.seed), plan, ALONE, torch.device("cpu"))
    if embedding_rate is not None:
        leave_to_adamw(engine._optimizer, times=embedding_rate / plan.learning_rate)
    for step in range(plan.steps):
        rate = learning_rate(
            step, schedule="cosine", peak=plan.learning_rate, final=plan.final_learning_rate,
            warmup_steps=plan.warmup_steps, decay_steps=plan.decay_steps, steps=plan.steps,
        )  # fmt: skip
        batches = [as_tensors(part, engine.device) for part in micro_batches(data, plan, rank=0, step=step)]
        targets = data.targets(step * plan.sequences_per_step, plan.sequences_per_step)
        engine.step(
            batches, targets=targets, learning_rate=rate, stop=False, accept=lambda _loss, _norm: True
        )
    return validation_loss(engine, held_out, micro_batch=plan.micro_batch)


def leave_to_adamw(optimizer: MuonWithAdamW, *, times: float) -> None:
    """Have AdamW do Muon's work, and embeddings and positions learn at so many times the others' rate."""
    embeddings, _, matrices = optimizer.param_groups
    matrices["muon"] = False
    for parameter in matrices["params"]:
        del optimizer.state[parameter]  # which AdamW makes anew

    def set_rate(*_: object) -> None:
        embeddings["lr"] = times * matrices["lr"]

    optimizer.register_step_pre_hook(set_rate)


if __name__ == "__main__":
    main()
