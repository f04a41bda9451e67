"""The loss of a text in memory, in every usual unit."""

import math
from dataclasses import dataclass

from trainer.distributed.ranks import Ranks
from trainer.evaluation.scoring import Scorer
from trainer.evaluation.tasks import Reader
from trainer.pretrained.loaded_model import LoadedModel


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """How well a model predicts a text."""

    loss: float  # of the whole text, in nats
    tokens: int
    size_bytes: int

    @property
    def perplexity(self) -> float:
        """Perplexity per token."""
        return math.exp(self.loss / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of UTF-8, which can be compared across vocabularies."""
        return self.loss / self.size_bytes / math.log(2)


def evaluate_text(loaded: LoadedModel, text: str, *, stride: int | None = None, batch: int = 4) -> TextLoss:
    """Predict every token of a text, the first from `<|endoftext|>`.

    Args:
        stride: tokens from one window to the next. Default: the context, so windows do not overlap.
        batch: windows in one forward pass.

    Raises:
        ValueError: the text is empty.
    """
    if not text:
        raise ValueError("an empty text has no loss")
    context = loaded.model.config.context
    alone = Ranks(rank=0, size=1, local_rank=0, local_size=1)
    scorer = Scorer(loaded.model, alone, context=context, stride=stride or context, batch=batch)
    total = scorer.losses([Reader(loaded.vocabulary).document(iter([text.encode()]))])[0]
    return TextLoss(loss=float(total.loss), tokens=total.tokens, size_bytes=len(text.encode()))
