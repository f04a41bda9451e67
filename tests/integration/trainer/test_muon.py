import copy
import math
from itertools import chain, pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from rank_runs import BATCH, CONTEXT, VOCABULARY, Job, Report, train_on_ranks
from torch.optim._muon import _zeropower_via_newtonschulz

from trainer.checkpoint.folder import read_tensors
from trainer.config.model_config import ModelConfig
from trainer.distributed.muon import Matrix, MuonWithAdamW, matrix_names, orthogonal, turns
from trainer.model.gpt2 import GPT2, build

pytestmark = pytest.mark.timeout(300)  # the first test waits for what the others share

SHAPE = ModelConfig(layers=1, heads=2, width=32, context=CONTEXT, vocabulary=VOCABULARY)
LAYOUTS = {
    "0": {"zero_stage": 0},
    "1": {"zero_stage": 1},
    "2": {"zero_stage": 2, "recompute": "selective"},
    "3": {"zero_stage": 3, "recompute": "block"},
    "2 offload": {"zero_stage": 2, "offload_optimizer": True},
    "3 offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}
STEPS, STOP, REFUSED = 6, 3, 4
RATE, DECAY, CLIP = 1e-2, 0.1, 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("muon")


@pytest.fixture(scope="module")
def reports(folder) -> dict[str, dict[str, tuple[Report, ...]]]:
    """For each layout: a run in one go, the same up to a stop, and from there on, by two ranks."""
    jobs = []
    for name, layout in LAYOUTS.items():
        common, place = {**layout, "optimizer": "muon", "refused": (REFUSED,), "clip": CLIP}, folder / name
        jobs += [
            Job(**common, steps=STEPS, save=f"{place} whole"),
            Job(**common, steps=STOP, save=str(place)),
            Job(**common, first=STOP, updates=STOP, steps=STEPS, resume=str(place)),
        ]
    done = iter(train_on_ranks(jobs, ranks=2))
    return {name: {part: next(done) for part in ("whole", "begun", "resumed")} for name in LAYOUTS}


@pytest.fixture(params=LAYOUTS)
def layout(request, reports) -> dict[str, tuple[Report, ...]]:
    """The reports of each layout in turn."""
    return reports[request.param]


def batch(step: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(step).integers(0, VOCABULARY, (BATCH, CONTEXT + 1)))


def take_gradients(model: GPT2, step: int) -> float:
    tokens = batch(step)
    model.zero_grad()
    loss = model(tokens[:, :-1], tokens[:, 1:], reduction="mean")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    return float(loss.detach())


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """Jordan's iteration, written out in fp64."""
    if matrix.shape[0] > matrix.shape[1]:
        return newton_schulz(matrix.T).T
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


@pytest.fixture(scope="module")
def plain() -> list[float]:
    """Losses of the same steps in a plain loop: whole batches, Muon in NumPy, PyTorch's AdamW."""
    model = build(SHAPE, seed=1)
    own = {name: p for name, p in model.named_parameters() if "attn.c" in name or "mlp.c" in name}
    own = {name: p for name, p in own.items() if name.endswith("weight")}
    others = [p for name, p in model.named_parameters() if name not in own]
    groups = [
        {"params": [p for p in others if p.dim() == 2], "weight_decay": DECAY},
        {"params": [p for p in others if p.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    momenta = {name: np.zeros(p.shape) for name, p in own.items()}
    losses = []
    for step in range(STEPS):
        losses.append(take_gradients(model, step))
        if step == REFUSED:
            continue
        adamw.step()
        for name, parameter in own.items():
            gradient = parameter.grad.double().numpy()
            momenta[name] = 0.95 * momenta[name] + 0.05 * gradient
            update = newton_schulz(0.95 * momenta[name] + 0.05 * gradient)
            weights = parameter.detach().double().numpy() * (1 - RATE * DECAY)
            weights -= RATE * 0.2 * math.sqrt(max(update.shape)) * update
            parameter.data.copy_(torch.tensor(weights))
    return losses


def test_the_steps_are_those_of_a_plain_loop(layout, plain):
    assert layout["whole"][0].losses == pytest.approx(plain, rel=1e-5)


def test_a_refused_update_changes_no_bit(layout):
    for report in layout["whole"]:
        untouched = [before == after for before, after in pairwise(report.digests)]
        assert untouched == [step == REFUSED for step in range(STEPS)]
        assert report.updates == STEPS - 1


def test_ranks_hold_the_same_model_after_every_step(layout):
    first, second = layout["whole"]
    assert first.digests == second.digests


def test_stopped_and_resumed_is_the_run_in_one_go_bit_for_bit(layout):
    for whole, begun, resumed in zip(layout["whole"], layout["begun"], layout["resumed"], strict=True):
        assert begun.losses + resumed.losses == whole.losses
        assert begun.digests == whole.digests[: STOP + 1]
        assert resumed.digests == whole.digests[STOP:]


def test_a_checkpoint_has_one_moment_of_a_matrix_inside_a_block_and_two_of_all_else(reports, folder):
    shapes = {name: p.shape for name, p in build(SHAPE, seed=1).named_parameters()}
    blocks = {name for name, size in shapes.items() if name.startswith("h.") and len(size) == 2}
    assert len(blocks) == 4
    for name in LAYOUTS:
        first, second = (
            {key: tensor.shape for key, tensor in read_tensors(Path(f"{folder / name} whole"), kind).items()}
            for kind in ("exp_avg", "exp_avg_sq")
        )
        assert first == shapes
        assert second == {key: size for key, size in shapes.items() if key not in blocks}


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_run_goes_on_with_other_ranks_and_stages(reports, folder, ranks):
    jobs = [
        Job(first=STOP, updates=STOP, steps=STEPS, resume=str(folder / saved), clip=CLIP, optimizer="muon",
            refused=(REFUSED,), zero_stage=stage, micro_batch=3)
        for saved, stage in [("3", 0), ("2", 3), ("0", 1), ("1", 2)]
    ]  # fmt: skip
    expected = reports["0"]["whole"][0].losses[STOP:]
    for job, done in zip(jobs, train_on_ranks(jobs, ranks=ranks), strict=True):
        assert done[0].losses == pytest.approx(expected, rel=1e-5), job


def test_products_in_bf16_make_nearly_the_same_steps_at_every_stage(plain):
    jobs = [Job(zero_stage=stage, optimizer="muon", precision="bf16", clip=CLIP) for stage in range(4)]
    for done in train_on_ranks(jobs, ranks=2):
        assert done[0].losses == pytest.approx(plain[:4], rel=1e-3)
        assert done[0].digests == done[1].digests


def test_in_bf16_the_weights_are_those_of_pytorch_s_muon_bit_for_bit():
    ours, theirs = build(SHAPE, seed=1), build(SHAPE, seed=1)
    names = matrix_names(ours)
    options = {"lr": RATE, "betas": (0.9, 0.95), "weight_decay": DECAY, "fused": True}
    matrices, others = [], []
    for model in (ours, theirs):
        matrices.append([model.get_parameter(name) for name in names])
        others.append([p for name, p in model.named_parameters() if name not in names])
    groups = [{"params": others[0], "muon": False}, {"params": matrices[0], "muon": True}]
    both = MuonWithAdamW(groups, products=torch.bfloat16, **options)
    for matrix in matrices[0]:
        both.state[matrix]["exp_avg"] = torch.zeros_like(matrix)
    places = [Matrix(tensor=p, at=0, shape=p.shape, counts=(p.numel(),)) for p in matrices[0]]
    both.lay_out(places, rank=0, device=torch.device("cpu"))
    muon = torch.optim.Muon(matrices[1], lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others[1], **options)
    for step in range(STEPS):
        take_gradients(ours, step)
        take_gradients(theirs, step)
        both.step()
        muon.step()
        adamw.step()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(96, 32), (32, 32), (32, 128)])
def test_a_matrix_is_made_orthogonal_as_pytorch_does_it(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(matrix)
    expected = _zeropower_via_newtonschulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert torch.equal(orthogonal(matrix, torch.bfloat16), expected)
    exact = orthogonal(matrix, torch.float32)
    assert np.abs(exact.numpy() - newton_schulz(matrix.double().numpy())).max() < 1e-4
    assert torch.equal(matrix, before)
    values = torch.linalg.svdvals(exact)
    assert (values > 0.5).float().mean() > 0.9  # the very small ones would take more steps
    assert values.max() < 1.3


def test_of_nothing_comes_nothing():
    assert torch.equal(orthogonal(torch.zeros(4, 3), torch.float32), torch.zeros(4, 3))


@st.composite
def partitioned(draw) -> list[Matrix]:
    """Matrices one after the other in a space that is cut into as many equal parts as there are ranks."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
    ranks = draw(st.integers(1, 5))
    size = -(-sum(math.prod(shape) for shape in shapes) // ranks)
    found, begin = [], 0
    for shape in shapes:
        end = begin + math.prod(shape)
        held = tuple(max(0, min(end, (r + 1) * size) - max(begin, r * size)) for r in range(ranks))
        found.append(Matrix(tensor=torch.empty(0), at=0, shape=torch.Size(shape), counts=held))
        begin = end
    return found


@given(partitioned())
def test_each_matrix_has_its_turn_once_where_most_of_it_lies(matrices):
    taken = turns(matrices)
    assert sorted(id(m) for m in chain(*taken) if m) == sorted(map(id, matrices))
    for turn in taken:
        assert len(turn) == len(matrices[0].counts)
        for rank, matrix in enumerate(turn):
            if matrix and 2 * max(matrix.counts) > sum(matrix.counts):
                assert matrix.counts[rank] == max(matrix.counts)


def test_matrices_that_lie_in_even_parts_are_shared_out_evenly():
    even = [Matrix(tensor=torch.empty(0), at=0, shape=torch.Size((8, 8)), counts=(16,) * 4)] * 12
    assert [sum(m is not None for m in turn) for turn in turns(even)] == [4, 4, 4]
