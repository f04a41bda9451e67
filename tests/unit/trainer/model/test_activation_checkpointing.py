import pytest
import torch
from live_memory import LiveMemory
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import trainer.model.gpt2 as model_module
from trainer.config.model_config import ModelConfig
from trainer.model.activation_offload import Offload
from trainer.model.gpt2 import GPT2, build


def tokens() -> torch.Tensor:
    return torch.randint(100, (2, 25), generator=torch.Generator().manual_seed(1))


def model_of(mode: str, *, layers: int = 4, every: int = 1, dropout: float = 0.0) -> GPT2:
    config = ModelConfig(layers=layers, heads=4, width=32, context=24, vocabulary=100, dropout=dropout)
    return build(config, seed=0, recompute=mode, recompute_every=every)


def loss_of(model: GPT2) -> torch.Tensor:
    torch.manual_seed(3)
    return model(tokens()[:, :-1], tokens()[:, 1:]).mean()


def gradients(mode: str, **options: float) -> dict[str, torch.Tensor]:
    model = model_of(mode, **options)
    loss_of(model).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("mode", "every"), [("selective", 1), ("block", 1), ("block", 3), ("offload", 2)])
def test_every_mode_gives_the_same_gradients_to_the_bit(mode, every, dropout, precision):
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = gradients("none", dropout=dropout)
        found = gradients(mode, every=every, dropout=dropout)
    for name, gradient in expected.items():
        assert gradient.any()
        assert torch.equal(found[name], gradient), name


def kept_bytes(model: GPT2) -> int:
    """What the forward pass leaves in memory for the backward pass."""
    with LiveMemory(ignored=model.parameters()) as memory:
        loss = loss_of(model)
        kept = memory.now
    loss.backward()
    return kept


UNIT = 2 * 24 * 32 * 4  # one [B, T, C] in fp32


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        # x, after ln_1, q k v, attention, x, after ln_2, before GELU, after GELU
        ("none", 1 + 1 + 3 + 1 + 1 + 1 + 4 + 4),
        # x, q k v, attention, x, before GELU
        ("selective", 1 + 3 + 1 + 1 + 4),
        ("block", 1),
    ],
)
def test_a_block_keeps_what_its_mode_says(mode, kept):
    four, two = (kept_bytes(model_of(mode, layers=layers)) for layers in (4, 2))
    small = 2 * 24 * (4 + 2 * 2) * 4  # attention's sums by head, means and deviations of two norms
    assert kept * UNIT <= (four - two) / 2 <= kept * UNIT + small


def test_every_other_block_keeps_half_as_much():
    none, half, block = (
        kept_bytes(m) for m in (model_of("none"), model_of("block", every=2), model_of("block"))
    )
    assert half == (none + block) / 2


def test_offload_moves_the_inputs_of_the_blocks_and_nothing_else(monkeypatch):
    moved = []

    class Recorded(Offload):
        def _copy(self, target, source):
            moved.append(tuple(source.shape))
            return super()._copy(target, source)

    monkeypatch.setattr(model_module, "Offload", Recorded)
    loss = loss_of(model_of("offload", every=2))
    assert moved == 2 * [(2, 24, 32)]
    loss.backward()
    assert moved == 3 * [(2, 24, 32)]  # the last one has stayed


class Attentions(TorchDispatchMode):
    """Counts how often attention is computed."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return function(*arguments, **(options or {}))


def work(mode: str) -> tuple[int, int]:
    """Floating-point operations of the matrix products of one forward and backward pass, and attentions."""
    model = model_of(mode)
    with FlopCounterMode(display=False) as products, Attentions() as attentions:
        loss_of(model).backward()
    return products.get_total_flops(), attentions.count


def test_selective_repeats_neither_products_nor_attention():
    assert work("selective") == work("none")


def test_block_repeats_all_products_but_the_last_of_each_block():
    products, attentions = work("none")
    positions, width = 2 * 24, 32
    repeated = 2 * positions * (3 + 1 + 4) * width**2  # what the last one is fed, GELU's output, is enough
    assert work("block") == work("offload") == (products + 4 * repeated, attentions + 4)
