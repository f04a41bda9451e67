"""Every format by its name: written, and then checked by what lies in the files."""

from pathlib import Path
from typing import Final, Protocol

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export import DType, FormatName, gguf, huggingface, llmc, numpy_gpt2, picogpt
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import check_logits, check_weights, positions, prompt
from trainer.pretrained.source import Source


class Format(Protocol):
    """What the module of a format offers."""

    def save(self, folder: Path, source: Source, *, dtype: DType) -> None:
        """Write the files into a folder, where those of other formats may lie."""

    def read(self, folder: Path, _config: ModelConfig, /) -> Parameters:
        """Open the files and nothing else, and give out what they hold."""

    def stored_dtype(self, _name: str, _dtype: DType, /) -> DType:
        """Return the type in which a parameter is written, if that one was asked for."""

    def check_vocabulary(self, folder: Path, vocabulary: Vocabulary) -> None:
        """Raise `MismatchError` if the vocabulary in the files is another."""


FORMATS: Final[dict[FormatName, Format]] = {
    "huggingface": huggingface,
    "picogpt": picogpt,
    "gguf": gguf,
    "llm.c": llmc,
}


def export(name: FormatName, folder: Path, source: Source, *, dtype: DType, expected: Array) -> str:
    """Write a model and read it back; return in words how near the two are.

    Args:
        expected: logits that the source's weights give (`verification.source_logits`).

    Raises:
        MismatchError: what was written is not the model.
        ValueError: the format has no place for it.
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
        f"{dtype}; read back, every weight agrees; logits by {by} differ by at most "
        f"{agreement.difference:.1e} (allowed: {agreement.allowed:.1e})"
    )


def _logits(name: FormatName, folder: Path, config: ModelConfig, parameters: Parameters) -> tuple[Array, str]:
    """Return the logits that the files give, and by whose forward pass: the format's own, if it is here."""
    if name == "huggingface" and (found := huggingface.transformers_logits(folder, config)) is not None:
        return found, "transformers"
    return numpy_gpt2.logits(parameters, config, prompt(config), positions(config)), "NumPy"
