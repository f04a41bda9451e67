import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_runs import BATCH, CONTEXT, VOCABULARY, Job, Report, train_on_ranks

from trainer.checkpoint.folder import read_tensors
from trainer.config.model_config import ModelConfig
from trainer.model.gpt2 import build

pytestmark = pytest.mark.timeout(300)  # the first test waits for what the others share

# Every ZeRO stage, and every stage with what it can leave in the machine's memory; every way to recompute.
LAYOUTS = {
    "0": {"zero_stage": 0, "recompute": "selective"},
    "1": {"zero_stage": 1, "recompute": "block"},
    "2": {"zero_stage": 2, "recompute": "offload"},
    "3": {"zero_stage": 3},
    "1 offload": {"zero_stage": 1, "offload_optimizer": True},
    "2 offload": {"zero_stage": 2, "offload_optimizer": True},
    "3 offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}
STEPS, STOP = 6, 3  # of which POISONED and REFUSED change nothing
POISONED, REFUSED = 1, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def reports(folder) -> dict[str, dict[str, tuple[Report, ...]]]:
    """For each layout: a run in one go, the same up to a stop, and from there on, by two ranks."""
    jobs, names = [], []
    for name, layout in LAYOUTS.items():
        # A NaN on one rank, and an infinity on the other.
        poison = (1, POISONED, math.nan) if layout["zero_stage"] % 2 else (0, POISONED, math.inf)
        common = {**layout, "poison": poison, "refused": (REFUSED,), "clip": 0.5}
        place = str(folder / name)
        jobs += [
            Job(**common, steps=STEPS, save=f"{place} whole"),
            Job(**common, steps=STOP, save=place),
            Job(**common, first=STOP, updates=STOP - 1, steps=STEPS, resume=place, altered=1),
        ]
        names += [(name, "whole"), (name, "begun"), (name, "resumed")]
    done = train_on_ranks(jobs, ranks=2)
    found: dict[str, dict[str, tuple[Report, ...]]] = {name: {} for name in LAYOUTS}
    for (name, part), ranks in zip(names, done, strict=True):
        found[name][part] = ranks
    return found


@pytest.fixture(params=LAYOUTS)
def layout(request, reports) -> dict[str, tuple[Report, ...]]:
    """The reports of each layout in turn."""
    return reports[request.param]


@pytest.fixture(scope="module")
def plain() -> tuple[list[float], list[float]]:
    """Losses and gradient norms of the same steps in a plain PyTorch loop: whole batches, no DeepSpeed."""
    shape = ModelConfig(layers=1, heads=2, width=32, context=CONTEXT, vocabulary=VOCABULARY)
    model = build(shape, seed=1)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))
    losses, norms = [], []
    for step in range(STEPS):
        tokens = torch.tensor(np.random.default_rng(step).integers(0, VOCABULARY, (BATCH, CONTEXT + 1)))
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)))
        losses.append(float(loss.detach()))
        if step not in (POISONED, REFUSED):
            optimizer.step()
    return losses, norms


def test_the_steps_are_those_of_a_plain_loop(layout, plain):
    losses, norms = plain
    report = layout["whole"][0]
    assert report.losses == pytest.approx(losses, rel=1e-5)
    norms[POISONED] = math.inf
    assert report.norms == pytest.approx(norms, rel=1e-4)
    assert max(norms[0], *norms[2:]) > 0.5  # so that there was something to clip


def test_an_update_that_is_refused_or_not_finite_changes_no_bit_on_any_rank(layout):
    for report in layout["whole"]:
        untouched = [before == after for before, after in pairwise(report.digests)]
        assert untouched == [step in (POISONED, REFUSED) for step in range(STEPS)]
        assert report.applied == [not same for same in untouched]
        assert report.updates == STEPS - 2


def test_all_ranks_are_asked_once_a_step_with_the_same_numbers_and_never_with_one_that_is_not_finite(layout):
    first, second = layout["whole"]
    assert first.asked == second.asked
    finite = [step for step in range(STEPS) if step != POISONED]
    assert first.asked == [(first.losses[step], first.norms[step]) for step in finite]
    assert first.norms[POISONED] == math.inf


def test_ranks_hold_the_same_model_after_every_step(layout):
    first, second = layout["whole"]
    assert first.digests == second.digests


def test_stopped_and_resumed_is_the_run_in_one_go_bit_for_bit(layout):
    for whole, begun, resumed in zip(layout["whole"], layout["begun"], layout["resumed"], strict=True):
        assert begun.losses + resumed.losses == whole.losses
        assert begun.norms + resumed.norms == whole.norms
        assert begun.digests == whole.digests[: STOP + 1]
        assert resumed.digests == whole.digests[STOP:]
        assert resumed.updates == whole.updates


def test_a_rank_whose_weights_have_changed_by_themselves_is_found_and_named_once(layout):
    for report in layout["whole"]:
        assert report.disagreement is None
    first, second = layout["resumed"]
    assert re.fullmatch(
        "the ranks disagree: ln_f.bias is [0-9a-f]{16} on rank 0, [0-9a-f]{16} on rank 1", first.disagreement
    )
    assert second.disagreement == "exit 0"


def test_the_first_weights_are_the_same_bits_at_every_stage(reports):
    assert len({layout["whole"][0].digests[0] for layout in reports.values()}) == 1


@pytest.mark.parametrize("name", [name for name in LAYOUTS if "offload" in name])
def test_work_left_to_the_cpu_gives_the_losses_of_the_same_stage_without(reports, name):
    with_offload, without = reports[name]["whole"][0], reports[name.split()[0]]["whole"][0]
    assert with_offload.losses == pytest.approx(without.losses, rel=1e-6)


def test_files_hold_the_model_by_its_own_names_and_shapes_whatever_the_stage(reports, folder):
    shape = ModelConfig(layers=1, heads=2, width=32, context=CONTEXT, vocabulary=VOCABULARY)
    expected = {name: p.shape for name, p in build(shape, seed=1).named_parameters()}
    for name in LAYOUTS:
        for kind in ("weights", "exp_avg", "exp_avg_sq"):
            found = read_tensors(Path(f"{folder / name} whole"), kind)
            assert {key: tensor.shape for key, tensor in found.items()} == expected
            assert all(tensor.dtype == torch.float32 for tensor in found.values())


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_run_goes_on_with_other_ranks_stages_and_micro_batches(reports, folder, ranks):
    jobs = [
        Job(first=STOP, updates=STOP - 1, steps=STEPS, resume=str(folder / saved), clip=0.5,
            refused=(REFUSED,), zero_stage=stage, micro_batch=BATCH // 2 // ranks)
        for saved, stage in [("3", 0), ("2", 3), ("0", 1), ("1 offload", 2)]
    ]  # fmt: skip
    expected = reports["0"]["whole"][0].losses[STOP:]
    for job, done in zip(jobs, train_on_ranks(jobs, ranks=ranks), strict=True):
        assert done[0].losses == pytest.approx(expected, rel=1e-5), job
