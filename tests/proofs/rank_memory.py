"""A rank that trains two steps in each of the layouts it is given, and prints what it held at most.

python tests/proofs/rank_memory.py '[{"zero_stage": 1, "micro_batch": 4, "precision": "fp32", …}, …]'
"""

import dataclasses
import json
import sys

import torch
from live_memory import LiveMemory

from trainer.config.model_config import ModelConfig
from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.distributed.deepspeed.engine import Engine
from trainer.distributed.ranks import Ranks, joined
from trainer.memory.estimate import predict
from trainer.memory.layout import Layout
from trainer.model.gpt2 import build

# Wide enough that a block's matrices are gathered at stage 3 (DeepSpeed keeps below 100,000 elements whole).
MODEL = ModelConfig(layers=4, heads=4, width=320, context=32, vocabulary=1000)
CPU = torch.device("cpu")


def plan_of(layout: Layout) -> TrainingPlan:
    """Return a plan of two micro-batches a step."""
    options = TrainingOptions(data="", output="", size="nano")
    plan = resolve(options, vocabulary=MODEL.vocabulary, world_size=layout.ranks, accelerator=False)
    same = {"zero_stage", "micro_batch", "precision", "optimizer", "recompute", "recompute_every"}
    values = {name: value for name, value in dataclasses.asdict(layout).items() if name in same}
    return dataclasses.replace(plan, model=MODEL, accumulation_steps=2, **values)


def peak_bytes(layout: Layout, ranks: Ranks) -> int:
    """Train two steps and return the most bytes in tensors during the second."""
    plan = plan_of(layout)
    model = build(MODEL, seed=0, recompute=plan.recompute, recompute_every=plan.recompute_every)
    batch = torch.zeros((plan.micro_batch, MODEL.context), dtype=torch.int64)
    targets = batch.numel() * plan.accumulation_steps * ranks.size
    with LiveMemory(counted=model.parameters()) as memory:
        engine = Engine(model, plan, ranks, CPU)
        # The first step makes the optimizer's moments, and needs no whole batch for that.
        for rows in (1, plan.micro_batch):
            memory.peak = memory.now
            batches = [(batch[:rows], batch[:rows])] * plan.accumulation_steps
            engine.step(
                batches, targets=targets, learning_rate=1e-3, stop=False, accept=lambda _loss, _norm: True
            )
    return memory.peak


def main() -> None:
    """Print, a JSON object a layout, what is predicted and what was there."""
    ranks = Ranks.from_environment()
    with joined(ranks, CPU):
        for values in json.loads(sys.argv[1]):
            layout = Layout(ranks=ranks.size, accelerator=False, **values)
            found = peak_bytes(layout, ranks)
            if ranks.rank == 0:
                print(json.dumps({"predicted": predict(MODEL, layout).allocated, "found": found}), flush=True)


if __name__ == "__main__":
    main()
