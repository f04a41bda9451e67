import math
import re

import pytest

from trainer.report.charts import SIDE, Line, chart, extremes, smoothed


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_a_line_fills_the_chart_and_its_ticks_are_round_numbers():
    drawn = chart("loss", [Line("a", [(0, 10.0), (50, 6.0), (100, 4.0)])], last_step=100)
    assert drawn is not None
    (line,) = drawn.drawings
    found = places(line.path)
    assert [x for x, _ in found] == [0, SIDE / 2, SIDE]
    assert 0 <= found[0][1] < found[1][1] < found[2][1] <= SIDE
    assert [tick.label for tick in drawn.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.label for tick in drawn.y_ticks] == ["4", "6", "8", "10"]
    assert all(0 <= tick.percent <= 100 for tick in (*drawn.x_ticks, *drawn.y_ticks))
    ten = next(tick for tick in drawn.y_ticks if tick.label == "10")
    assert found[0][1] == pytest.approx(SIDE * (1 - ten.percent / 100), abs=0.1)


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [0.0, 0.0], [1e-12, 1e-12], [-3.0, -3.0], [1e300, 0]])
def test_any_values_can_be_drawn(values):
    drawn = chart("figure", [Line("a", list(enumerate(values)))], last_step=max(1, len(values)))
    assert drawn is not None and drawn.y_ticks
    assert all(math.isfinite(y) for line in drawn.drawings for _, y in places(line.path))


def test_where_there_are_no_points_there_is_no_chart():
    assert chart("figure", [Line("a", [])], last_step=10) is None


def test_one_huge_spike_does_not_flatten_the_rest():
    points = [(step, 1.0 + step % 2) for step in range(200)]
    points[100] = (100, 1e6)
    drawn = chart("norm", [Line("a", points)], last_step=200)
    assert drawn is not None
    heights = [y for _, y in places(drawn.drawings[0].path)]
    assert max(heights) - min(y for y in heights if y >= 0) > SIDE / 2
    assert min(heights) < 0  # it leaves the chart at the top


def test_a_thinned_line_keeps_every_extreme_in_order():
    points = [(step, math.sin(step)) for step in range(10_000)]
    points[7_777] = (7_777, 9.0)
    thin = extremes(points, 10_000)
    assert len(thin) <= 800
    assert (7_777, 9.0) in thin
    assert thin == sorted(thin)


def test_smoothing_starts_at_the_first_value_and_follows_the_mean():
    assert smoothed([(1, 5.0)]) == [(1, 5.0)]
    line = smoothed([(step, 3.0) for step in range(100)])
    assert all(value == pytest.approx(3.0) for _, value in line)
    noisy = smoothed([(step, float(step % 2)) for step in range(2_000)])
    assert abs(noisy[-1][1] - 0.5) < 0.05
