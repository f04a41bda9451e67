"""The learning rate of every step, a pure function of its number: nothing to save, nothing to restore."""

import math


def learning_rate(step: int, *, peak: float, final: float, warmup_steps: int, steps: int) -> float:
    """Return the rate of step `step` (from 0): linear to `peak`, then half a cosine down to `final`.

    The warm-up ends with the peak at step `warmup_steps`, and the cosine would reach `final` at step
    `steps`, one after the last (as in llm.c and nanoGPT).
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
