"""The batches of a run, as it reads or has read them, without the run."""

from collections.abc import Iterator
from pathlib import Path

from tokenizer.shards.folder import open_shards
from trainer.checkpoint.folder import read_options
from trainer.data.batches import Tokens, TrainingData


def read_batches(
    run: Path, *, first_step: int = 0, data: str | None = None
) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield inputs and targets [sequences, context] of each step of a run, int64, from a step on.

    Args:
        run: its folder.
        first_step: number of the first, counted from 0.
        data: where the shards are, if they have moved.

    Raises:
        ValueError: there is no run, or its shards are missing or damaged.
    """
    options = read_options(run)
    if options is None:
        raise ValueError(f"no training run at {run}")
    plan = options["plan"]
    shards = open_shards(
        data or plan["data"],
        vocabulary=plan.get("vocabulary"),
        vocabulary_size=plan.get("vocabulary_size"),
    )
    windows = TrainingData(
        shards.open("train"),
        context=plan["context"],
        vocabulary=shards.index.vocabulary.size,
        seed=plan["seed"],
        shuffle_shards=plan.get("shuffle_shards", 0),
    )
    for step in range(first_step, plan["steps"]):
        yield windows.sequences(step * plan["sequences_per_step"], plan["sequences_per_step"])
