import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.shards.folder import TokenStream
from trainer.config.model_config import IGNORED, ModelConfig
from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.data.batches import TrainingData
from trainer.data.loader import Loader, StepBatches

CONTEXT = 8
CPU = torch.device("cpu")
MODEL = ModelConfig(layers=1, heads=1, width=8, context=CONTEXT, vocabulary=5000)


def plan(*, ranks: int, sequences: int = 12, micro_batch: int | None = None, steps: int = 5) -> TrainingPlan:
    options = TrainingOptions(
        data="", init_from="x", steps=steps, global_batch_tokens=sequences * CONTEXT, micro_batch=micro_batch
    )
    return resolve(options, vocabulary=5000, world_size=ranks, accelerator=False, initial_model=MODEL)


def data(tokens: int = 500) -> TrainingData:
    return TrainingData(TokenStream([np.arange(tokens)]), context=CONTEXT, vocabulary=5000, seed=3)


def load(
    plan: TrainingPlan, *, rank: int = 0, first_step: int = 0, check_data=lambda: None
) -> list[StepBatches]:
    """All steps' batches of a rank."""
    loader = Loader(data(), plan, rank=rank, first_step=first_step, device=CPU, check_data=check_data)
    with loader:
        steps = [loader.step() for _ in range(first_step, plan.steps)]
    assert loader.error is None
    return steps


def targets(steps: list[StepBatches]) -> list[list[int]]:
    """The targets of each step, in order."""
    found = []
    for step in steps:
        tokens = torch.cat([batch[1].flatten() for batch in step.batches])
        found.append(tokens[tokens != IGNORED].tolist())
    return found


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(1, 5), st.none() | st.integers(1, 7))
def test_the_ranks_together_have_the_same_targets_in_each_step_whatever_their_number(
    sequences, ranks, micro_batch
):
    ranks = min(ranks, sequences)
    alone = targets(load(plan(ranks=1, sequences=sequences)))
    shared = plan(ranks=ranks, sequences=sequences, micro_batch=micro_batch)
    parts = [load(shared, rank=rank) for rank in range(ranks)]
    for step in range(shared.steps):
        together = [token for part in parts for token in targets(part)[step]]
        assert sorted(together) == sorted(alone[step])
        for part in parts:
            assert part[step].targets == len(together)
            assert len(part[step].batches) == shared.accumulation_steps
            assert all(batch[0].shape == (shared.micro_batch, CONTEXT) for batch in part[step].batches)


def test_a_loader_goes_on_from_any_step():
    whole = targets(load(plan(ranks=2), rank=1))
    for step in range(6):
        assert targets(load(plan(ranks=2), rank=1, first_step=step)) == whole[step:]


def test_the_thread_ends_with_the_loader_however_little_was_taken():
    for taken in (0, 1, 3):
        with Loader(
            data(), plan(ranks=1, steps=10**6), rank=0, first_step=0, device=CPU, check_data=lambda: None
        ) as loader:
            for _ in range(taken):
                loader.step()
        assert not [thread for thread in threading.enumerate() if thread.name == "loader"]


def test_an_error_in_reading_comes_out_in_its_step_with_empty_batches():
    """Since the other ranks wait for this one in the middle of the step."""
    seen: list[None] = []

    def check_data() -> None:
        seen.append(None)
        if len(seen) == 3:
            raise ValueError("train.bin has been removed")

    loader = Loader(data(), plan(ranks=1), rank=0, first_step=0, device=CPU, check_data=check_data)
    with loader:
        whole = [loader.step(), loader.step()]
        assert loader.error is None
        broken = [loader.step(), loader.step()]
    assert loader.error == "train.bin has been removed"
    assert targets(whole) == targets(load(plan(ranks=1)))[:2]
    for step in broken:
        assert len(step.batches) == len(whole[0].batches)
        assert all((batch[1] == IGNORED).all() for batch in step.batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
def test_batches_for_a_gpu_are_pinned():
    loader = Loader(
        data(), plan(ranks=1), rank=0, first_step=0, device=torch.device("cuda", 0), check_data=lambda: None
    )
    with loader:
        assert all(tensor.is_pinned() for batch in loader.step().batches for tensor in batch)
