from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Le, Lt

from pipeline.runner.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: Annotated[float, Gt(0), Le(1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: Annotated[int | None, Ge(1)] = None
    max_rate: Annotated[float, Ge(0), Lt(1)] | None = 0.1
    free: float = 7.0
    flag: bool = True
    name: str = ""
    inner: Inner = field(default_factory=Inner)


def test_what_is_in_range_or_left_out_passes() -> None:
    check_ranges(Outer())
    check_ranges(Outer(steps=1, max_rate=None, inner=Inner(share=1.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Outer(steps=0), "--steps is 0: it must be at least 1"),
        (Outer(max_rate=1.0), "--max-rate is 1.0: it must be less than 1"),
        (Outer(max_rate=-0.1), "--max-rate is -0.1: it must be at least 0"),
        (Outer(free=float("inf")), "--free is inf: it must be a finite number"),
        (Outer(free=float("nan")), "--free is nan: it must be a finite number"),
        (Outer(inner=Inner(share=0.0)), "--share is 0.0: it must be above 0"),
        (Outer(inner=Inner(share=1.5)), "--share is 1.5: it must be at most 1"),
    ],
)
def test_what_is_out_of_range_is_named(options: Outer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_ranges(options)
