"""llm.c's model file, for its C and CUDA programs, and the vocabulary that they print with.

model.bin            256 int32 (magic, version, shape), then every parameter, those of a kind for all layers
gpt2_tokenizer.bin   256 int32, then each token's length in a byte and its bytes

The layouts are those that llm.c's train_gpt2.py writes and its `gpt2_build_from_checkpoint` and
`tokenizer_init` read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export import DType
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import MismatchError
from trainer.model.parameters import BLOCK, shapes
from trainer.pretrained.source import SourceModel

MODEL: Final = "model.bin"
TOKENIZER: Final = "gpt2_tokenizer.bin"
MODEL_MAGIC: Final = 20240326
TOKENIZER_MAGIC: Final = 20240328
TOKENIZER_VERSION: Final = 2  # the first to say which token ends a text
VERSIONS: Final[dict[DType, int]] = {"float32": 3, "bfloat16": 5}  # both with a padded vocabulary
HEADER_BYTES: Final = 256 * 4


def save(folder: Path, source: SourceModel, *, dtype: DType) -> None:
    """Write both files.

    Raises:
        ValueError: the vocabulary has a token of more than 255 bytes, which the tokenizer file cannot hold.
    """
    config = source.config
    tokens = _tokens(source.vocabulary)
    if (longest := max(map(len, tokens))) > 255:
        raise ValueError(f"llm.c cannot hold tokens of more than 255 bytes; the longest here has {longest}")
    shape = (config.context, config.vocabulary, config.layers, config.heads, config.width)
    with (folder / MODEL).open("wb") as file:
        file.write(_header(MODEL_MAGIC, VERSIONS[dtype], *shape, config.padded_vocabulary))
        for name in _names(config.layers):
            tensor = source.tensor(name).contiguous()
            values = tensor if dtype == "float32" else tensor.bfloat16().view(torch.int16)
            file.write(values.numpy().data)
            if name == "wte.weight":
                padding = config.padded_vocabulary - config.vocabulary
                file.write(bytes(padding * config.width * values.element_size()))
    with (folder / TOKENIZER).open("wb") as file:
        end_of_text = source.vocabulary.end_of_text
        file.write(_header(TOKENIZER_MAGIC, TOKENIZER_VERSION, len(tokens), end_of_text))
        file.writelines(bytes([len(token)]) + token for token in tokens)


def read(folder: Path, config: ModelConfig) -> Parameters:
    """Return the parameters in the file.

    Raises:
        ValueError: the header does not match the model, or the file is too short or too long.
    """
    header = np.fromfile(folder / MODEL, "<i4", 256)
    shape = [config.context, config.vocabulary, config.layers, config.heads, config.width]
    dtypes = {version: dtype for dtype, version in VERSIONS.items()}
    if header[0] != MODEL_MAGIC or header[1] not in dtypes or header[2:7].tolist() != shape:
        raise ValueError(f"{folder / MODEL} does not have its model's header: {header[:8].tolist()}")
    kind = "<f4" if dtypes[header[1]] == "float32" else "<i2"
    values = np.memmap(folder / MODEL, kind, "r", HEADER_BYTES)
    places = dict[str, tuple[int, tuple[int, ...]]]()
    start = 0
    for name, stored in _stored_shapes(config, padded=int(header[7])):
        places[name] = start, stored
        start += int(np.prod(stored))
    if start != len(values):
        raise ValueError(f"{folder / MODEL} has {len(values):,} weights, but its header says {start:,}")

    def parameter(name: str) -> Array:
        start, stored = places[name]
        found = _fp32(values[start : start + int(np.prod(stored))]).reshape(stored)
        return found[: config.vocabulary] if name == "wte.weight" else found

    return parameter


def stored_dtype(_name: str, dtype: DType) -> DType:
    """Return the type a parameter is stored in: the same for all."""
    return dtype


def check_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Check that the tokens in the file are those of the vocabulary.

    Raises:
        MismatchError: they are not.
    """
    content = (folder / TOKENIZER).read_bytes()
    header = np.frombuffer(content, "<i4", 256)
    tokens, place = list[bytes](), HEADER_BYTES
    while place < len(content):
        end = place + 1 + content[place]
        tokens.append(content[place + 1 : end])
        place = end
    if header[3] != vocabulary.end_of_text or tokens != _tokens(vocabulary):
        raise MismatchError(f"{TOKENIZER} reads back as a different vocabulary")


def _header(*numbers: int) -> bytes:
    header = np.zeros(256, "<i4")
    header[: len(numbers)] = numbers
    return header.tobytes()


def _names(layers: int) -> Iterator[str]:
    """Yield the parameters in llm.c's order: a kind's of all layers, then the next kind's."""
    yield from ("wte.weight", "wpe.weight")
    for part in BLOCK:
        for layer in range(layers):
            yield f"h.{layer}.{part}"
    yield from ("ln_f.weight", "ln_f.bias")


def _stored_shapes(config: ModelConfig, *, padded: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    stored = {**shapes(config), "wte.weight": (padded, config.width)}
    for name in _names(config.layers):
        yield name, stored[name]


def _fp32(values: NDArray[Any]) -> Array:
    if values.dtype == np.float32:
        return values
    bits = values.view(np.uint16).astype(np.uint32)
    bits <<= 16  # bf16 is the upper half of fp32
    return bits.view(np.float32)


def _tokens(vocabulary: Vocabulary) -> list[bytes]:
    return list(vocabulary.entries)
