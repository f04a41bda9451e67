"""What only a GPU can show: its kernels, no wait inside a step, the same bits again."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from trainer.config.model_config import IGNORED, ModelConfig
from trainer.config.options import TrainingOptions
from trainer.config.plan import resolve
from trainer.distributed.deepspeed.engine import Engine
from trainer.distributed.ranks import Ranks, compute_deterministically, joined
from trainer.model.gpt2 import GPT2, build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here"),
    pytest.mark.timeout(200),
]
ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
DEVICE = torch.device("cuda", 0)
VOCABULARY = 1000


def error_of(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture(scope="module", autouse=True)
def process_group():
    with joined(ALONE, DEVICE):
        yield


@pytest.mark.parametrize(("rows", "columns"), [(1000, 768), (65_536, 3072), (4099, 1600), (333, 70)])
def test_the_kernels_of_a_block_compute_what_pytorch_does(rows, columns):
    from trainer.model import kernels

    g, x = (2 * torch.randn(rows, columns, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    result, sums = kernels.gelu_backward(g, x)
    expected = torch.ops.aten.gelu_backward(g.double(), x.double(), approximate="tanh")
    assert error_of(result, expected) < 4e-3
    assert error_of(sums, expected.sum(0)) < 1e-5
    parts = [torch.randn(rows, columns, device=DEVICE, dtype=torch.bfloat16) for _ in range(3)]
    result, sums = kernels.concatenate(*parts)
    assert torch.equal(result, torch.cat(parts, dim=1))
    assert error_of(sums, result.double().sum(0)) < 1e-5


@pytest.mark.parametrize("vocabulary", [50_257, 300, 8192])
def test_the_loss_kernel_computes_what_pytorch_does(vocabulary):
    from trainer.model import kernels

    padded = -(-vocabulary // 128) * 128
    logits = 5 * torch.randn(515, padded, device=DEVICE, dtype=torch.bfloat16)
    targets = torch.randint(vocabulary, (515,), device=DEVICE)
    targets[::7] = IGNORED
    expected = logits[:, :vocabulary].double().requires_grad_()
    losses = F.cross_entropy(expected, targets, ignore_index=IGNORED, reduction="none")
    losses.sum().backward()
    found, gradient = kernels.losses_in_place(logits, targets, vocabulary)
    assert error_of(found, losses.detach()) < 1e-6
    assert error_of(gradient[:, :vocabulary], expected.grad) < 4e-3
    assert not gradient[:, vocabulary:].any()
    assert not gradient[targets == IGNORED].any()


def engine_of(*, steps: int = 0, **changes) -> tuple[Engine, GPT2]:
    options = TrainingOptions(data="", output="", size="nano", micro_batch=4, **changes)
    plan = resolve(options, vocabulary=VOCABULARY, world_size=1, accelerator=True)
    plan = dataclasses.replace(plan, accumulation_steps=3, sequences_per_step=12)
    model = build(plan.model, seed=0)
    if plan.compiled:
        torch._dynamo.reset()
        model.compile_parts()
    engine = Engine(model, plan, ALONE, DEVICE)
    for step in range(steps):
        take(engine, step)
    return engine, model


def batches_of(step):
    rows = torch.randint(VOCABULARY, (3, 4, 257), generator=torch.Generator().manual_seed(step))
    return [(row[:, :-1].contiguous().pin_memory(), row[:, 1:].contiguous().pin_memory()) for row in rows]


def take(engine, step, batches=None):
    return engine.step(
        batches or batches_of(step), targets=12 * 256, learning_rate=1e-3, stop=False, accept=lambda *_: True
    ).loss


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_nothing_waits_for_the_gpu_between_micro_batches(stage):
    engine, _ = engine_of(steps=4, zero_stage=stage)

    def watched():
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from batches_of(9)[:-1]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield batches_of(9)[-1]  # at whose end the loss is read

    take(engine, 9, watched())


def test_a_compiled_model_takes_the_steps_of_a_plain_one():
    compiled, plain = (engine_of(compile=mode, precision="fp32")[0] for mode in ("on", "off"))
    for step in range(6):
        assert take(compiled, step) == pytest.approx(take(plain, step), rel=2e-5)


def test_bf16_follows_fp32():
    lower, exact = (engine_of(precision=precision)[0] for precision in ("bf16", "fp32"))
    for step in range(6):
        assert take(lower, step) == pytest.approx(take(exact, step), rel=3e-3)


def test_attention_within_documents_is_that_of_the_table():
    gradients = []
    config = ModelConfig(
        layers=2, heads=4, width=256, context=256, vocabulary=VOCABULARY, document_separator=0
    )
    tokens = torch.randint(0, 30, (4, 257), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    for compiled in (False, True):
        model = build(config, seed=0).to(DEVICE)
        if compiled:
            torch._dynamo.reset()
            model.compile_parts()
            assert model.flex
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(tokens[:, :-1], tokens[:, 1:], reduction="mean")
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        assert error_of(gradients[1][name], expected) < 3e-2, name


def test_deterministic_steps_repeat_to_the_bit():
    compute_deterministically()
    try:
        runs = []
        for _ in range(2):
            engine, model = engine_of()
            losses = [take(engine, step) for step in range(4)]
            runs.append((losses, [parameter.detach().clone() for parameter in model.parameters()]))
        assert runs[0][0] == runs[1][0]
        assert all(torch.equal(one, other) for one, other in zip(runs[0][1], runs[1][1], strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_evaluation_gives_the_loss_of_the_plain_model():
    engine, model = engine_of(precision="fp32")
    batch = batches_of(0)[0]
    total, count = engine.evaluate([batch])
    with torch.no_grad():
        logits = model(batch[0].to(DEVICE))
        expected = F.cross_entropy(logits.flatten(0, 1), batch[1].to(DEVICE).flatten())
    assert count == batch[1].numel()
    assert total / count == pytest.approx(float(expected), rel=1e-5)
