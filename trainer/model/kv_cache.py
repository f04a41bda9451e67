"""The KV cache: keys and values of the tokens read so far, so that none is read twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config.model_config import ModelConfig


@dataclass(kw_only=True, slots=True)
class LayerKeyValues:
    """One layer's keys and values, while new tokens are read."""

    keys: Tensor  # [B, H, S, D]
    values: Tensor
    end: int  # of the longest sequence, its new tokens included
    where: Tensor  # [B, 1, 1, 1]: the position of each sequence's first new token
    visible: Tensor | None  # [B, 1, 1, end]: what a new token may attend to; None: all of it

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store the keys and values of new tokens; return those to attend to, and which are visible."""
        new = keys.shape[2]
        if new > 1:  # nothing came before, so what is new is all there is
            self.keys[:, :, :new], self.values[:, :, :new] = keys, values
            return keys, values, None
        self.keys.scatter_(2, self.where.expand_as(keys), keys)
        self.values.scatter_(2, self.where.expand_as(values), values)
        return self.keys[:, :, : self.end], self.values[:, :, : self.end], self.visible


class KeyValues:
    """Keys and values of B sequences, each as long as it is.

    Memory for S tokens of each is allocated once. What is beyond a sequence's length is never attended to,
    and is overwritten as the sequence grows.
    """

    def __init__(self, config: ModelConfig, *, sequences: int, positions: int, like: Tensor) -> None:
        """Allocate memory on the device and in the type of `like`."""
        shape = (config.layers, sequences, config.heads, positions, config.width // config.heads)
        self.keys = like.new_zeros(shape)  # [L, B, H, S, D]; zeros, since 0 × nan is nan even where masked
        self.values = like.new_zeros(shape)
        self.lengths = [0] * sequences

    def grow(self, new: int) -> tuple[Tensor, list[LayerKeyValues]]:
        """Prepare for `new` tokens of every sequence: any number if nothing was read yet, else one.

        Returns:
            Their positions [B, T], and each layer's part.
        """
        assert new == 1 or not any(self.lengths)
        device, end = self.keys.device, max(self.lengths) + new
        where = torch.tensor(self.lengths, device=device)[:, None]  # [B, 1]
        visible = None
        if len(set(self.lengths)) > 1:
            visible = (torch.arange(end, device=device) <= where)[:, None, None]  # [B, 1, 1, end]
        layers = [
            LayerKeyValues(keys=keys, values=values, end=end, where=where[..., None, None], visible=visible)
            for keys, values in zip(self.keys, self.values, strict=True)
        ]
        self.lengths = [length + new for length in self.lengths]
        return where + torch.arange(new, device=device), layers

    def replace(self, rows: Sequence[int], others: "KeyValues", sources: Sequence[int]) -> None:
        """Replace sequences by those of another cache: `rows[i]` by its `sources[i]`."""
        end = others.keys.shape[3]
        self.keys[:, rows, :, :end] = others.keys[:, sources]
        self.values[:, rows, :, :end] = others.values[:, sources]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these sequences."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = [self.lengths[row] for row in rows]
