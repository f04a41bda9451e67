"""Between a step's gradient and its update, which is applied only where loss and gradient norm allow it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.distributed.ranks import import_deepspeed

Verdict = Callable[[float], bool]  # of the whole gradient's norm: whether the update is to be applied


class Gate:
    """Stands where DeepSpeed has measured the whole gradient and not yet used it.

    DeepSpeed's ZeRO optimizers leave out an update whose norm is no number: on all ranks alike they drop the
    gradients and touch neither weights nor moments. Any other refused update takes the same way, by an
    infinite norm in place of its own. At stage 0 there is no such way: the gradients are dropped before
    the optimizer sees them, and clipped here, so that their norm is computed once.
    """

    def __init__(self, engine: Any, *, zero_stage: int, clip: float) -> None:
        self.norm = math.inf  # of the last gradient, before clipping; infinite where it was no number
        self.opened = False  # whether the last update was applied
        self._engine, self._zero_stage, self._clip = engine, zero_stage, clip
        self._verdict: Verdict = lambda _: True
        optimizer = engine.optimizer
        if zero_stage == 3:
            measure_groups = optimizer._get_norm_groups
            optimizer._get_norm_groups = lambda: self._passed_groups(measure_groups())
        elif zero_stage > 0:
            measure = optimizer.scaled_global_norm
            optimizer.scaled_global_norm = lambda: self._passed(measure())

    def close_unless(self, verdict: Verdict) -> None:
        """Let the verdict decide on the step's update; call it when all gradients are there."""
        self._verdict = verdict
        if self._zero_stage == 0:
            self._judge_whole_gradients()

    def _judge_whole_gradients(self) -> None:
        parameters = list(self._engine.module.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self._decide(float(norm))
        if not self.opened:
            self._engine.zero_grad()  # the optimizer passes over parameters without a gradient
        elif self._clip > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self._clip, norm)

    def _passed(self, norm: Tensor) -> Tensor:
        self._decide(float(norm))
        return norm if self.opened else torch.full_like(norm, math.inf)

    def _passed_groups(self, norms: list[Tensor]) -> list[Tensor]:
        whole = import_deepspeed().runtime.utils.combine_grad_norm_groups(norms)
        self._decide(float(whole))
        return norms if self.opened else [torch.full_like(norm, math.inf) for norm in norms]

    def _decide(self, norm: float) -> None:
        self.norm = norm if math.isfinite(norm) else math.inf
        self.opened = math.isfinite(norm) and self._verdict(norm)
