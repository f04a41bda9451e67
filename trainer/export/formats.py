"""All formats by name; each is written and then checked by reading the files back."""

from pathlib import Path
from typing import Final, Protocol

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export import DType, FormatName, gguf, huggingface, llmc, numpy_gpt2, picogpt
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import check_logits, check_weights, positions, prompt
from trainer.pretrained.source import SourceModel


class Format(Protocol):
    """The functions of a format's module."""

    def save(self, folder: Path, source: SourceModel, *, dtype: DType) -> None:
        """Write the files into a folder, which may hold other formats."""

    def read(self, folder: Path, _config: ModelConfig, /) -> Parameters:
        """Open only the files, and return the parameters in them."""

    def stored_dtype(self, _name: str, _dtype: DType, /) -> DType:
        """Return the type that a parameter is stored in, given the requested type."""

    def check_vocabulary(self, folder: Path, vocabulary: Vocabulary) -> None:
        """Raise `MismatchError` if the files have another vocabulary."""


FORMATS: Final[dict[FormatName, Format]] = {
    "huggingface": huggingface,
    "picogpt": picogpt,
    "gguf": gguf,
    "llm.c": llmc,
}


def export(name: FormatName, folder: Path, source: SourceModel, *, dtype: DType, expected: Array) -> str:
    """Write a model and read it back; return a sentence on how well they agree.

    Args:
        expected: logits of the source's weights (`verification.source_logits`).

    Raises:
        MismatchError: what was written is not the model.
        ValueError: the format cannot hold it.
    """
    module = FORMATS[name]
    dtype = module.stored_dtype("wte.weight", dtype)
    module.save(folder, source, dtype=dtype)
    module.check_vocabulary(folder, source.vocabulary)
    parameters = module.read(folder, source.config)
    check_weights(source, parameters, lambda parameter: module.stored_dtype(parameter, dtype))
    found, by = _logits(name, folder, source.config, parameters)
    agreement = check_logits(found, expected, dtype)
    return (
        f"{dtype}; all weights read back equal; logits by {by} differ by at most "
        f"{agreement.difference:.1e} (allowed: {agreement.allowed:.1e})"
    )


def _logits(name: FormatName, folder: Path, config: ModelConfig, parameters: Parameters) -> tuple[Array, str]:
    """Return the logits of the files, and the library that computed them: transformers if it is installed."""
    if name == "huggingface" and (found := huggingface.transformers_logits(folder, config)) is not None:
        return found, "transformers"
    return numpy_gpt2.logits(parameters, config, prompt(config), positions(config)), "NumPy"
