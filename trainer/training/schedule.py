"""The learning rate of every step, a pure function of its number: nothing to save, nothing to restore."""

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
    """Return the rate of step `step` (from 0): linear to `peak`, and in the end down to `final`.

    The warm-up ends with the peak at step `warmup_steps`; `final` would be reached at step `steps`, one
    after the last (as in llm.c and nanoGPT). In between lies half a cosine, over `decay_steps` that are
    all the rest; or with "wsd" (warm-up, stable, decay: Hu et al. 2024, "MiniCPM") the peak, and only in
    the last `decay_steps` the fall, as 1 - √progress, which Hägele et al. 2024 ("Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations") found better than a straight line.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - (steps - decay_steps)) / max(1, decay_steps)
    progress = min(1.0, max(0.0, progress))
    left = 1 - math.sqrt(progress) if schedule == "wsd" else 0.5 * (1 + math.cos(math.pi * progress))
    return final + (peak - final) * left
