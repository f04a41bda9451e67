"""A trained model with its vocabulary, from a run's checkpoint or from a Hugging Face directory."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.pretrained.fetched import local_model

if TYPE_CHECKING:  # options are here too, and they must not wait for torch
    import torch
    from tokenizers import Tokenizer

    from trainer.model.gpt2 import GPT2


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model, and the device and type that it computes in."""

    model: str
    """Folder of a training run (its newest finished checkpoint is used), one of its checkpoints, or a GPT-2
    in Hugging Face format, such as launch/export.py writes. May be on a store (s3://…)."""
    scratch: str | None = None
    """Folder on this machine for what comes from a store. Default: outbound in the user's cache folder."""
    vocabulary: str | None = None
    """Folder of the vocabulary, or a tokenizer.json, if the model's folder has none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; auto: the GPU if there is one."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of weights and matrix products: bf16 takes half the memory and is less exact."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A loaded model and its vocabulary."""

    model: "GPT2"  # in evaluation mode, on its device
    vocabulary: Vocabulary
    description: str  # one line: size, steps, folder

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of a text.

        Args:
            allow_special: read `<|endoftext|>` as the token, not as ordinary text.
        """
        self._tokenizer.encode_special_tokens = not allow_special
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every id, which may be part of a character."""
        return list(self.vocabulary.entries)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.vocabulary.tokenizer_json)


def load_model(options: ModelOptions) -> LoadedModel:
    """Read a model and its vocabulary, and check that they are complete and match.

    Raises:
        ValueError: there is no model, it is damaged, or the vocabulary is another model's.
    """
    folder = local_model(options.model, options.scratch)
    if not folder.is_dir():
        raise ValueError(f"--model {options.model} is not a folder: give a training run or a model")
    device = _find_device(options.device)
    import torch

    from trainer.pretrained.source import open_source

    source = open_source(folder, options.vocabulary)
    model = source.model().eval().requires_grad_(False)
    model.to(device=device, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[options.dtype])
    for name, parameter in model.named_parameters():
        if not bool(parameter.sum().isfinite()):
            raise ValueError(f"{source.folder} is damaged: {name} contains NaN or Inf")
        if device.type == "cpu" and parameter.ndim == 2:
            # Each matrix stays [out, in], but lies in memory as [in, out]: products with a few rows, which
            # generation consists of, then read it at up to twice the speed.
            parameter.data = parameter.data.T.contiguous().T
    step = f"after step {source.state.step:,}, " if source.state else ""
    description = f"{source.name}, {source.config.parameters:,} parameters, {step}from {source.folder}"
    return LoadedModel(model=model, vocabulary=source.vocabulary, description=description)


def _find_device(name: Literal["auto", "cpu", "cuda"]) -> "torch.device":
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: there is no GPU, or this PyTorch has no CUDA")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
