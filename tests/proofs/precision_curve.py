"""What bf16 and float8 cost a loss curve, beside fp32 products and a residual stream in fp32.

    python tests/proofs/precision_curve.py

The same model, data and order on a CPU each time, and once more in another order, in which what the
precision changes must drown. float8 is emulated: numbers are rounded to it, and multiplied in bf16.
Prints the mean loss of each tenth of the run, and the largest difference between those means.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/proofs")]
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402  # the settings come first
from made_shards import write_shards  # noqa: E402

from trainer.config.options import TrainingOptions  # noqa: E402
from trainer.config.plan import TrainingPlan, resolve  # noqa: E402
from trainer.data.batches import TrainingData  # noqa: E402
from trainer.data.inputs import open_inputs  # noqa: E402
from trainer.data.loader import as_tensors, micro_batches  # noqa: E402
from trainer.distributed.deepspeed.engine import Engine  # noqa: E402
from trainer.distributed.ranks import Ranks, joined  # noqa: E402
from trainer.model.float8 import use_float8  # noqa: E402
from trainer.model.gpt2 import build  # noqa: E402

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
CPU = torch.device("cpu")
PARTS = 10


def main() -> None:
    """Compare the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, joined(ALONE, CPU):
        shards = write_shards(Path(folder, "shards"), train=300_000)
        found = curves(shards, options.steps)
    for name, curve in found.items():
        print(f"{name:<32}" + " ".join(f"{loss:.4f}" for loss in curve))
    for name, difference in differences(found).items():
        print(f"largest difference, {name}: {difference:.4f}")


def curves(shards: Path, steps: int, batch_tokens: int | None = None) -> dict[str, list[float]]:
    """Return the mean losses of each tenth of the runs."""
    run = partial(train, shards, steps, batch_tokens=batch_tokens)
    with mock.patch("trainer.model.gpt2.lower", lambda x: x):
        wide = run(precision="bf16", seed=1)
    return {
        "fp32": run(precision="fp32", seed=1),
        "bf16, residual stream in fp32": wide,
        "bf16": run(precision="bf16", seed=1),
        "float8 in the blocks": run(precision="bf16", seed=1, float8=True),
        "fp32, another order": run(precision="fp32", seed=1, order=2),
    }


def differences(found: dict[str, list[float]]) -> dict[str, float]:
    """Return how far apart the curves are at most."""

    def apart(one: str, other: str) -> float:
        return max(abs(a - b) for a, b in zip(found[one], found[other], strict=True))

    return {
        "of the residual stream": apart("bf16", "bf16, residual stream in fp32"),
        "of bf16": apart("bf16", "fp32"),
        "of float8": apart("float8 in the blocks", "fp32"),
        "of the order": apart("fp32", "fp32, another order"),
    }


def train(
    shards: Path,
    steps: int,
    *,
    precision: str,
    seed: int,
    order: int = 1,
    float8: bool = False,
    batch_tokens: int | None = None,
) -> list[float]:
    """Train micro, and return the mean loss of each tenth of the steps."""
    options = TrainingOptions(
        data=str(shards),
        output="",
        size="micro",
        steps=steps,
        global_batch_tokens=batch_tokens,
        precision=precision,  # type: ignore[arg-type]
    )
    inputs = open_inputs(str(shards))
    vocabulary = inputs.shards.index.vocabulary.size
    plan: TrainingPlan = resolve(options, vocabulary=vocabulary, world_size=1, accelerator=False)
    plan = dataclasses.replace(plan, seed=seed)
    stream = inputs.shards.open("train")
    data = TrainingData(stream, context=plan.model.context, vocabulary=vocabulary, seed=order)
    model = build(plan.model, seed=plan.seed)
    if float8:
        use_float8(model, emulate=True)
    engine = Engine(model, plan, ALONE, CPU)
    losses = []
    for step in range(steps):
        batches = [as_tensors(batch, CPU) for batch in micro_batches(data, plan, rank=0, step=step)]
        result = engine.step(
            batches, targets=plan.tokens_per_step, learning_rate=1e-3, stop=False, accept=lambda *_: True
        )
        losses.append(result.loss)
    size = steps // PARTS
    return [sum(losses[first : first + size]) / size for first in range(0, size * PARTS, size)]


if __name__ == "__main__":
    main()
