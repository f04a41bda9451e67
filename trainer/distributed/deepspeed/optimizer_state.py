"""Where DeepSpeed keeps every parameter's fp32 value and the optimizer's moments, whatever the ZeRO stage.

DeepSpeed's public `safe_get_full_*` functions do nearly this, but not at stage 0, not before the first
step, and at stages 1 and 2 by a sum in floating point, in which -0 becomes 0. So this module, alone, knows
which tensors of DeepSpeed 0.19 hold what:

stage 0:       the optimizer updates the parameters themselves;
stages 1, 2:   one flat fp32 partition a parameter group, of which a parameter is the fragment that its
               `_hp_mapping` names, if this rank has any of it;
stage 3:       one flat fp32 partition a sub-group, of which a parameter is a slice on each rank, in the
               order of the ranks, the last of them padded.
"""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trainer.distributed.muon import Matrix
from trainer.distributed.ranks import all_gather

MOMENTS = ("exp_avg", "exp_avg_sq")


class Partitions:
    """The state of a DeepSpeed engine's model and optimizer, by parameter name and in whole shapes.

    Reading is collective at stages 1 to 3: every rank must read the same tensors in the same order.

    Args:
        one_moment: the parameters that are not AdamW's, and have no second moment.
    """

    def __init__(
        self,
        engine: Any,
        optimizer: torch.optim.AdamW,
        *,
        zero_stage: int,
        one_moment: Collection[str] = (),
    ) -> None:
        self._parameters: dict[str, nn.Parameter] = dict(engine.module.named_parameters())
        self._inner, self._zero_stage, self._zero_optimizer = optimizer, zero_stage, engine.optimizer
        self.one_moment = tuple(one_moment)
        self._steps = self._create_moments()

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The whole shape of every parameter (at stage 3 what a rank holds of it is smaller)."""
        return {name: getattr(p, "ds_shape", p.shape) for name, p in self._parameters.items()}

    def read(self, kind: str, name: str) -> Tensor:
        """Return a parameter's "weights", "exp_avg" or "exp_avg_sq", whole, on every rank."""
        parameter = self._parameters[name]
        if self._zero_stage == 3:
            key = None if kind == "weights" else kind
            whole: Tensor = self._zero_optimizer.get_full_hp_param(parameter, key)
            return whole
        if kind == "weights":  # which every rank has: the partitions are copied into them after each step
            return parameter.detach()
        if self._zero_stage == 0:
            moment: Tensor = self._inner.state[parameter][kind]
            return moment
        return _summed_fragments(parameter, kind)

    def replicated(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that every rank holds whole: all of them, at stage 3 the small ones that stay."""
        for name, parameter in self._parameters.items():
            if self._zero_stage < 3 or parameter.numel() == parameter.ds_numel:  # type: ignore[attr-defined]
                yield name, parameter

    def write_moment(self, kind: str, name: str, value: Tensor) -> None:
        """Set this rank's part of a moment from its whole value."""
        parameter = self._parameters[name]
        if self._zero_stage == 0:
            self._inner.state[parameter][kind].copy_(value)
        elif self._zero_stage == 3:
            self._write_slice(parameter, kind, value.flatten())
        elif parameter._hp_mapping is not None:  # type: ignore[attr-defined]  # set by DeepSpeed
            parameter.set_full_hp_param(value, kind)  # type: ignore[attr-defined]

    def _write_slice(self, parameter: Any, kind: str, value: Tensor) -> None:
        """Set this rank's slice; the last rank's may reach beyond the value, into the padding."""
        slice_, _ = self._zero_optimizer._get_fp32_opt_state_partition(parameter, False, kind)
        part = value[torch.distributed.get_rank() * slice_.numel() :][: slice_.numel()]
        slice_[: len(part)].copy_(part)

    @property
    def updates(self) -> int:
        """AdamW's step count, which its bias correction uses."""
        return int(self._steps[0])

    @updates.setter
    def updates(self, count: int) -> None:
        for step in self._steps:
            step.fill_(count)

    def matrices(self) -> list[Matrix]:
        """Return where the parameters with one moment lie; all ranks must call it."""
        places = [self._place(self._parameters[name]) for name in self.one_moment]
        counts = [tuple(count for _, _, count in places)]
        if self._zero_stage > 0:
            counts = all_gather(counts[0])
        return [
            Matrix(tensor=tensor, at=at, shape=self.shapes[name], counts=held)
            for name, (tensor, at, _), held in zip(
                self.one_moment, places, zip(*counts, strict=True), strict=True
            )
        ]

    def _place(self, parameter: Any) -> tuple[Tensor, int, int]:
        """Return in which tensor this rank updates a parameter, from where, and how many numbers of it."""
        if self._zero_stage == 0:
            return parameter, 0, parameter.numel()
        if self._zero_stage == 3:
            group, at, count = self._zero_optimizer.grad_position[
                self._zero_optimizer.get_param_id(parameter)
            ]
            left = parameter.ds_numel - torch.distributed.get_rank() * count
            return self._zero_optimizer.fp32_partitioned_groups_flat[group], at, max(0, min(count, left))
        groups = self._zero_optimizer.bit16_groups
        group = next(i for i, of_it in enumerate(groups) if any(p is parameter for p in of_it))
        tensor = self._zero_optimizer.single_partition_of_fp32_groups[group]
        if parameter._hp_mapping is None:
            return tensor, 0, 0
        address = parameter._hp_mapping.get_hp_fragment_address()
        return tensor, address.start, address.numel

    def _create_moments(self) -> list[Tensor]:
        """Give the optimizer now the state that it would make at its first step; return AdamW's counters."""
        steps = []
        matrices = {id(self._place(self._parameters[name])[0]) for name in self.one_moment}
        for tensor in self._own_tensors():
            state = self._inner.state[tensor]
            kinds = MOMENTS[:1] if id(tensor) in matrices else MOMENTS
            state.update({kind: torch.zeros_like(tensor) for kind in kinds})
            if kinds == MOMENTS:
                state["step"] = torch.zeros((), device=tensor.device)
                steps.append(state["step"])
        if self._zero_stage in (1, 2):
            self._zero_optimizer._lazy_init_hp_params_optimizer_state()  # tells each parameter its fragments
        return steps

    def _own_tensors(self) -> list[Tensor]:
        """Return the tensors that this rank's AdamW updates."""
        if self._zero_stage == 0:
            return list(self._parameters.values())
        if self._zero_stage == 3:
            return list(self._zero_optimizer.fp32_partitioned_groups_flat)
        return list(self._zero_optimizer.single_partition_of_fp32_groups)


def _summed_fragments(parameter: Any, kind: str) -> Tensor:
    """Return a moment of which each rank has a fragment or nothing, by a sum in which all else is zero.

    The bits are added as integers: exact, whereas -0.0 + 0.0 is 0.0.
    """
    whole = torch.zeros_like(parameter, dtype=torch.float32).flatten()
    if parameter._hp_mapping is not None:
        place = parameter._hp_mapping.lp_fragment_address
        fragment = parameter._hp_mapping.get_hp_fragment(kind)
        whole.narrow(0, place.start, place.numel).copy_(fragment)
    torch.distributed.all_reduce(whole.view(torch.int32))
    return whole.view_as(parameter)
