"""A trained model with its vocabulary, from a run's checkpoint or from a Hugging Face directory."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tokenizer.forms import END_OF_TEXT
from tokenizer.vocabulary import Vocabulary, load_vocabulary
from trainer.checkpoint import find_checkpoint, read_state, read_weights

if TYPE_CHECKING:  # options are here too, and they must not wait for torch
    import torch
    from tokenizers import Tokenizer

    from trainer.model import GPT2


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what it computes on."""

    model: Path
    """Folder of a training run (its newest finished checkpoint counts), one checkpoint of it, or a GPT-2 in
    Hugging Face's format, such as launch/export.py writes."""
    vocabulary: str | None = None
    """The vocabulary's folder, or a tokenizer.json, where the model's folder has none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto is the GPU if there is one."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """How weights are held and products computed: bf16 takes half the memory, and is less exact."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to be asked, and the vocabulary that it speaks in."""

    model: "GPT2"  # in evaluation mode, on its device
    vocabulary: Vocabulary
    description: str  # one line for people: size, steps, where from

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of a text.

        Args:
            allow_special: take `<|endoftext|>` in it for the token, not for the text.
        """
        self._tokenizer.encode_special_tokens = not allow_special
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every id; one may be a part of a character."""
        return [*self.vocabulary.tokens, END_OF_TEXT.encode()]

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.vocabulary.tokenizer_json)


def load_model(options: ModelOptions) -> LoadedModel:
    """Read a model and its vocabulary, and check that they belong together.

    Raises:
        ValueError: there is none, or not a whole one, or the vocabulary is another model's.
    """
    if not options.model.is_dir():
        raise ValueError(f"--model {options.model} is no folder: give that of a training run or of a model")
    device = _find_device(options.device)
    is_exported = (options.model / "config.json").is_file()
    loaded = (_load_exported if is_exported else _load_checkpoint)(options)
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    loaded.model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return loaded


def _load_exported(options: ModelOptions) -> LoadedModel:
    from trainer.export.huggingface import load

    vocabulary = load_vocabulary(options.vocabulary or str(options.model))
    model = load(options.model)
    if vocabulary.size != model.config.vocabulary:
        raise ValueError(
            f"{options.vocabulary or options.model} has {vocabulary.size:,} entries, but the model in "
            f"{options.model} knows {model.config.vocabulary:,}: it is another model's vocabulary"
        )
    size = f"{model.config.parameters:,} parameters"
    return LoadedModel(model=model, vocabulary=vocabulary, description=f"GPT-2, {size}, from {options.model}")


def _load_checkpoint(options: ModelOptions) -> LoadedModel:
    try:
        folder = find_checkpoint(options.model)
    except ValueError as error:
        raise ValueError(f"{error}, nor the config.json of an exported model") from error
    state = read_state(folder)
    vocabulary = _vocabulary_of_run(folder, options.vocabulary, state.vocabulary_fingerprint)
    import torch

    from trainer.model import GPT2

    with torch.device("meta"):
        model = GPT2(state.model)
    try:
        model.load_state_dict(read_weights(folder), assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} do not fit its state.json: {error}") from error
    size = f"{state.model.parameters:,} parameters"
    description = f"GPT-2 {state.plan['size']}, {size}, after step {state.step:,}, from {folder}"
    return LoadedModel(model=model, vocabulary=vocabulary, description=description)


def _vocabulary_of_run(folder: Path, address: str | None, fingerprint: str) -> Vocabulary:
    """Load the vocabulary of the shards that a run was trained on, and refuse another."""
    beside = folder.parent / "tokenizer.json"
    if address is None and not beside.is_file():
        raise ValueError(f"there is no {beside}: name the vocabulary of the run's shards with --vocabulary")
    vocabulary = load_vocabulary(address or str(beside))
    if vocabulary.fingerprint != fingerprint:
        raise ValueError(
            f"{address or beside} is not the vocabulary that {folder} was trained with: its fingerprint is "
            f"{vocabulary.fingerprint[:16]}, that of the run's shards {fingerprint[:16]}"
        )
    return vocabulary


def _find_device(name: Literal["auto", "cpu", "cuda"]) -> "torch.device":
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: there is no GPU here, or this PyTorch has no CUDA")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
