"""What an engine does in a process of its own: how often it waits, and what it does to PyTorch."""

from pathlib import Path

import pytest
from rank_processes import rank_processes

PRINT_TO = """
import os, sys
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
sys.stdout = open(printed, "w")
"""
BEGIN = """
import dataclasses, sys
import torch
from trainer.config.options import TrainingOptions
from trainer.config.plan import resolve
from trainer.distributed.deepspeed.engine import Engine
from trainer.model.gpt2 import build
from trainer.distributed.ranks import Ranks, joined
ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
CPU = torch.device("cpu")
def engine_of(stage, **changes):
    options = TrainingOptions(data="", output="", size="micro", zero_stage=stage, micro_batch=2, **changes)
    plan = resolve(options, vocabulary=500, world_size=1, accelerator=False)
    plan = dataclasses.replace(plan, accumulation_steps=4, sequences_per_step=8)
    return Engine(build(plan.model, seed=0), plan, ALONE, CPU), plan
"""
COUNT = """
with joined(ALONE, CPU):
    engine, plan = engine_of(stage)
    from deepspeed.accelerator import get_accelerator
    waits = []
    def counted(name, act):
        def call(*arguments, **options):
            waits.append(name)
            return act(*arguments, **options)
        return call
    get_accelerator().synchronize = counted("synchronize", lambda *_: None)
    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
    tokens = torch.zeros(2, plan.model.context, dtype=torch.int64)
    def batches():
        for number in range(4):
            before.append(len(waits))
            yield tokens, tokens
    for step in range(5):  # some begin at the third
        waits.clear()
        before = []
        engine.step(batches(), targets=plan.tokens_per_step, learning_rate=1e-3, stop=False,
                    accept=lambda *_: True)
    # Each micro-batch counts its targets, on the CPU; nothing else is asked of the device before the last.
    between = waits[before[0]:before[3]]
    print(sorted(set(between)), len(between), len(waits))
"""
REPLACED = """
with joined(ALONE, CPU):
    plain = torch.nn.functional.linear
    engine_of(3)
    assert torch.nn.functional.linear is not plain  # what DeepSpeed does; if not, the guard can go
    engine_of(1)
    try:
        engine_of(1, compile="on")
    except ValueError as error:
        print(error)
"""


def run(code: str, folder: Path, **names: object) -> str:
    printed = folder / "printed.txt"
    whole = PRINT_TO + BEGIN + code + "sys.stdout.flush()"
    process = rank_processes().Process(target=exec, args=(whole, {"printed": str(printed), **names}))
    process.start()
    process.join()
    assert process.exitcode == 0
    return printed.read_text().strip()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_between_micro_batches_nothing_is_asked_of_the_device(stage, tmp_path):
    kinds, between, _ = run(COUNT, tmp_path, stage=stage).rsplit(" ", 2)
    assert (kinds, between) == ("['__int__']", "3")


def test_a_compiled_model_is_refused_where_stage_3_has_replaced_linear(tmp_path):
    assert run(REPLACED, tmp_path).endswith("train it in its own process")
