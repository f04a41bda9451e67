"""Opens a trained model: a run, one of its checkpoints, or a Hugging Face directory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import torch
import xxhash
from torch import Tensor

from tokenizer.bpe.vocabulary import load_vocabulary
from trainer.checkpoint.folder import (
    State,
    damaged_files,
    find_checkpoint,
    read_records,
    read_state,
    read_weights,
)
from trainer.config.model_config import ModelConfig
from trainer.model.gpt2 import GPT2, outline
from trainer.pretrained import huggingface

MOST_PADDING: Final = 1024  # rows: 128 × 8 tensor-parallel ranks
SAMPLE: Final = 1024  # numbers at either end of a tensor


@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """A trained model's shape and weights.

    The weights are mapped from their files and take memory only while in use.
    """

    tensors: Mapping[str, Tensor]  # fp32, by the model's own names; the embedding may be padded
    config: ModelConfig
    folder: Path  # the checkpoint, or the directory
    state: State | None = None  # of the checkpoint, if it is one

    @property
    def vocabulary_fingerprint(self) -> str | None:
        """The fingerprint of the model's vocabulary; None if unknown."""
        if self.state:
            return self.state.vocabulary_fingerprint
        tokenizer = self.folder / huggingface.TOKENIZER
        return load_vocabulary(str(tokenizer)).fingerprint if tokenizer.is_file() else None

    @property
    def fingerprint(self) -> str:
        """Return what tells this model from another: a hash of its shape and of parts of each tensor."""
        digest = xxhash.xxh3_128(repr(self.config).encode())
        for name, tensor in sorted(self.tensors.items()):
            flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor.T.reshape(-1)
            for part in (flat[:SAMPLE], flat[-SAMPLE:]):
                digest.update(name.encode())
                digest.update(part.float().contiguous().numpy().data)
        return digest.hexdigest()

    def with_entries(self, entries: int) -> Self:
        """Return the model of a vocabulary of so many entries, if the embedding's other rows are padding.

        Trainers pad the embedding for the GPU's sake, to a multiple of 64 (nanoGPT) or of 128 times the
        tensor-parallel ranks (Megatron), and save the padding.
        """
        if 0 < self.config.vocabulary - entries <= MOST_PADDING:
            return replace(self, config=replace(self.config, vocabulary=entries))
        return self

    def padded(self, *, context: int | None = None) -> dict[str, Tensor]:
        """Return what `GPT2.load_state_dict` takes, with only the first `context` positions if given."""
        weights = {**self.tensors, "wpe.weight": self.tensors["wpe.weight"][:context]}
        weights["wte.weight"] = weights["wte.weight"][: self.config.padded_vocabulary]
        missing = self.config.padded_vocabulary - len(weights["wte.weight"])
        if missing:
            weights["wte.weight"] = torch.nn.functional.pad(weights["wte.weight"], (0, 0, 0, missing))
        return weights

    def model(self) -> GPT2:
        """Return the model on the CPU, in fp32; weights that need no padding stay mapped."""
        model = outline(self.config)
        model.load_state_dict(self.padded(), assign=True)
        return model


def open_weights(path: Path) -> PretrainedWeights:
    """Open a Hugging Face GPT-2 directory, the newest checkpoint of a run, or one checkpoint.

    Raises:
        ValueError: there is no model, or it is damaged.
    """
    if (path / huggingface.CONFIG).is_file():
        return _open_directory(path)
    try:
        checkpoint = find_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"{error}; nor does it have a Hugging Face model's config.json") from error
    return _open_checkpoint(checkpoint)


def _open_directory(folder: Path) -> PretrainedWeights:
    config, tensors = huggingface.read_model(folder)
    return PretrainedWeights(tensors=tensors, config=config, folder=folder)


def _open_checkpoint(folder: Path) -> PretrainedWeights:
    state = read_state(folder)
    weights = [name for name in read_records(folder) if name.startswith("weights-")]
    if damaged := damaged_files(folder, weights):
        raise ValueError(f"{folder / damaged[0]} is damaged: its checksum is wrong")
    return PretrainedWeights(
        tensors=read_weights(folder),
        config=state.model,
        folder=folder,
        state=state,
    )
