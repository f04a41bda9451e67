import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.model_config import ModelConfig
from trainer.config.options import AnomalyOptions, TrainingOptions
from trainer.config.plan import IDENTITY, TrainingPlan, resolve
from trainer.config.recipes import SIZES


def plan(
    *,
    world_size: int = 2,
    accelerator: bool = False,
    bf16: bool = True,
    initial_model: ModelConfig | None = None,
    epoch_tokens: int | None = None,
    **options,
) -> TrainingPlan:
    return resolve(
        TrainingOptions(data="shards", **options),
        vocabulary=50_257,
        end_of_text=50_256,
        world_size=world_size,
        accelerator=accelerator,
        bf16=bf16,
        initial_model=initial_model,
        epoch_tokens=epoch_tokens,
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
    assert (resolved.learning_rate, resolved.final_learning_rate) == (1e-3, 1e-4)
    assert plan(steps=100).warmup_steps == 10
    assert plan(size="xl").output == "out/xl"
    assert plan(accelerator=False).size == "nano"
    assert plan(accelerator=True).size == "small"


@pytest.mark.parametrize(
    ("size", "rate", "batch", "warmup_steps", "steps"),
    [
        ("small", 6e-4, 524_288, 715, 19_073),  # GPT-3's table 2.1; 375 million tokens are 715 steps of 0.5M
        ("medium", 3e-4, 524_288, 715, 57_220),
        ("large", 2.5e-4, 524_288, 715, 286_102),
        ("xl", 2e-4, 1_048_576, 357, 30_517),
    ],
)
def test_the_recipes_are_gpt_3s(size, rate, batch, warmup_steps, steps):
    resolved = plan(size=size)
    assert (resolved.learning_rate, resolved.tokens_per_step) == (rate, batch)
    assert (resolved.warmup_steps, resolved.steps) == (warmup_steps, steps)
    assert (resolved.schedule, resolved.final_learning_rate) == ("cosine", pytest.approx(rate / 10))
    assert (resolved.beta1, resolved.beta2, resolved.epsilon) == (0.9, 0.95, 1e-8)


def test_the_length_of_a_run_may_be_given_in_steps_tokens_or_epochs():
    batch = {"global_batch_tokens": 4096, "epoch_tokens": 10_000}
    assert plan(tokens=100_000, **batch).steps == 100_000 // 4096
    assert plan(epochs=2.0, **batch).steps == 5  # 20,000 / 4,096, the last one begun
    assert plan(epochs=0.1, **batch).steps == 1
    assert plan(tokens=1, **batch).steps == 1


@given(st.integers(1, 300), st.integers(1, 9), st.none() | st.integers(1, 50))
def test_any_number_of_ranks_and_any_micro_batch_hold_the_batch(sequences, ranks, micro_batch):
    options = {"global_batch_tokens": sequences * 256, "micro_batch": micro_batch, "world_size": ranks}
    if sequences < ranks:
        with pytest.raises(ValueError, match="too few for"):
            plan(**options)
        return
    resolved = plan(**options)
    assert resolved.sequences_per_step == sequences
    slots = resolved.micro_batch * resolved.accumulation_steps * ranks
    assert sequences <= slots
    if micro_batch is None:  # at most one row a rank and round is empty
        assert slots - sequences < ranks * resolved.accumulation_steps + ranks


def test_a_wsd_run_falls_in_its_last_fifth_to_zero():
    resolved = plan(schedule="wsd", steps=100)
    assert (resolved.decay_steps, resolved.final_learning_rate) == (20, 0)
    assert plan(schedule="wsd", steps=100, decay_steps=7).decay_steps == 7


GPT2_LIKE = ModelConfig(layers=3, heads=2, width=32, context=64, vocabulary=50_257)


def test_fine_tuning_takes_the_models_shape_and_gentler_defaults():
    resolved = plan(init_from="gpt2", initial_model=GPT2_LIKE, epoch_tokens=100_000, world_size=1)
    assert resolved.model == GPT2_LIKE
    assert (resolved.learning_rate, resolved.sequences_per_step) == (3e-5, 32)
    assert resolved.steps == 100_000 // (32 * 64)
    assert plan(init_from="gpt2", initial_model=GPT2_LIKE, context=16, world_size=1).model.context == 16
    small = dataclasses.replace(GPT2_LIKE, layers=12, heads=12, width=768, context=1024)
    assert plan(init_from="gpt2", initial_model=small).size == "small"
    with pytest.raises(ValueError, match="--context is 65, but --init-from gpt2 has 64 positions"):
        plan(init_from="gpt2", initial_model=GPT2_LIKE, context=65)
    with pytest.raises(ValueError, match="--size small is not the size of --init-from gpt2: 3 layers"):
        plan(init_from="gpt2", initial_model=GPT2_LIKE, size="small")


def test_precision_is_bf16_only_where_there_is_a_gpu_unless_told():
    assert plan(accelerator=True).precision == "bf16"
    assert plan(accelerator=False).precision == "fp32"
    assert plan(accelerator=False, precision="bf16").precision == "bf16"


def test_a_gpu_without_bf16_computes_in_fp32_and_refuses_to_emulate_it():
    assert plan(accelerator=True, bf16=False).precision == "fp32"
    assert plan(accelerator=False, bf16=False, precision="bf16").precision == "bf16"
    with pytest.raises(ValueError, match="--precision bf16: this GPU would emulate it"):
        plan(accelerator=True, bf16=False, precision="bf16")


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
        ({"global_batch_tokens": 5000}, "not a multiple of 256 tokens: the nearest that fits is 5120"),
        ({"global_batch_tokens": 1}, "the nearest that fits is 512"),
        (
            {"global_batch_tokens": 256},
            "too few for 2 ranks: the smallest --global-batch-tokens that fits is 512",
        ),
        ({"steps": 5, "epochs": 1.0}, "give only one of --steps and --epochs"),
        ({"tokens": 0}, "--tokens is 0"),
        ({"epochs": 0.0}, "--epochs is 0.0: it must be above 0"),
        ({"epochs": 1.0}, "--epochs needs the data"),
        ({"decay_steps": 3}, "--decay-steps needs --schedule wsd"),
        (
            {"schedule": "wsd", "steps": 10, "warmup_steps": 5, "decay_steps": 6},
            "add up to more than the 10 steps",
        ),
        ({"beta2": 1.0}, "--beta2 is 1.0: it must be less than 1"),
        ({"epsilon": 0.0}, "--epsilon is 0.0: it must be above 0"),
        ({"learning_rate": float("inf")}, "--learning-rate is inf: it must be a finite number"),
        ({"profile_steps": "5:5"}, "--profile-steps 5:5: give the first step"),
        ({"anomalies": AnomalyOptions(max_skips_in_a_row=0)}, "--max-skips-in-a-row is 0"),
        ({"anomalies": AnomalyOptions(spike_threshold=0.0)}, "--spike-threshold is 0.0"),
        ({"sample_prompts": ("\udc80",)}, "--sample-prompts .* is not text"),
    ],
)
def test_a_mistake_in_the_options_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        plan(**options)


