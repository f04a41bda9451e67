import json
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.options import AnomalyOptions
from trainer.training.spikes import WINDOW, SpikeDetector, deviations

SKIP = AnomalyOptions(skip_spikes=True)
values = st.lists(st.floats(0.1, 10), min_size=WINDOW, max_size=WINDOW)


def filled(options: AnomalyOptions = SKIP) -> SpikeDetector:
    """After as many ordinary steps as the window holds."""
    detector = SpikeDetector(options)
    for step in range(WINDOW):
        assert detector.decide(3.0 + step % 2, 1.0 + step % 3).applied
    return detector


@settings(max_examples=20)
@given(values, st.floats(0, 100))
def test_deviations_are_the_z_score_that_the_standard_library_finds(window, value):
    spread = statistics.pstdev(window)
    if spread > 1e-9:
        expected = (value - statistics.fmean(window)) / spread
        assert deviations(value, window) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_nothing_is_a_spike_before_the_window_is_full():
    detector = SpikeDetector(SKIP)
    assert all(detector.decide(10.0**step, 1.0).applied for step in range(100))
    assert detector.spikes == 0


@pytest.mark.parametrize(("loss", "norm"), [(1000.0, 2.0), (3.5, 1000.0)])
def test_a_spike_of_either_is_reported_always_and_skipped_by_option(loss, norm):
    skipping, reporting = filled(), filled(AnomalyOptions())
    refused, reported = skipping.decide(loss, norm), reporting.decide(loss, norm)
    assert (refused.applied, reported.applied) == (False, True)
    assert refused.reason == reported.reason
    assert "1000 is" in refused.reason
    assert (skipping.skipped, skipping.in_a_row, skipping.spikes) == (1, 1, 1)
    assert (reporting.skipped, reporting.in_a_row, reporting.spikes) == (0, 0, 1)


def test_a_value_far_below_is_no_spike():
    assert filled().decide(-1000.0, 0.0).reason == ""


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("options", [SKIP, AnomalyOptions()])
def test_what_is_no_number_is_never_applied_and_never_remembered(loss, options):
    detector = filled(options)
    before = detector.state
    assert not detector.decide(loss, 1.0).applied
    assert not detector.decide(1.0, loss).applied
    assert detector.state == {**before, "skipped": 2, "in_a_row": 2}


def test_a_new_level_is_accepted_after_a_while():
    detector = filled()
    applied = [detector.decide(50.0 + step % 2, 1.0 + step % 3).applied for step in range(WINDOW)]
    assert not applied[0]
    assert all(applied[10:])


def test_the_run_is_given_up_after_so_many_skips_in_a_row_and_not_before():
    detector = SpikeDetector(AnomalyOptions(max_skips_in_a_row=3))
    for loss in (math.nan, math.nan, 1.0, math.nan, math.nan):
        detector.decide(loss, 1.0)
        assert not detector.exhausted
    detector.decide(math.nan, 1.0)
    assert detector.exhausted
    assert detector.skipped == 5


@pytest.mark.parametrize("stop", [0, 1, 127, 128, 150, 200])
def test_a_watch_goes_on_from_its_state_as_if_it_had_never_stopped(stop):
    chance = random.Random(stop)
    steps = [(chance.choice([3.0, 3.1, 3.2, 40.0, math.nan]), chance.gauss(1, 0.1)) for _ in range(200)]
    whole, first = SpikeDetector(SKIP), SpikeDetector(SKIP)
    expected = [whole.decide(*step) for step in steps]
    found = [first.decide(*step) for step in steps[:stop]]
    second = SpikeDetector(SKIP, json.loads(json.dumps(first.state)))
    found += [second.decide(*step) for step in steps[stop:]]
    assert found == expected
    assert second.state == whole.state
