"""The loss on text that the model was not trained on: the mean over tokens, not over batches."""

from trainer.batches import ValidationData
from trainer.engine import Engine
from trainer.loader import as_tensors


def validation_loss(engine: Engine, data: ValidationData, *, micro_batch: int) -> float:
    """Return the mean loss in nats over every token of the data, whatever the ranks and the micro-batch.

    The windows go to the ranks in turn. Each rank takes the same number of batches, since under ZeRO-3 a
    forward pass is a joint act; what lies beyond the data has no targets and adds nothing.
    """
    total, tokens = 0.0, 0
    for first in range(0, data.windows, micro_batch * engine.world_size):
        batch = data.sequences(first + engine.rank * micro_batch, micro_batch)
        loss, count = engine.evaluate(as_tensors(batch, engine.device))
        total, tokens = total + loss, tokens + count
    total, tokens_seen = engine.sum_over_ranks([total, float(tokens)])
    assert tokens_seen == data.tokens
    return total / tokens_seen
