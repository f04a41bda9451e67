"""The model that a run starts from: opened, checked, and recognised again wherever it lies."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as
from tokenizer.shards.folder import VocabularyReference
from trainer.checkpoint.folder import newest_state, read_options
from trainer.config.model_config import ModelConfig
from trainer.pretrained.fetched import local_model
from trainer.pretrained.weights import PretrainedWeights, open_weights


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """What `--init-from` names, by its content."""

    config: ModelConfig
    fingerprint: str
    weights: PretrainedWeights | None = None  # None: not needed any more, and not there

    def record(self) -> dict[str, object]:
        """Return what options.json keeps of it."""
        return {"fingerprint": self.fingerprint, "model": asdict(self.config)}


@dataclass(frozen=True, kw_only=True)
class _Record:
    fingerprint: str
    model: ModelConfig


def find_initial_model(
    address: str | None, vocabulary: VocabularyReference, output: Path | None, *, scratch: str | None = None
) -> InitialModel | None:
    """Open the model that a run starts from; None where it starts from scratch.

    A run that has a checkpoint needs it no more: it may be gone, or have moved.

    Args:
        address: `--init-from`.
        vocabulary: of the shards.
        output: the run's folder, if it is known already.
        scratch: folder on this machine for what lies on a store.

    Raises:
        ValueError: there is no model, its vocabulary is another one, or the run started from another model.
    """
    if not address:
        return None
    before = _recorded(output) if output else None
    if before and not storage.exists(address):
        return InitialModel(config=before.model, fingerprint=before.fingerprint)
    try:
        weights = open_weights(local_model(address, scratch)).with_entries(vocabulary.size)
    except ValueError as error:
        raise ValueError(f"--init-from: {error}") from error
    check_vocabulary(weights, vocabulary, address)
    found = InitialModel(config=weights.config, fingerprint=weights.fingerprint, weights=weights)
    if before and before.fingerprint != found.fingerprint:
        raise ValueError(
            f"--output {output} holds a run that started from another model than --init-from {address}: give "
            "another folder"
        )
    return found


def _recorded(output: Path) -> _Record | None:
    """Return what a run with a checkpoint says of the model that it started from."""
    options = read_options(output)
    state = newest_state(output)
    if options is None or state is None or not options.get("initial_model"):
        return None
    return parse_as(_Record, options["initial_model"])


def check_vocabulary(weights: PretrainedWeights, shards: VocabularyReference, address: str | None) -> None:
    """Check that the model of --init-from has the shards' vocabulary."""
    if weights.config.vocabulary != shards.size:
        raise ValueError(
            f"--init-from {address} has a vocabulary of {weights.config.vocabulary:,}, but the shards have "
            f"one of {shards.size:,}: write the shards with the model's vocabulary"
        )
    fingerprint = weights.vocabulary_fingerprint
    if shards.fingerprint and fingerprint not in (None, shards.fingerprint):
        raise ValueError(
            f"--init-from {address} has a different vocabulary from the shards: its fingerprint is "
            f"{str(fingerprint)[:16]}, theirs {shards.fingerprint[:16]}"
        )
