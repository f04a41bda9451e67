"""Attention masks within documents.

A position attends to itself and to what came before it in its own document. Each document begins with the
separator; what is before the first one is the end of another. Shapes: B sequences, T positions.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

FLEX_BLOCK = 128  # positions of a block of FlexAttention's, of which a context must be a multiple

Mask = Tensor | BlockMask


def within_documents(tokens: Tensor, separator: int) -> Tensor:
    """Return which positions each may attend to, as a table [B, 1, T, T].

    It takes T² bytes per sequence, and PyTorch's fastest attention kernels do not support such a table.
    """
    documents = number_documents(tokens, separator)
    same = documents[:, :, None] == documents[:, None, :]  # [B, T, T]
    return same.tril()[:, None]  # -> [B, 1, T, T]


def block_mask(tokens: Tensor, separator: int) -> BlockMask:
    """Return the same for FlexAttention, which skips fully masked blocks."""
    documents = number_documents(tokens, separator)

    def seen(b: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents[b, query] == documents[b, key])

    b, t = tokens.shape
    create = _compiled() if tokens.is_cuda else create_block_mask
    mask: BlockMask = create(seen, b, None, t, t, device=tokens.device.type)
    return mask


def number_documents(tokens: Tensor, separator: int) -> Tensor:
    """Return to which document of its row each token belongs [B, T]."""
    return (tokens == separator).cumsum(dim=1)


@cache
def _compiled() -> Any:
    """Return the compiled maker of block masks; uncompiled, it makes the whole table first."""
    return torch.compile(create_block_mask)
