import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.training.schedule import learning_rate

COSINE = {"schedule": "cosine", "peak": 1.0, "final": 0.1, "warmup_steps": 10, "decay_steps": 100}
WSD = {"schedule": "wsd", "peak": 1.0, "final": 0.1, "warmup_steps": 10, "decay_steps": 20}


def test_warm_up_is_linear_and_ends_at_the_peak():
    for options in (COSINE, WSD):
        rates = [learning_rate(step, **options, steps=110) for step in range(11)]
        assert rates == pytest.approx([(step + 1) / 11 for step in range(11)])


def test_the_cosine_is_half_way_down_in_the_middle_and_ends_at_the_final_rate():
    assert learning_rate(60, **COSINE, steps=110) == pytest.approx(0.55)
    assert learning_rate(35, **COSINE, steps=110) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert learning_rate(110, **COSINE, steps=110) == pytest.approx(0.1)


def test_warm_up_stable_decay_stays_at_the_peak_and_falls_with_the_square_root():
    assert {learning_rate(step, **WSD, steps=110) for step in range(10, 91)} == {1.0}
    assert learning_rate(95, **WSD, steps=110) == pytest.approx(0.1 + 0.9 * 0.5)  # √(5 / 20) = 1 / 2
    assert learning_rate(110, **WSD, steps=110) == pytest.approx(0.1)


@given(st.integers(0, 89), st.integers(0, 500))
def test_more_steps_change_nothing_before_the_decay_of_a_stable_schedule(step, more):
    assert learning_rate(step, **WSD, steps=110) == learning_rate(step, **WSD, steps=110 + more)


@given(st.sampled_from(["cosine", "wsd"]), st.integers(1, 500), st.integers(0, 500), st.integers(0, 500))
def test_the_rate_rises_to_the_peak_then_falls_and_is_never_zero_before_the_end(
    schedule, steps, warmup, decay
):
    warmup = min(warmup, steps)
    decay = steps - warmup if schedule == "cosine" else min(decay, steps - warmup)
    options = {"schedule": schedule, "peak": 1.0, "final": 0.0, "warmup_steps": warmup, "decay_steps": decay}
    rates = [learning_rate(step, **options, steps=steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
