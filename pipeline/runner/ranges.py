"""Ranges of options, declared where the option is: `steps: Annotated[int, Ge(1)]`."""

import dataclasses
import math
import typing
from typing import Any

from annotated_types import Ge, Gt, Le, Lt


def check_ranges(options: Any) -> None:
    """Check the numbers of an options dataclass, and of those in it, against their declared ranges.

    Raises:
        ValueError: one is out of range, NaN or infinite; the message names the option.
    """
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            option = f"--{field.name.replace('_', '-')} is {value}"
            for bound in _bounds(hints[field.name]):
                if not _holds(value, bound):
                    raise ValueError(f"{option}: it must be {_bound_text(bound)}")
            if not math.isfinite(value):
                raise ValueError(f"{option}: it must be a finite number")


def _bounds(hint: Any) -> list[Ge | Gt | Le | Lt]:
    """Return what the annotation says, also inside `… | None`."""
    found = [bound for bound in getattr(hint, "__metadata__", ()) if isinstance(bound, Ge | Gt | Le | Lt)]
    return found + [bound for inner in typing.get_args(hint) for bound in _bounds(inner)]


def _holds(value: Any, bound: Ge | Gt | Le | Lt) -> bool:
    match bound:
        case Ge(least):
            return bool(value >= least)
        case Gt(below):
            return bool(value > below)
        case Le(most):
            return bool(value <= most)
        case Lt(above):
            return bool(value < above)


def _bound_text(bound: Ge | Gt | Le | Lt) -> str:
    match bound:
        case Ge(least):
            return f"at least {least}"
        case Gt(below):
            return f"above {below}"
        case Le(most):
            return f"at most {most}"
        case Lt(above):
            return f"less than {above}"
