"""The sizes that `--size` names: a shape, and the recipe that it is trained by unless told otherwise."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """What `--size` names: a shape, and the recipe that it is trained by unless told otherwise."""

    layers: int
    heads: int
    width: int
    context: int = 1024
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int = 700
    steps: int
    global_batch_tokens: int
    micro_batch: int
    evaluation_tokens: int = 20 * 524_288


# Shapes: GPT-2 paper, table 2. Recipes of the four: llm.c's published runs (124M on 10B tokens, 350M on
# 30B, 774M on 150B, 1558M on 32B). Micro-batches fit an 80 GB GPU without activation checkpointing.
SIZES = {
    # For tests, in seconds.
    "micro": Size(
        layers=2,
        heads=2,
        width=64,
        context=128,
        learning_rate=3e-3,
        final_learning_rate=3e-4,
        warmup_steps=10,
        steps=100,
        global_batch_tokens=16 * 128,  # = 2,048
        micro_batch=8,
        evaluation_tokens=32 * 128,  # = 4,096
    ),
    # For two CPU cores and minutes: a high rate and a small batch, so that a hundred steps show.
    "nano": Size(
        layers=4,
        heads=4,
        width=128,
        context=256,
        learning_rate=2e-3,
        final_learning_rate=2e-4,
        warmup_steps=20,
        steps=300,
        global_batch_tokens=16 * 256,  # = 4,096
        micro_batch=8,
        evaluation_tokens=64 * 256,  # = 16,384
    ),
    "small": Size(
        layers=12,
        heads=12,
        width=768,
        learning_rate=6e-4,
        final_learning_rate=0.0,
        steps=18_865,
        global_batch_tokens=512 * 1024,  # = 524,288
        micro_batch=32,
    ),
    "medium": Size(
        layers=24,
        heads=16,
        width=1024,
        learning_rate=3e-4,
        final_learning_rate=0.0,
        steps=60_000,
        global_batch_tokens=512 * 1024,
        micro_batch=16,
    ),
    "large": Size(
        layers=36,
        heads=20,
        width=1280,
        learning_rate=2.5e-4,
        final_learning_rate=0.0,
        steps=286_102,
        global_batch_tokens=512 * 1024,
        micro_batch=8,
    ),
    "xl": Size(
        layers=48,
        heads=25,
        width=1600,
        learning_rate=6e-4,
        final_learning_rate=6e-5,
        steps=32_000,
        global_batch_tokens=1024 * 1024,  # = 1,048,576
        micro_batch=4,
    ),
}
