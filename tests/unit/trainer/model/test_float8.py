import pytest
import torch

from trainer.config.model_config import ModelConfig
from trainer.config.options import TrainingOptions
from trainer.config.plan import resolve
from trainer.model import float8
from trainer.model.float8 import missing_for_float8, use_float8
from trainer.model.gpt2 import build

GPU = torch.device("cuda", 0)


def plan_of(**changes):
    options = TrainingOptions(data="", output="", size="nano", float8=True, **changes)
    return resolve(options, vocabulary=300, world_size=1, accelerator=True)


def gradients_of(model, precision=torch.bfloat16):
    tokens = torch.randint(100, (4, 65), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", precision):
        loss = model(tokens[:, :-1], tokens[:, 1:], reduction="mean")
    loss.backward()
    return float(loss), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.filterwarnings("ignore")
def test_the_blocks_multiply_in_float8_under_the_same_names():
    config = ModelConfig(layers=2, heads=4, width=64, context=64, vocabulary=100)
    plain, converted = build(config, seed=0), build(config, seed=0)
    use_float8(converted, emulate=True)
    assert [n for n, _ in converted.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert {p.dtype for p in converted.parameters()} == {torch.float32}
    (one, expected), (other, found) = gradients_of(plain), gradients_of(converted)
    assert other != one and other == pytest.approx(one, rel=2e-3)
    for name, gradient in expected.items():
        error = float((found[name] - gradient).norm() / gradient.norm())
        assert error < 0.2, name  # float8 has 3 bits after the leading one: 6 % a number


def test_what_float8_does_not_go_with_is_refused():
    assert plan_of().float8
    for changes, word in (
        ({"compile": "off"}, "compiled blocks"),
        ({"zero_stage": 3}, "compiled blocks"),
        ({"precision": "fp32"}, "bf16"),
    ):
        with pytest.raises(ValueError, match=word):
            plan_of(**changes)
    with pytest.raises(ValueError, match="multiple of 16"):
        start = ModelConfig(layers=2, heads=2, width=40, context=64, vocabulary=300)
        options = TrainingOptions(data="", output="", init_from="x", float8=True)
        resolve(options, vocabulary=300, world_size=1, accelerator=True, initial_model=start)


def test_it_says_what_is_missing(monkeypatch):
    assert missing_for_float8(torch.device("cpu")) == "it needs a GPU"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert missing_for_float8(GPU).endswith("this GPU has 8.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert not missing_for_float8(GPU)
    monkeypatch.setattr(float8, "find_spec", lambda _: None)
    assert "pip install" in missing_for_float8(GPU)


def test_a_run_from_before_the_option_counts_as_one_without():
    options = TrainingOptions(data="", output="", size="nano")
    plan = resolve(options, vocabulary=300, world_size=1, accelerator=False)
    assert plan.identity()["float8"] is False
