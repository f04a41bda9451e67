import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import learning_rate

WHOLE = {"peak": 1.0, "final": 0.1, "warmup_steps": 10, "steps": 110}


def test_warm_up_is_linear_and_ends_at_the_peak():
    rates = [learning_rate(step, **WHOLE) for step in range(11)]
    assert rates == pytest.approx([(step + 1) / 11 for step in range(11)])


def test_the_cosine_is_half_way_down_in_the_middle_and_ends_at_the_final_rate():
    assert learning_rate(60, **WHOLE) == pytest.approx(0.55)
    assert learning_rate(35, **WHOLE) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert learning_rate(110, **WHOLE) == pytest.approx(0.1)


@given(st.integers(1, 500), st.integers(0, 500))
def test_the_rate_rises_to_the_peak_then_falls_and_is_never_zero_before_the_end(steps, warmup):
    warmup = min(warmup, steps)
    rates = [
        learning_rate(step, peak=1.0, final=0.0, warmup_steps=warmup, steps=steps) for step in range(steps)
    ]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
