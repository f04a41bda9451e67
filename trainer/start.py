"""The weights that a run begins with where it does not begin from scratch, as fine-tuning does."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tokenizer.bpe.vocabulary import load_vocabulary
from trainer.checkpoint import find_checkpoint, read_state, read_weights
from trainer.config.model_config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trained model's shape and weights, by our own names, the embedding padded."""

    address: str
    model: ModelConfig
    vocabulary_fingerprint: str | None  # None: it does not say
    weights: dict[str, Tensor]

    def check_vocabulary(self, *, size: int, fingerprint: str) -> None:
        """Check that the model speaks the shards' vocabulary.

        Raises:
            ValueError: it speaks another.
        """
        if self.model.vocabulary != size:
            raise ValueError(
                f"--init-from {self.address} has a vocabulary of {self.model.vocabulary:,}, and the shards "
                f"have one of {size:,}: write the shards with the model's own"
            )
        if self.vocabulary_fingerprint not in (None, fingerprint):
            raise ValueError(
                f"--init-from {self.address} has another vocabulary than the shards: its fingerprint is "
                f"{str(self.vocabulary_fingerprint)[:16]}, theirs {fingerprint[:16]}"
            )

    def cropped(self, context: int) -> dict[str, Tensor]:
        """Return the weights of the model with only its first positions."""
        return {**self.weights, "wpe.weight": self.weights["wpe.weight"][:context]}


def find_start(address: str) -> Start:
    """Read a Hugging Face GPT-2 directory, or the newest checkpoint of a run, or one checkpoint of it.

    Raises:
        ValueError: there is no readable model.
    """
    folder = Path(address)
    if (folder / "config.json").is_file():
        return _from_huggingface(folder)
    try:
        found = find_checkpoint(folder)
    except ValueError as error:
        raise ValueError(f"--init-from: {error}, nor a Hugging Face model's config.json") from error
    state = read_state(found)
    return Start(
        address=address,
        model=state.model,
        vocabulary_fingerprint=state.vocabulary_fingerprint,
        weights=read_weights(found),
    )


def _from_huggingface(folder: Path) -> Start:
    from trainer.export import huggingface

    model = huggingface.load(folder)
    tokenizer = folder / "tokenizer.json"
    fingerprint = load_vocabulary(str(tokenizer)).fingerprint if tokenizer.is_file() else None
    return Start(
        address=str(folder),
        model=model.config,
        vocabulary_fingerprint=fingerprint,
        weights=model.state_dict(),
    )
