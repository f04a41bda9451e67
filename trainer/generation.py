"""Text from a model: which tokens may come next, which one comes, and a context that never runs out."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainer.model import GPT2, KeyValues
from trainer.sampling import Sampling


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probability of each token [V], given its logits [V].

    Temperature first, then top-k, then top-p over what top-k has left (Holtzman et al. 2020).
    """
    if sampling.greedy or sampling.temperature == 0:
        chosen = torch.zeros_like(logits)
        chosen[logits.argmax()] = 1.0
        return chosen
    ordered, order = torch.sort(logits.double() / sampling.temperature, descending=True, stable=True)
    mass = torch.softmax(ordered[: sampling.top_k], dim=-1)  # [K], falling
    if sampling.top_p is not None:
        before = mass.cumsum(dim=-1) - mass  # of all likelier tokens; 0 for the first, which always stays
        mass = mass * (before < sampling.top_p)
        mass = mass / mass.sum()
    result = torch.zeros_like(logits, dtype=torch.float64)
    result[order[: len(mass)]] = mass
    return result


def generate(
    model: GPT2,
    prompt: list[int],
    *,
    count: int,
    sampling: Sampling,
    generator: torch.Generator,
    end: int | None = None,
) -> Iterator[int]:
    """Yield tokens that go on from the prompt, `count` of them or until the token `end`.

    Keys and values are computed once a token. When the context is full, its older half is forgotten and
    the rest read afresh, since GPT-2's learned positions cannot slide. A prompt longer than the context
    counts by its end.

    Args:
        prompt: at least one token.
        generator: on the CPU; its state alone decides what is drawn.
    """
    assert prompt, "a model goes on from at least one token"
    model.eval()
    context = model.config.context
    seen = prompt[-context:]
    unread = seen
    past = [KeyValues() for _ in model.h]
    for _ in range(count):
        if past[0].length + len(unread) > context:
            seen = seen[-(context // 2) :]
            unread, past = seen, [KeyValues() for _ in model.h]
        token = _next_token(model, unread, past, sampling, generator)
        if token == end:
            return
        seen, unread = [*seen, token], [token]
        yield token


@torch.inference_mode()
def _next_token(
    model: GPT2, unread: list[int], past: list[KeyValues], sampling: Sampling, generator: torch.Generator
) -> int:
    tokens = torch.tensor([unread], device=model.wte.weight.device)  # [1, T]
    logits = model(tokens, past=past)[0, -1].cpu()  # [V]
    return int(torch.multinomial(probabilities(logits, sampling), 1, generator=generator))
