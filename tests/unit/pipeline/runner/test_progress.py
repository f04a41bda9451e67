"""A person sees how far a stage is, how fast it goes, and when it will be done."""

import pytest

from pipeline.runner.progress import Progress


class Clock:
    """Goes when it is printed to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_follows_from_the_records_that_are_expected() -> None:
    clock = Clock()
    with Progress("pages", 4, expected=10_000, clock=clock) as progress:
        clock.now += 10
        progress.update(done=0, records=2_000)
        assert str(progress) == "0 of 4 partitions, 2,000 records, 200/s, 00:40 left"


def test_time_left_follows_from_the_partitions_where_records_are_not_known() -> None:
    clock = Clock()
    with Progress("pages", 4, clock=clock) as progress:
        clock.now += 10
        progress.update(done=0, records=50)
        assert str(progress) == "0 of 4 partitions, 50 records, 5/s"
        progress.update(done=1, records=60)
        assert str(progress) == "1 of 4 partitions, 60 records, 6/s, 00:30 left"


def test_rate_is_that_of_the_last_half_minute() -> None:
    clock = Clock()
    with Progress("pages", 1, clock=clock) as progress:
        for second in range(1, 101):
            clock.now += 1
            progress.update(done=0, records=10 * second if second <= 60 else 600 + second - 60)
        assert ", 1/s" in str(progress)


def test_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("pages", 2, clock=clock) as progress:
        for second in range(95):
            clock.now += 1
            progress.update(done=0, records=second)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("pages: 0 of 2 partitions, ") for line in lines)
