"""Sampling options. Nothing here imports torch; `next_token` implements them."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is sampled."""

    greedy: bool = False
    """Always take the most likely token."""
    temperature: Annotated[float, Ge(0)] = 0.8
    """Sampling temperature; 0 is greedy."""
    top_k: Annotated[int | None, Ge(1)] = None
    """Sample from the k most likely tokens only."""
    top_p: Annotated[float | None, Gt(0), Le(1)] = 0.95
    """Sample from the most likely tokens that together have this probability (the nucleus)."""

    repetition_penalty: Annotated[float, Gt(0)] = 1.0
    """Above 1, tokens that are already in the context become less likely; 1: off."""

    @property
    def is_greedy(self) -> bool:
        """Whether sampling is deterministic; below a temperature of one millionth only exact ties would be
        random."""
        return self.greedy or self.temperature < 1e-6
