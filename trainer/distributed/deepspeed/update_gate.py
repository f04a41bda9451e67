"""Applies or skips a step's update, depending on its loss and gradient norm."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.distributed.ranks import import_deepspeed

Accept = Callable[[float], bool]  # of the whole gradient's norm: whether the update is applied


class UpdateGate:
    """Hooks in where DeepSpeed has computed the norm of the whole gradient and not yet used it.

    DeepSpeed's ZeRO optimizers skip an update whose norm is NaN or Inf: on all ranks they drop the gradients
    and change neither weights nor moments. Other updates are skipped in the same way, by replacing their norm
    with Inf. At stage 0 this is not possible: the gradients are dropped before the optimizer sees them, and
    clipped here, so that their norm is computed once.
    """

    def __init__(self, engine: Any, *, zero_stage: int, clip: float) -> None:
        self.norm = math.inf  # of the last gradient, before clipping; Inf if it was NaN or Inf
        self.applied = False  # whether the last update was applied
        self._engine, self._zero_stage, self._clip = engine, zero_stage, clip
        self._accept: Accept = lambda _: True
        optimizer = engine.optimizer
        if zero_stage == 3:
            measure_groups = optimizer._get_norm_groups
            optimizer._get_norm_groups = lambda: self._passed_groups(measure_groups())
        elif zero_stage > 0:
            measure = optimizer.scaled_global_norm
            optimizer.scaled_global_norm = lambda: self._passed(measure())

    def apply_if(self, accept: Accept) -> None:
        """Let `accept` decide on the step's update; call it when all gradients are there."""
        self._accept = accept
        if self._zero_stage == 0:
            self._judge_whole_gradients()

    def _judge_whole_gradients(self) -> None:
        parameters = list(self._engine.module.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self._decide(float(norm))
        if not self.applied:
            self._engine.zero_grad()  # the optimizer passes over parameters without a gradient
        elif self._clip > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self._clip, norm)

    def _passed(self, norm: Tensor) -> Tensor:
        self._decide(float(norm))
        return norm if self.applied else torch.full_like(norm, math.inf)

    def _passed_groups(self, norms: list[Tensor]) -> list[Tensor]:
        whole = import_deepspeed().runtime.utils.combine_grad_norm_groups(norms)
        self._decide(float(whole))
        return norms if self.applied else [torch.full_like(norm, math.inf) for norm in norms]

    def _decide(self, norm: float) -> None:
        self.norm = norm if math.isfinite(norm) else math.inf
        self.applied = math.isfinite(norm) and self._accept(norm)
