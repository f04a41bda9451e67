"""GPT-2: a decoder-only transformer with layer norm before each part and learned positions.

Parameters have the names in OpenAI's code. Shapes: B sequences, T positions, C channels (width),
H heads of D = C / H channels, V entries of the vocabulary.
"""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.overrides import TorchFunctionMode

from trainer.config.model_config import ModelConfig
from trainer.config.options import Recompute
from trainer.model.activation_checkpointing import product_after, through_block
from trainer.model.activation_offload import Offload
from trainer.model.document_mask import FLEX_BLOCK, Mask, block_mask, within_documents
from trainer.model.fused import BiasedGelu, BiasedHeads, linear_without_bias_gradient
from trainer.model.kv_cache import KeyValues, LayerKeyValues
from trainer.model.loss import Reduction, Softmax, linear_cross_entropy, losses_and_gradient, lower

Batch = tuple[Tensor, Tensor]  # inputs and targets [B, T], int64


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: ModelConfig, recompute: Recompute) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.fused = False
        self.product_after = partial(product_after, mode=recompute)
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width)

    def forward(
        self, x: Tensor, norm: nn.Module, past: LayerKeyValues | None = None, mask: Mask | None = None
    ) -> Tensor:
        if self.fused:
            qkv = self.product_after(norm, partial(linear_without_bias_gradient, self.c_attn), x)
            q, k, v = BiasedHeads.apply(qkv, self.c_attn.bias, self.heads)  # type: ignore[no-untyped-call]
        else:
            qkv = self.product_after(norm, self.c_attn, x)  # [B, T, C] -> [B, T, 3C]
            q, k, v = qkv.chunk(3, dim=-1)  # [B, T, 3C] -> 3 × [B, T, C]
            q, k, v = (self._by_head(part) for part in (q, k, v))  # 3 × [B, T, C] -> 3 × [B, H, T, D]
        if past is not None:
            k, v, mask = past.extend(k, v)
        if isinstance(mask, BlockMask):
            y = flex_attention(q, k, v, block_mask=mask)
        else:
            # A single new position may see everything before it; several see each other causally.
            causal = mask is None and q.shape[2] > 1
            y = F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=causal, dropout_p=self.dropout if self.training else 0.0
            )  # softmax(q k^T / √D) v: [B, H, T, D]
        y = y.transpose(1, 2).flatten(2)  # [B, H, T, D] -> [B, T, C]
        return F.dropout(self.c_proj(y), self.dropout, self.training)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # [B, T, C] -> [B, H, T, D]


class FeedForward(nn.Module):
    """Two layers, four times wider in between."""

    def __init__(self, config: ModelConfig, recompute: Recompute) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.fused, self.recompute = False, recompute
        self.product_after = partial(product_after, mode=recompute)
        self.c_fc = nn.Linear(config.width, 4 * config.width)
        self.c_proj = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        if self.fused and self.recompute != "selective":
            x = self.product_after(norm, partial(linear_without_bias_gradient, self.c_fc), x)
            x = self.c_proj(BiasedGelu.apply(x, self.c_fc.bias))  # type: ignore[no-untyped-call]
        else:
            x = self.product_after(norm, self.c_fc, x)  # [B, T, C] -> [B, T, 4C]
            x = self.product_after(gelu, self.c_proj, x)  # [B, T, 4C] -> [B, T, C]
        return F.dropout(x, self.dropout, self.training)


def gelu(x: Tensor) -> Tensor:
    """GELU in the tanh form, which GPT-2 uses."""
    return F.gelu(x, approximate="tanh")


