"""The model sizes of `--size`: a shape, and the default recipe for training it.

Shapes are those of the GPT-2 paper (Radford et al. 2019, table 2). Learning rates and batch sizes are those
of the same sizes in the GPT-3 paper (Brown et al. 2020, table 2.1: Small, Medium, Large, XL), and so are the
warm-up over 375 million tokens and the cosine decay to a tenth of the peak (appendix B). The number of tokens
is llm.c's: its published runs matched OpenAI's GPT-2 of the same size with as many.
"""

from dataclasses import dataclass

FINAL_FRACTION = 0.1  # of the peak learning rate, where the cosine ends
# Repeating data up to four times is nearly as good as new data (Muennighoff et al. 2023, "Scaling
# Data-Constrained Language Models"); beyond that, less and less.
MOST_EPOCHS = 4
# Fine-tuning, as nanoGPT's config/finetune_shakespeare.py has it.
FINE_TUNING_RATE = 3e-5
FINE_TUNING_SEQUENCES = 32  # in a batch


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model size: its shape and its recipe."""

    layers: int
    heads: int
    width: int
    context: int = 1024
    learning_rate: float
    tokens: int
    global_batch_tokens: int
    warmup_tokens: int = 375_000_000
    micro_batch: int
    # Every 250 steps of 524,288 tokens 1.6 % as many, forward only: half a percent of the time.
    evaluation_tokens: int = 4 * 524_288


# Micro-batches fit an 80 GB GPU without activation checkpointing.
SIZES = {
    # For tests, in seconds.
    "micro": Size(
        layers=2,
        heads=2,
        width=64,
        context=128,
        learning_rate=3e-3,
        tokens=100 * 2048,
        global_batch_tokens=16 * 128,  # = 2,048
        warmup_tokens=10 * 2048,
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
        tokens=300 * 4096,
        global_batch_tokens=16 * 256,  # = 4,096
        warmup_tokens=20 * 4096,
        micro_batch=8,
        evaluation_tokens=64 * 256,  # = 16,384
    ),
    "small": Size(
        layers=12,
        heads=12,
        width=768,
        learning_rate=6e-4,
        tokens=10_000_000_000,  # / 524,288 = 19,073 steps
        global_batch_tokens=512 * 1024,  # = 524,288
        micro_batch=32,
    ),
    "medium": Size(
        layers=24,
        heads=16,
        width=1024,
        learning_rate=3e-4,
        tokens=30_000_000_000,  # / 524,288 = 57,220 steps
        global_batch_tokens=512 * 1024,
        micro_batch=16,
    ),
    "large": Size(
        layers=36,
        heads=20,
        width=1280,
        learning_rate=2.5e-4,
        tokens=150_000_000_000,  # / 524,288 = 286,102 steps
        global_batch_tokens=512 * 1024,
        micro_batch=8,
    ),
    "xl": Size(
        layers=48,
        heads=25,
        width=1600,
        learning_rate=2e-4,
        tokens=32_000_000_000,  # / 1,048,576 = 30,517 steps
        global_batch_tokens=1024 * 1024,  # = 1,048,576
        micro_batch=4,
    ),
}


def matching(*, layers: int, heads: int, width: int) -> str | None:
    """Return the name of the size with this shape, if there is one."""
    for name, size in SIZES.items():
        if (size.layers, size.heads, size.width) == (layers, heads, width):
            return name
    return None