def test_only_options_that_change_the_numbers_belong_to_the_identity_of_a_run():
    before = plan()
    other_layout = plan(micro_batch=1, activation_checkpointing="block", zero_stage=3, evaluate_every=3)
    assert other_layout.identity() == before.identity()
    for name, value in {"seed": 1, "steps": 7, "dropout": 0.1, "optimizer": "muon"}.items():
        changed = plan(**{name: value}).identity()
        assert changed[name] == value != before.identity()[name]


def test_a_plan_leaves_nothing_open():
    assert None not in [getattr(plan(), name) for name in TrainingPlan.__annotations__]


def test_every_option_is_of_the_identity_of_a_run_or_known_to_change_no_number():
    change_nothing = {
        *("scratch", "cache_gb"),  # where files are, and how many
        *("data", "output", "tokens", "epochs", "micro_batch", "zero_stage", "compile", "deterministic"),
        *("vocabulary", "vocabulary_size"),  # which the identity of the data has
        *("rank_timeout_s", "sample_every", "sample_prompts", "sample_tokens"),
        *("offload_optimizer", "offload_parameters", "skip_memory_check", "profile_steps", "trackers"),
        *("activation_checkpointing", "activation_checkpointing_interval", "log_every"),
        *("evaluate_every", "evaluation_tokens", "checkpoint_every", "keep_checkpoints", "keep_every"),
        "anomalies",  # of which the identity has two
    }
    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    assert names - set(IDENTITY) == change_nothing


def test_only_a_gpu_is_compiled_for_unless_told_and_no_sharded_weights():
    assert plan(accelerator=True).compiled
    assert not plan(accelerator=True, zero_stage=3).compiled
    assert not plan(accelerator=True, compile="off").compiled
    assert not plan(accelerator=False).compiled
    assert plan(accelerator=False, compile="on").compiled
    with pytest.raises(ValueError, match="--compile on does not work with --zero-stage 3"):
        plan(compile="on", zero_stage=3)


def test_attention_within_documents_is_of_the_identity_of_a_run():
    assert plan().model.document_separator is None
    within = plan(document_attention=True)
    assert within.model.document_separator == 50_256
    assert within.identity()["document_attention"] is True


def test_ranks_share_out_what_there_is_to_share_out_unless_told_otherwise():
    stages = [plan(world_size=ranks).zero_stage for ranks in (1, 2)]
    offloaded = [
        plan(world_size=1, **{f"offload_{what}": True}).zero_stage for what in ("optimizer", "parameters")
    ]
    assert (stages, offloaded) == ([0, 1], [1, 3])
