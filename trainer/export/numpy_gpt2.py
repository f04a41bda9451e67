"""GPT-2's forward pass in NumPy alone, independent of the trained model, to check exports.

Parameters are requested one by one, so files are read on demand. Shapes: T positions,
C channels, H heads of D = C / H channels, V entries of the vocabulary, P positions asked about.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config.model_config import ModelConfig

Array = NDArray[np.float32]
Parameters = Callable[[str], Array]
"""Returns a parameter by our own name, in fp32: matrices as [out, in], the embedding without padding."""


def logits(
    parameters: Parameters, config: ModelConfig, tokens: Sequence[int], positions: Sequence[int]
) -> Array:
    """Return the logits [P, V] that follow some positions of a text (Radford et al. 2019, section 2.3)."""
    embedding = parameters("wte.weight")
    x = embedding[list(tokens)] + parameters("wpe.weight")[: len(tokens)]  # [T, C]
    for layer in range(config.layers):
        x = _block(x, _Scope(parameters, f"h.{layer}"), config.heads)  # [T, C] -> [T, C]
    x = _norm(x[list(positions)], _Scope(parameters, "ln_f"))  # [T, C] -> [P, C]
    return x @ embedding.T  # [P, C] -> [P, V]


class _Scope:
    """The parameters whose names begin alike."""

    def __init__(self, parameters: Parameters, prefix: str) -> None:
        self._parameters, self._prefix = parameters, prefix

    def within(self, name: str) -> "_Scope":
        return _Scope(self._parameters, f"{self._prefix}.{name}")

    @property
    def weight(self) -> Array:
        return self._parameters(f"{self._prefix}.weight")

    @property
    def bias(self) -> Array:
        return self._parameters(f"{self._prefix}.bias")


def _block(x: Array, block: _Scope, heads: int) -> Array:
    qkv = _linear(_norm(x, block.within("ln_1")), block.within("attn.c_attn"))  # [T, C] -> [T, 3C]
    x = x + _linear(_attention(qkv, heads), block.within("attn.c_proj"))  # [T, C]
    inner = _gelu(_linear(_norm(x, block.within("ln_2")), block.within("mlp.c_fc")))  # [T, C] -> [T, 4C]
    return x + _linear(inner, block.within("mlp.c_proj"))  # [T, 4C] -> [T, C]


def _norm(x: Array, scope: _Scope) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-5))
    result: Array = centred / deviation * scope.weight + scope.bias
    return result


def _linear(x: Array, scope: _Scope) -> Array:
    return x @ scope.weight.T + scope.bias


def _attention(qkv: Array, heads: int) -> Array:
    length = len(qkv)
    parts = np.split(qkv, 3, axis=-1)  # [T, 3C] -> 3 × [T, C]
    q, k, v = (part.reshape(length, heads, -1).swapaxes(0, 1) for part in parts)  # -> 3 × [H, T, D]
    future = np.triu(np.full((length, length), -np.inf, np.float32), 1)  # [T, T]
    result = np.empty_like(q)
    for head in range(heads):  # one at a time: all the scores of all heads would be H T² numbers
        scores = q[head] @ k[head].T / np.float32(np.sqrt(q.shape[-1])) + future  # [T, D] -> [T, T]
        result[head] = _softmax(scores) @ v[head]  # [T, T] -> [T, D]
    return result.swapaxes(0, 1).reshape(length, -1)  # [H, T, D] -> [T, C]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    result: Array = powers / powers.sum(-1, keepdims=True)
    return result


def _gelu(x: Array) -> Array:
    inner: NDArray[Any] = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    result: Array = np.float32(0.5) * x * (1 + np.tanh(inner))  # the tanh form, which GPT-2 uses
    return result
