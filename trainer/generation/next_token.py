"""Samples the next token of several sequences at once.

In the order of `transformers`: repetition penalty, temperature, top-k, then top-p over what top-k leaves.
Shapes: B sequences, V entries of the vocabulary, K candidates.
"""

import torch
from torch import Tensor

from trainer.config.sampling import Sampling

NUCLEUS = 1024  # tokens that nearly always contain the nucleus: a tenth of the work of sorting all


def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make seen tokens less likely (Keskar et al. 2019, section 4.1); below 1 more likely.

    Args:
        logits: [B, V].
        seen: whether each token is in the context already [B, V].
    """
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, lowered, logits)


def candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return the probabilities [B, K], in fp64, of the candidate tokens, and the tokens [B, K].

    Top-p keeps a token if all more likely ones together have less than p (Holtzman et al. 2020, section 3.1).
    """
    size = logits.shape[-1]
    if sampling.top_k is not None and sampling.top_k < size:
        logits, tokens = logits.topk(sampling.top_k)  # [B, V] -> [B, K], falling
    elif sampling.top_p is not None and sampling.top_p < 1:
        return _nucleus(*_likeliest(_softmax(logits, sampling.temperature), sampling.top_p), sampling.top_p)
    else:
        tokens = torch.arange(size, device=logits.device).expand_as(logits)
    probabilities = _softmax(logits, sampling.temperature).double()
    if sampling.top_p is None or sampling.top_p == 1:
        return probabilities, tokens
    return _nucleus(probabilities, tokens, sampling.top_p)


def _softmax(logits: Tensor, temperature: float) -> Tensor:
    """Return softmax(logits / temperature); the largest logit is subtracted first, against overflow."""
    return torch.softmax((logits - logits.amax(-1, keepdim=True)) / temperature, -1)


def _likeliest(probabilities: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """Return the most likely tokens, with at least that mass, and their descending probabilities."""
    if not probabilities.is_cuda and probabilities.shape[-1] > NUCLEUS:  # a GPU sorts faster
        some, tokens = probabilities.topk(NUCLEUS)
        if bool((some.sum(-1) > mass).all()):
            return some.double(), tokens
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    return ordered.double(), tokens


def _nucleus(probabilities: Tensor, tokens: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """Set descending probabilities beyond the mass to 0, and normalize."""
    before = probabilities.cumsum(-1) - probabilities  # of all more likely ones; 0 for the first, which stays
    kept = probabilities * (before < mass)
    return kept / kept.sum(-1, keepdim=True), tokens


def choose(logits: Tensor, sampling: Sampling, uniforms: list[float]) -> Tensor:
    """Return the next token of each sequence [B].

    Args:
        logits: [B, V].
        uniforms: a number in [0, 1) per sequence, which decides among the candidates.
    """
    if sampling.is_greedy:
        return logits.argmax(-1)
    probabilities, tokens = candidates(logits, sampling)
    # A token is chosen if its uniform number lies between the bound before it and its own.
    bounds = probabilities.cumsum(-1)
    uniform = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None]  # [B, 1]
    index = torch.searchsorted(bounds, uniform * bounds[:, -1:], right=True)
    return tokens.gather(-1, index)[:, 0]
