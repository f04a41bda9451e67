"""The validation loss: the mean over tokens, not over batches."""

from collections.abc import Iterator

from trainer.data.batches import ValidationData
from trainer.data.loader import as_tensors
from trainer.distributed.deepspeed.engine import Engine
from trainer.model.gpt2 import Batch


def validation_loss(engine: Engine, data: ValidationData, *, micro_batch: int) -> float:
    """Return the mean loss in nats over all tokens, independent of the ranks and the micro-batch.

    Windows go to the ranks in turn, the same number of batches to each; beyond the end of the data there are
    no targets, which add nothing.
    """

    def batches() -> Iterator[Batch]:
        for first in range(0, data.windows, micro_batch * engine.world_size):
            batch = data.sequences(first + engine.rank * micro_batch, micro_batch)
            yield as_tensors(batch, engine.device)

    total, tokens = engine.evaluate(batches())
    assert tokens == data.tokens
    return total / tokens
