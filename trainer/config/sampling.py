"""How the next token is chosen: the options. Nothing here imports torch; `next_token` does the sums."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen from the model's probabilities."""

    greedy: bool = False
    """Always take the likeliest token."""
    temperature: float = 0.8
    """Below 1 the likely tokens become likelier, above 1 less so; 0 is greedy."""
    top_k: int | None = None
    """Choose among the k likeliest tokens only."""
    top_p: float | None = 0.95
    """Choose among the likeliest tokens that together have this probability (the nucleus)."""

    repetition_penalty: float = 1.0
    """Above 1, tokens that the context holds already become less likely; 1 changes nothing."""

    def check(self) -> None:
        """Raise `ValueError` if a value is out of range."""
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"--temperature is {self.temperature}: it must be at least 0, and finite")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--top-k is {self.top_k}: it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"--top-p is {self.top_p}: it must be above 0 and at most 1")
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(
                f"--repetition-penalty is {self.repetition_penalty}: it must be above 0, and finite"
            )

    @property
    def is_greedy(self) -> bool:
        """Whether chance has no part in it: below a millionth, only exact ties would be left to it."""
        return self.greedy or self.temperature < 1e-6
