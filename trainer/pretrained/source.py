"""A trained model with its vocabulary, as export and generation need it; weights stay on disk."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from pipeline.runner.json_text import parse_json
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from trainer.checkpoint.folder import State
from trainer.config.recipes import matching
from trainer.model.parameters import shapes
from trainer.pretrained.weights import PretrainedWeights, open_weights


@dataclass(frozen=True, kw_only=True)
class SourceModel(PretrainedWeights):
    """A model with its vocabulary, ready to be written in any format.

    Raises:
        ValueError: weights, shape and vocabulary do not match.
    """

    vocabulary: Vocabulary
    name: str  # such as "GPT-2 small"
    data_fingerprint: str | None = None  # of the token shards it was trained on, if known

    def __post_init__(self) -> None:
        if self.vocabulary.size != self.config.vocabulary:
            raise ValueError(
                f"the vocabulary has {self.vocabulary.size:,} entries, but the model in {self.folder} has "
                f"{self.config.vocabulary:,}"
            )
        expected = shapes(self.config)
        if missing := expected.keys() - self.tensors.keys():
            raise ValueError(f"the weights in {self.folder} lack {min(missing)}")
        for name, shape in expected.items():
            if (found := tuple(self.tensor(name).shape)) != shape:
                raise ValueError(f"{name} in {self.folder} is {list(found)}, not {list(shape)}")

    def tensor(self, name: str) -> Tensor:
        """Return a parameter, without the embedding's padding."""
        tensor = self.tensors[name]
        return tensor[: self.config.vocabulary] if name == "wte.weight" else tensor


def open_source(path: Path, vocabulary: str | None) -> SourceModel:
    """Open a run's newest checkpoint, one checkpoint, or a Hugging Face directory.

    Args:
        vocabulary: address of the vocabulary; None: the one beside the weights.

    Raises:
        ValueError: there is no complete model, or the vocabulary is another model's.
    """
    return with_vocabulary(open_weights(path), vocabulary)


def with_vocabulary(weights: PretrainedWeights, address: str | None) -> SourceModel:
    """Add the vocabulary: the given one, or the one beside the weights.

    Raises:
        ValueError: there is none, or it is another model's.
    """
    config, state = weights.config, weights.state
    if state:
        vocabulary = _vocabulary_of_run(weights.folder.parent, state, address)
        if not state.vocabulary_fingerprint:  # only the size was known, perhaps padded
            config = weights.with_entries(vocabulary.size).config
        # No other format can express attention within documents, and one text is one document.
        config = replace(config, document_separator=None)
    else:
        vocabulary = load_vocabulary(address or str(weights.folder))
        if address:
            _check_is_the_one_beside(weights, vocabulary, address)
        config = weights.with_entries(vocabulary.size).config
    size = matching(layers=config.layers, heads=config.heads, width=config.width)
    name = f"GPT-2 {size}" if size else f"GPT-2 of {config.layers} layers"
    return SourceModel(
        tensors=weights.tensors,
        config=config,
        vocabulary=vocabulary,
        name=name,
        folder=weights.folder,
        state=state,
        data_fingerprint=_data_fingerprint(weights.folder.parent) if state else None,
    )


def _check_is_the_one_beside(weights: PretrainedWeights, vocabulary: Vocabulary, address: str) -> None:
    """Reject a given vocabulary where the model's directory has another one that can be read."""
    try:
        beside = weights.vocabulary_fingerprint
    except ValueError:
        return
    if beside not in (None, vocabulary.fingerprint):
        raise ValueError(
            f"{address} is not the vocabulary of the model in {weights.folder}: it has "
            f"{vocabulary.size:,} entries and another fingerprint than the one there"
        )


def _vocabulary_of_run(run: Path, state: State, address: str | None) -> Vocabulary:
    """Load the given vocabulary or the run's; reject any but that of the shards."""
    places = [address] if address else [f"{place}/tokenizer.json" for place in (run, state.plan["data"])]
    present = [place for place in places if address or Path(place).is_file()]
    if not present:
        raise ValueError(f"no vocabulary at {' or '.join(places)}: give it with --vocabulary")
    vocabulary = load_vocabulary(present[0])
    if state.vocabulary_fingerprint not in ("", vocabulary.fingerprint):
        raise ValueError(
            f"{present[0]} is not the vocabulary that the shards were written with: its fingerprint is "
            f"{vocabulary.fingerprint[:16]}, theirs {state.vocabulary_fingerprint[:16]}"
        )
    return vocabulary


def _data_fingerprint(run: Path) -> str | None:
    """Return the fingerprint of a run's shards, from its options.json."""
    try:
        fingerprint = parse_json((run / "options.json").read_text(encoding="utf-8"))["identity"]["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the checkpoint was taken elsewhere without it
    return str(fingerprint)
