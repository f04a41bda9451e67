import pytest

from trainer.report.units import duration, short


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 00 s"), (189, "3 min 09 s"), (7_500, "2 h 05 min"), (111_600, "1 d 07 h")],
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(0, "0"), (4096, "4,096"), (524_288, "524 k"), (10_240_000_000, "10.2 B"), (1e12, "1 T")],
        *[(3.25, "3.25"), (0.5, "0.5"), (6e-4, "6.00e-04"), (-20_000, "-20 k")],
    ],
)
def test_a_number_is_short(number, text):
    assert short(number) == text
