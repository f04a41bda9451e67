"""The learning rate of each step, a pure function of its number, so a checkpoint need not store it."""

import math

from trainer.config.options import Schedule


def learning_rate(
    step: int,
    *,
    schedule: Schedule,
    peak: float,
    final: float,
    warmup_steps: int,
    decay_steps: int,
    steps: int,
) -> float:
    """Return the learning rate of step `step` (from 0): linear warm-up to `peak`, then decay to `final`.

    The warm-up reaches the peak at step `warmup_steps`; `final` would be reached at step `steps`, one after
    the last (as in llm.c and nanoGPT). The cosine schedule decays over all steps after the warm-up. With
    "wsd" (warm-up, stable, decay: Hu et al. 2024, "MiniCPM") the rate stays at the peak and decays only in
    the last `decay_steps`, as 1 - √progress, which Hägele et al. 2024 ("Scaling Laws and Compute-Optimal
    Training Beyond Fixed Training Durations") found better than linear decay.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - (steps - decay_steps)) / max(1, decay_steps)
    progress = min(1.0, max(0.0, progress))
    left = 1 - math.sqrt(progress) if schedule == "wsd" else 0.5 * (1 + math.cos(math.pi * progress))
    return final + (peak - final) * left
