"""torch.compile with its plain backend: tests/proofs/loss_curve.py shows what inductor makes of it."""

import pytest
import torch
from torch._dynamo.utils import counters

from trainer.config.model_config import ModelConfig
from trainer.distributed.out_of_memory import release
from trainer.model.gpt2 import GPT2, build


def model_of(mode: str, *, layers: int = 4, every: int = 1, compiled: bool = True) -> GPT2:
    config = ModelConfig(layers=layers, heads=2, width=32, context=24, vocabulary=100, document_separator=99)
    model = build(config, seed=0, recompute=mode, recompute_every=every)
    if compiled:
        torch._dynamo.reset()  # its limit of compilations is for one model, not for many in turn
        model.compile_parts("aot_eager")
    return model


def loss_of(model: GPT2) -> torch.Tensor:
    tokens = torch.randint(100, (2, 25), generator=torch.Generator().manual_seed(1))
    return model(tokens[:, :-1], tokens[:, 1:], reduction="mean")


@pytest.mark.parametrize(("mode", "every"), [("none", 1), ("selective", 1), ("block", 2), ("offload", 1)])
def test_a_compiled_model_has_the_losses_and_gradients_of_a_plain_one(mode, every):
    expected, found = model_of("none", compiled=False), model_of(mode, every=every)
    losses = [loss_of(model) for model in (expected, found)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    for loss in losses:
        loss.backward()
    theirs = dict(expected.named_parameters())
    for name, parameter in found.named_parameters():
        assert theirs[name].grad.any()
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-5, atol=1e-7, msg=name)
    with torch.no_grad():
        assert float(loss_of(found)) == pytest.approx(float(losses[0]), rel=1e-6)


def test_one_compilation_serves_all_blocks():
    torch._dynamo.reset()
    counters.clear()
    loss_of(model_of("none", layers=12)).backward()
    assert counters["stats"]["unique_graphs"] == 3  # a block, the last norm, and the loss


def test_compiled_selective_recomputation_keeps_less_as_well():
    kept = {}
    for mode in ("none", "selective"):
        storages = {}

        def remember(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            loss = loss_of(model_of(mode))
        kept[mode] = sum(storages.values())
        loss.backward()
    unit = 2 * 24 * 32 * 4  # one [B, T, C] in fp32
    norms, sums = 2 * unit, 2 * 2 * (2 * 24 * 4)  # two outputs, and two means and deviations
    assert kept["none"] - kept["selective"] == 4 * (norms + sums + 4 * unit)  # and GELU's output


def test_layout_after_layout_may_be_compiled_in_one_process():
    for batch in range(1, 11):  # torch.compile's own limit is eight
        model = model_of("none", layers=1)
        tokens = torch.randint(100, (batch, 25))
        model(tokens[:, :-1], tokens[:, 1:], reduction="mean").backward()
        release()


def test_a_row_alone_goes_through_a_compiled_model_without_compiling_again():
    model = model_of("none", layers=1)
    loss_of(model).backward()
    counters.clear()
    tokens = torch.randint(100, (1, 25))
    with torch.compiler.set_stance("force_eager"):
        model(tokens[:, :-1], tokens[:, 1:], reduction="mean").backward()
    assert not counters["stats"]
