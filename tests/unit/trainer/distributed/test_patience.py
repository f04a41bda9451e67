import pytest

from trainer.distributed import patience
from trainer.distributed.patience import Patience


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(patience, "set_timeout", found.append)
    return found


def test_steps_are_waited_for_as_long_as_anything_until_some_are_timed(timeouts):
    ours = Patience(600)
    for seconds in (90.0, 4.0, 2.0, 2.5):
        with ours.in_step():
            ours.took(seconds)
    assert timeouts == []


def test_then_for_twenty_times_the_slowest_but_for_anything_else_as_long_as_before(timeouts):
    ours = Patience(600)
    for seconds in (90.0, 4.0, 2.0, 2.5, 2.0):
        ours.took(seconds)
    with ours.in_step():
        assert timeouts == [50.0]
        ours.took(40.0)
    assert timeouts == [50.0, 600]
    assert ours.step_s == 600


def test_never_less_than_half_a_minute_unless_that_is_asked_for():
    quick, asked = Patience(600), Patience(8)
    for _ in range(10):
        quick.took(0.01)
        asked.took(0.01)
    assert (quick.step_s, asked.step_s) == (30.0, 8)


def test_an_error_in_a_step_leaves_the_timeout_as_it_was_outside(timeouts):
    ours = Patience(600)
    for _ in range(5):
        ours.took(2.0)
    with pytest.raises(MemoryError), ours.in_step():
        raise MemoryError
    assert timeouts == [40.0, 600]
