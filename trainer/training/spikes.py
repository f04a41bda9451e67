"""Finds losses and gradient norms that are NaN, Inf or spikes: which updates to skip, when to stop the run.

Decisions depend only on the global loss and gradient norm, which are the same on every rank, and on earlier
ones, which are saved in the checkpoint. So every rank decides alike, and so does a resumed run.
"""

import math
from dataclasses import dataclass
from typing import Any

from trainer.config.options import AnomalyOptions

WINDOW = 128  # values that a new one is compared with, as in llm.c (llmc/outlier_detector.h)


@dataclass(frozen=True, kw_only=True)
class UpdateDecision:
    """Whether a step's update is applied, and why not."""

    applied: bool
    reason: str  # of the anomaly; empty if there is none


class SpikeDetector:
    """Decides for each step of a run whether its update is applied."""

    def __init__(self, options: AnomalyOptions, state: dict[str, Any] | None = None) -> None:
        """Start, or continue from the `state` of a checkpoint."""
        state = state or {}
        self._options = options
        self._losses: list[float] = list(state.get("losses", []))
        self._norms: list[float] = list(state.get("norms", []))
        self.skipped: int = state.get("skipped", 0)
        self.in_a_row: int = state.get("in_a_row", 0)
        self.spikes: int = state.get("spikes", 0)

    @property
    def state(self) -> dict[str, Any]:
        """What later decisions depend on; JSON stores it exactly."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "spikes": self.spikes,
        }

    @property
    def exhausted(self) -> bool:
        """Whether too many updates in a row were skipped."""
        return self.in_a_row >= self._options.max_skips_in_a_row

    def decide(self, loss: float, norm: float) -> UpdateDecision:
        """Decide whether the update with this loss and gradient norm is applied, and remember both.

        A spike joins the window like any other value (as in llm.c): if the level has changed for good, it
        soon counts as normal, and a run cannot skip updates forever.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return self._decision(applied=False, reason=f"the loss is {loss}, the gradient norm {norm}")
        found = [
            f"{name} {value:.4g} is {score:.1f} standard deviations above the last {WINDOW}"
            for name, value, score in (
                ("loss", loss, deviations(loss, self._losses)),
                ("gradient norm", norm, deviations(norm, self._norms)),
            )
            if score > self._options.spike_threshold
        ]
        self._losses = [*self._losses, loss][-WINDOW:]
        self._norms = [*self._norms, norm][-WINDOW:]
        self.spikes += bool(found)
        return self._decision(applied=not (found and self._options.skip_spikes), reason="; ".join(found))

    def _decision(self, *, applied: bool, reason: str) -> UpdateDecision:
        self.in_a_row = 0 if applied else self.in_a_row + 1
        self.skipped += not applied
        return UpdateDecision(applied=applied, reason=reason)


def deviations(value: float, window: list[float]) -> float:
    """Return how many standard deviations a value is above the mean of a full window; 0 before it is full.

    If all its values are equal, any other value is infinitely many above.
    """
    if len(window) < WINDOW:
        return 0.0
    mean = math.fsum(window) / WINDOW
    deviation = math.sqrt(math.fsum((other - mean) ** 2 for other in window) / WINDOW)
    if deviation == 0:
        return 0.0 if value == mean else math.copysign(math.inf, value - mean)
    return (value - mean) / deviation
