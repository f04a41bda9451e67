import dataclasses

import pytest

from trainer.config import ModelConfig, TrainingOptions, TrainingPlan, resolve
from trainer.recipes import SIZES


def plan(*, world_size: int = 2, accelerator: bool = False, **options) -> TrainingPlan:
    return resolve(
        TrainingOptions(data="shards", output="run", **options),
        vocabulary=50_257,
        end_of_text=50_256,
        world_size=world_size,
        accelerator=accelerator,
    )


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("small", 124_439_808),  # as `transformers` counts OpenAI's four checkpoints
        ("medium", 354_823_168),
        ("large", 774_030_080),
        ("xl", 1_557_611_200),
    ],
)
def test_each_size_has_as_many_parameters_as_openais(size, parameters):
    assert plan(size=size).model.parameters == parameters


def test_the_vocabulary_is_padded_to_a_multiple_of_128():
    shape = {"layers": 1, "heads": 1, "width": 8, "context": 8}
    assert ModelConfig(vocabulary=50_257, **shape).padded_vocabulary == 50_304
    assert ModelConfig(vocabulary=512, **shape).padded_vocabulary == 512


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_every_recipe_divides_among_common_numbers_of_ranks(size, world_size):
    resolved = plan(size=size, world_size=world_size)
    assert resolved.tokens_per_step == SIZES[size].global_batch_tokens
    assert resolved.warmup_steps <= resolved.steps


def test_what_the_options_leave_out_comes_from_the_size():
    resolved = plan(size="medium", learning_rate=1e-3)
    assert (resolved.learning_rate, resolved.steps, resolved.warmup_steps) == (1e-3, 60_000, 700)
    assert plan(steps=100).warmup_steps == 10


def test_precision_is_bf16_only_where_there_is_a_gpu_unless_told():
    assert plan(accelerator=True).precision == "bf16"
    assert plan(accelerator=False).precision == "fp32"
    assert plan(accelerator=False, precision="bf16").precision == "bf16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"size": "gigantic"},
            "unknown size 'gigantic': choose one of micro, nano, small, medium, large, xl",
        ),
        ({"steps": 0}, "--steps is 0: it must be at least 1"),
        ({"steps": 10, "warmup_steps": 11}, "--warmup-steps is 11, but there are only 10 steps"),
        ({"zero_stage": 0, "offload_optimizer": True}, "--offload-optimizer needs --zero-stage 1, 2 or 3"),
        ({"zero_stage": 2, "offload_parameters": True}, "--offload-parameters needs --zero-stage 3"),
        ({"keep_every": -1}, "--keep-every is -1: it must be at least 0"),
        ({"activation_checkpointing_interval": 0}, "--activation-checkpointing-interval is 0"),
        ({"learning_rate": -1.0}, "--learning-rate is -1.0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"dropout": 1.0}, "--dropout is 1.0: it must be less than 1"),
        ({"global_batch_tokens": 5000}, "no multiple of 2 ranks × 256 tokens: the nearest that fits is 5120"),
        ({"global_batch_tokens": 1}, "the nearest that fits is 512"),
        ({"micro_batch": 3}, "--micro-batch 3 does not divide the 8 sequences of each rank"),
    ],
)
def test_a_mistake_in_the_options_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        plan(**options)


def test_only_options_that_change_the_numbers_belong_to_the_identity_of_a_run():
    before = plan()
    other_layout = plan(micro_batch=1, activation_checkpointing="block", zero_stage=3, evaluate_every=3)
    assert other_layout.mathematics() == before.mathematics()
    for name, value in {"seed": 1, "steps": 7, "dropout": 0.1, "weight_decay": 0.0}.items():
        changed = plan(**{name: value}).mathematics()
        assert changed[name] == value != before.mathematics()[name]


def test_a_plan_leaves_nothing_open():
    assert None not in dataclasses.asdict(plan()).values()


def test_only_a_gpu_is_compiled_for_unless_told_and_no_sharded_weights(monkeypatch):
    monkeypatch.setattr("trainer.config.has_compiler", lambda: True)
    assert plan(accelerator=True).compile
    assert not plan(accelerator=True, zero_stage=3).compile
    assert not plan(accelerator=True, compile="off").compile
    assert not plan(accelerator=False).compile
    assert plan(accelerator=False, compile="on").compile
    with pytest.raises(ValueError, match="--compile on does not go with --zero-stage 3"):
        plan(compile="on", zero_stage=3)
    monkeypatch.setattr("trainer.config.has_compiler", lambda: False)
    assert not plan(accelerator=True).compile


def test_attention_within_documents_is_of_the_identity_of_a_run():
    assert plan().model.document_separator is None
    within = plan(document_attention=True)
    assert within.model.document_separator == 50_256
    assert within.mathematics()["document_attention"] is True