class Block(nn.Module):
    """One layer: attention and feed-forward, each after a norm and inside a residual connection."""

    def __init__(self, config: ModelConfig, recompute: Recompute = "none") -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=1e-5)
        self.attn = Attention(config, recompute)
        self.ln_2 = nn.LayerNorm(config.width, eps=1e-5)
        self.mlp = FeedForward(config, recompute)

    def forward(self, x: Tensor, past: LayerKeyValues | None = None, mask: Mask | None = None) -> Tensor:
        x = x + self.attn(x, self.ln_1, past, mask)  # x + attention(norm(x)): [B, T, C]
        return x + self.mlp(x, self.ln_2)  # type: ignore[no-any-return]  # a module's call is untyped


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019), whose output layer is its token embedding.

    The embedding has more rows than the vocabulary, for speed. No token uses them, and their logits are
    dropped: losses are over exactly the vocabulary.
    """

    def __init__(
        self, config: ModelConfig, *, recompute: Recompute = "none", recompute_every: int = 1
    ) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.padded_vocabulary, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self._recompute = [
            recompute if layer % recompute_every == 0 else "none" for layer in range(config.layers)
        ]
        self.h = nn.ModuleList(Block(config, mode) for mode in self._recompute)
        self.ln_f = nn.LayerNorm(config.width, eps=1e-5)
        self._softmax: Softmax = losses_and_gradient
        self._last_norm: Callable[[nn.LayerNorm, Tensor], Tensor] = last_norm
        self.flex = False  # whether attention within documents is FlexAttention

    def compile_parts(self, backend: str = "inductor") -> None:
        """Have `torch.compile` make kernels of the block (one compilation serves all) and of the loss.

        Not of the whole model: that would take minutes for xl, and the products between need no compiling.
        It does not work with ZeRO-3, whose hooks gather weights where a compiled block would not call them.
        """
        if backend == "inductor":  # a pool of compilers takes longer to start and to end than a dozen kernels
            torch._inductor.config.compile_threads = 1
        # It asks for nothing to work in place where recomputation is selective, and nothing does.
        logging.getLogger("torch._higher_order_ops.wrap").setLevel(logging.ERROR)
        softmax = torch.compile(losses_and_gradient, backend=backend, dynamic=False, fullgraph=True)
        self._softmax = softmax
        if torch.cuda.is_available():
            from trainer.model.kernels import losses_in_place  # which imports Triton

            self._softmax = losses_in_place
            self.flex = self.config.dropout == 0  # which FlexAttention does not know
        for block in self.h:
            # Layers of another kind, such as float8's, are called as they are.
            block.attn.fused = type(block.attn.c_attn) is nn.Linear  # type: ignore[union-attr]
            block.mlp.fused = type(block.mlp.c_fc) is nn.Linear  # type: ignore[union-attr]
            block.compile(backend=backend, dynamic=False, fullgraph=True)
        norm = torch.compile(lowered_layer_norm, backend=backend, dynamic=False, fullgraph=True)
        self._last_norm = lambda ln, x: norm(x, ln.weight, ln.bias)

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        reduction: Reduction = "none",
        position: Tensor | None = None,
        past: KeyValues | None = None,
    ) -> Tensor:
        """Return logits [B, T, V]; with targets [B, T] the loss in nats, of each position [B, T] or the mean.

        Targets that are `IGNORED` have loss 0 and do not count towards the mean. With one `position` a row
        [B] the logits are those after it, [B, V]. `past` is as for `features`.
        """
        x = self.features(tokens, past)  # [B, T] -> [B, T, C]
        if position is not None:
            x = x[torch.arange(len(x), device=x.device), position]  # [B, T, C] -> [B, C]
        if targets is None:
            return F.linear(x, self.wte.weight)[..., : self.config.vocabulary].float()  # -> [B, T, V]
        losses = linear_cross_entropy(
            x.flatten(0, 1),
            self.wte.weight,
            targets.flatten(),
            vocabulary=self.config.vocabulary,
            reduction=reduction,
            softmax=self._softmax,
        )
        return losses if reduction == "mean" else losses.view_as(targets)

    def features(self, tokens: Tensor, past: KeyValues | None = None) -> Tensor:
        """Return the input of the output layer [B, T, C].

        With `past`, tokens follow the cached ones and are added to the cache: any number at first, then one
        at a time. The whole cache counts as one document.
        """
        positions, layers = torch.arange(tokens.shape[1], device=tokens.device), None  # [T]
        if past is not None:
            positions, layers = past.grow(tokens.shape[1])  # [B, T]
        separator, mask = self.config.document_separator, None
        if separator is not None and past is None:
            flex = self.flex and tokens.shape[1] % FLEX_BLOCK == 0
            mask = (block_mask if flex else within_documents)(tokens, separator)
        x = self.wte(tokens) + self.wpe(positions)  # [B, T] -> [B, T, C]
        # The residual stream is as wide as the products that write into it: half the bytes of fp32.
        x = lower(F.dropout(x, self.config.dropout, self.training))
        offload = Offload(x.device) if "offload" in self._recompute else None
        for layer, block in enumerate(self.h):
            cache, mode = layers[layer] if layers else None, self._recompute[layer]
            random = self.config.dropout > 0
            x = through_block(block, x, cache, mask, mode=mode, random=random, offload=offload)
        return self._last_norm(self.ln_f, x)


def last_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return norm(x) in the type of the head's product."""
    return lower(norm(x))


def lowered_layer_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Return what `last_norm` does, without a module: one compilation serves all models of a shape."""
    return lower(F.layer_norm(x, gain.shape, gain, bias, eps=1e-5))


class _WithoutInitialValues(TorchFunctionMode):
    """Leaves out what modules do to new parameters: on the meta device that imports SymPy for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def outline(config: ModelConfig, *, recompute: Recompute = "none", recompute_every: int = 1) -> GPT2:
    """Return a GPT-2 without weights (on the meta device), which takes no memory."""
    with torch.device("meta"), _WithoutInitialValues():
        return GPT2(config, recompute=recompute, recompute_every=recompute_every)


def build(config: ModelConfig, *, seed: int, recompute: Recompute = "none", recompute_every: int = 1) -> GPT2:
    """Return an untrained GPT-2 on the CPU; its weights depend only on the seed.

    Weights are drawn from N(0, 0.02²), but those that write into the residual stream from
    N(0, 0.02² / 2L), since 2L of them add up (paper, section 2.3); biases are 0.
    """
    with _WithoutInitialValues():
        model = GPT2(config, recompute=recompute, recompute_every=recompute_every)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            deviation = 0.02 / math.sqrt(2 * config.layers) if name.endswith("c_proj.weight") else 0.02
            nn.init.normal_(parameter, std=deviation, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:  # the gain of a layer norm
            nn.init.ones_(parameter)
    return model
