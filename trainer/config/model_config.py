"""The shape of a GPT-2."""

from dataclasses import dataclass

IGNORED = -1  # a target at which no loss is counted


# Files of strangers say how large a model is; beyond this no GPT-2 is meant, and its names alone would fill
# the memory.
LARGEST = {"layers": 1_000, "heads": 1_000, "width": 2**17, "context": 2**24, "vocabulary": 2**24}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT-2."""

    layers: int
    heads: int
    width: int
    context: int
    vocabulary: int
    dropout: float = 0.0
    document_separator: int | None = None  # starts each document; if given, attention stays within documents

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"a model of {getattr(self, name):,} {name}: from 1 to {most:,} make sense")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} does not divide into {self.heads} heads")

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding as trained: a multiple of 128, which the GPU's matrix units prefer."""
        return -(-self.vocabulary // 128) * 128

    @property
    def parameters(self) -> int:
        """Number of parameters of the exported model: the tied head counts once, padding not at all.

        Per block 12 C² weights (4 C² of attention, 8 C² of the feed-forward net) and 13 C biases and gains.
        """
        embeddings = (self.vocabulary + self.context) * self.width
        block = 12 * self.width**2 + 13 * self.width
        return embeddings + self.layers * block + 2 * self.width
