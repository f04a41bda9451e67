import dataclasses

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, resolve
from trainer.memory.choice import AvailableMemory, ChosenLayout, choose_layout, layout_of
from trainer.memory.estimate import GIB, predict


def resolved(*, ranks: int = 1, gpu: bool = True, **options: object) -> tuple[TrainingPlan, TrainingOptions]:
    given_options = TrainingOptions(data="shards", output="run", **options)
    plan = resolve(given_options, vocabulary=50_257, world_size=ranks, accelerator=gpu)
    return plan, given_options


def fitted(
    gib: float,
    *,
    ranks: int = 1,
    gpu: bool = True,
    earlier: dict[str, object] | None = None,
    host_gib: float | None = None,
    **options: object,
) -> ChosenLayout:
    plan, given_options = resolved(ranks=ranks, gpu=gpu, **options)
    host = None if host_gib is None else int(host_gib * GIB)
    available = AvailableMemory(
        device_bytes=int(gib * GIB), total_bytes=int(gib * GIB), accelerator=gpu, host_bytes=host
    )
    return choose_layout(plan, given_options, available, earlier)


@given(
    size=st.sampled_from(["small", "medium", "large", "xl"]),
    ranks=st.sampled_from([1, 2, 8]),
    stage=st.sampled_from([0, 1, 2, 3]),
    gib=st.floats(8, 200),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_what_is_chosen_fits_and_makes_up_the_batch(size, ranks, stage, gib):
    plan, _ = resolved(size=size, ranks=ranks, zero_stage=stage)
    try:
        found = fitted(gib, size=size, ranks=ranks, zero_stage=stage)
    except ValueError as error:
        assert "not enough memory" in str(error)
        return
    layout = layout_of(found.plan, accelerator=True)
    assert predict(found.plan.model, layout) == found.memory
    assert found.memory.total <= gib * GIB
    assert found.plan.micro_batch * found.plan.accumulation_steps * ranks == plan.sequences_per_step
    assert (found.plan.zero_stage, found.plan.steps) == (stage, plan.steps)


def test_nothing_is_recomputed_where_memory_abounds_and_everything_where_it_is_scarce():
    assert fitted(140, size="small").plan.recompute == "none"
    assert fitted(140, size="xl", zero_stage=0).plan.recompute == "none"
    assert fitted(38, size="xl", zero_stage=0, micro_batch=8).plan.recompute == "block"


def test_more_memory_never_makes_a_slower_choice():
    costs = {"none": 0, "selective": 1, "block": 2, "offload": 3}
    found = [fitted(gib, size="large", zero_stage=0).plan for gib in (24, 32, 40, 80, 140)]
    assert [costs[plan.recompute] for plan in found] == sorted(
        (costs[plan.recompute] for plan in found), reverse=True
    )


def test_the_reason_names_the_choice_what_it_takes_and_what_more_would():
    found = fitted(24, size="small")
    assert f"micro-batch {found.plan.micro_batch}, " in found.reason
    assert "chosen because " in found.reason
    assert f"{found.memory.total / GIB:.1f} of 24.0 GiB per GPU" in found.reason


def test_what_the_user_gave_is_honoured():
    given_both = fitted(80, size="medium", micro_batch=2, activation_checkpointing="block")
    assert (given_both.plan.micro_batch, given_both.plan.recompute) == (2, "block")
    assert "as given" in given_both.reason
    assert fitted(80, size="medium", micro_batch=4).plan.micro_batch == 4
    assert fitted(80, size="medium", activation_checkpointing="selective").plan.recompute == "selective"


@pytest.mark.parametrize("size", ["micro", "nano"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_on_a_cpu_the_recipe_s_micro_batch_stays(size, ranks):
    plan, _ = resolved(size=size, ranks=ranks, gpu=False)
    found = fitted(8, size=size, ranks=ranks, gpu=False)
    assert found.plan == plan


def test_a_run_goes_on_with_the_micro_batch_of_its_checkpoint_on_as_many_ranks():
    before = dataclasses.replace(resolved(size="small", ranks=2)[0], micro_batch=4, recompute="block")
    again = fitted(80, size="small", ranks=2, earlier=dataclasses.asdict(before))
    assert (again.plan.micro_batch, again.plan.recompute) == (4, "block")
    assert "as in the checkpoint" in again.reason
    assert fitted(80, size="small", ranks=4, earlier=dataclasses.asdict(before)).plan.micro_batch > 4
    assert (
        fitted(80, size="small", ranks=2, earlier=dataclasses.asdict(before), micro_batch=8).plan.micro_batch
        == 8
    )


@pytest.mark.parametrize(
    ("gib", "options", "advice"),
    [
        (20, {"size": "small", "micro_batch": 64, "activation_checkpointing": "none"}, "--micro-batch 1"),
        (24, {"size": "xl", "zero_stage": 0}, "--zero-stage 1 --offload-optimizer would fit"),
        (2, {"size": "xl"}, "no ZeRO stage, recomputation or offload would fit"),
    ],
)
def test_too_little_memory_is_an_error_that_names_what_would_do(gib, options, advice):
    with pytest.raises(ValueError, match="not enough memory") as error:
        fitted(gib, **options)
    assert advice in str(error.value)
    assert "--skip-memory-check" in str(error.value)


def test_the_check_of_memory_can_be_overridden():
    assert "ignored" in fitted(2, size="xl", skip_memory_check=True).reason


def test_what_is_offloaded_must_fit_the_machine():
    offload = {"size": "xl", "zero_stage": 2, "offload_optimizer": True}
    states = 5 * 4 * 1_557_686_400 / GIB  # weights, moments, gradients and their sum
    assert fitted(60, host_gib=states + 1, **offload).plan.offload_optimizer
    with pytest.raises(ValueError, match=r"not enough CPU memory for offloading.* needs 29\.0 GiB per rank"):
        fitted(60, host_gib=states - 1, **offload)


def test_inputs_of_blocks_are_offloaded_only_where_the_machine_holds_them():
    scarce = {"size": "xl", "zero_stage": 0, "activation_checkpointing": "offload"}
    plenty, little = fitted(60, host_gib=100, **scarce), fitted(60, host_gib=4, **scarce)
    assert plenty.plan.micro_batch > little.plan.micro_batch
    piece = little.plan.micro_batch * 1024 * 1600 * 4
    assert 48 * piece <= 4 * GIB
