"""Line charts as SVG that scales to any width: the lines stretch, strokes and labels do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.report.units import short

Point = tuple[float, float]  # step, value
SIDE = 1000  # of the drawing; the page stretches it
BUCKETS = 400  # along a line: more points than pixels show nothing more
CLIPPED_SHARE = 0.02  # of the values, the largest, that may lie above the chart


@dataclass(frozen=True)
class Line:
    """One line of a chart, or its points alone."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    faint: bool = False
    dots: bool = False
    """Mark each point, with its value to be seen on hovering."""


@dataclass(frozen=True)
class Tick:
    """A labelled place along an axis, as a percentage of its length."""

    label: str
    percent: float


@dataclass(frozen=True)
class Drawing:
    """A line as the page draws it: the `d` of an SVG path, or marked points."""

    name: str
    colour: int
    faint: bool
    path: str
    dots: Sequence[tuple[str, str]]  # path of each, and its label


@dataclass(frozen=True)
class Chart:
    """A chart that is laid out."""

    title: str
    drawings: Sequence[Drawing]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[tuple[str, float, str]] = field(default=())
    """Vertical marks: kind, place in percent, and label."""


def chart(
    title: str, lines: Sequence[Line], *, last_step: float, marks: Sequence[tuple[str, float, str]] = ()
) -> Chart | None:
    """Lay lines out over the steps from 0 to `last_step`; None if there is nothing to draw.

    Args:
        marks: kind, step and label of what is to be marked.
    """
    values = [y for line in lines for _, y in line.points]
    if not values:
        return None
    low, high = _range(values)
    x_ticks = [Tick(short(x), 100 * x / last_step) for x in _round_values(0, last_step, 5)]
    y_ticks = [Tick(short(y), 100 * (y - low) / (high - low)) for y in _round_values(low, high, 5)]

    def place(point: Point) -> str:
        x, y = SIDE * point[0] / last_step, SIDE * (1 - (point[1] - low) / (high - low))
        return f"{x:.1f} {min(max(y, -SIDE), 2 * SIDE):.1f}"

    drawings = [
        Drawing(
            line.name,
            line.colour,
            line.faint,
            "M" + "L".join(map(place, extremes(line.points, last_step))) if line.points else "",
            [(f"M{place(p)}h0", f"step {p[0]:,.0f}: {p[1]:.4f}") for p in line.points] if line.dots else [],
        )
        for line in lines
    ]
    shown = [(kind, 100 * step / last_step, label) for kind, step, label in marks]
    return Chart(title, drawings, x_ticks, y_ticks, shown)


def extremes(points: Sequence[Point], last_step: float) -> list[Point]:
    """Thin a line out to the lowest and the highest point of each bucket of steps, so that spikes stay."""
    if len(points) <= 2 * BUCKETS:
        return list(points)
    buckets: dict[int, list[Point]] = {}
    for point in points:
        buckets.setdefault(int(BUCKETS * point[0] / last_step), []).append(point)
    kept = []
    for inside in buckets.values():
        ends = {min(inside, key=lambda p: p[1]), max(inside, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def smoothed(points: Sequence[Point], share: float = 0.02) -> list[Point]:
    """Return an exponential moving average over about this share of the points, without a bias at first."""
    keep = 1 - 1 / max(1.0, share * len(points))
    total, weight, found = 0.0, 0.0, []
    for x, y in points:
        total, weight = keep * total + (1 - keep) * y, keep * weight + (1 - keep)
        found.append((x, total / weight))
    return found


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: all values but the largest few, and a little space."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[math.ceil((1 - CLIPPED_SHARE) * len(ordered)) - 1]
    space = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (max(0.0, low - space) if low >= 0 else low - space), high + space


def _round_values(low: float, high: float, about: int) -> list[float]:
    """Return about so many round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
