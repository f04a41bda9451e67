"""How the next token is chosen: the options. Nothing here imports torch; `next_token` does the sums."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen from the model's probabilities."""

    greedy: bool = False
    """Always take the likeliest token."""
    temperature: Annotated[float, Ge(0)] = 0.8
    """Below 1 the likely tokens become likelier, above 1 less so; 0 is greedy."""
    top_k: Annotated[int | None, Ge(1)] = None
    """Choose among the k likeliest tokens only."""
    top_p: Annotated[float | None, Gt(0), Le(1)] = 0.95
    """Choose among the likeliest tokens that together have this probability (the nucleus)."""

    repetition_penalty: Annotated[float, Gt(0)] = 1.0
    """Above 1, tokens that the context holds already become less likely; 1 changes nothing."""

    @property
    def is_greedy(self) -> bool:
        """Whether chance has no part in it: below a millionth, only exact ties would be left to it."""
        return self.greedy or self.temperature < 1e-6
