"""GGUF, the file of llama.cpp and what is built on it: weights, shape and vocabulary in one.

Names, keys and types are those that llama.cpp's convert_hf_to_gguf.py gives a GPT-2: matrices are [out, in]
and in the chosen type; vectors and the positions' embedding stay fp32. There is no output.weight: where it is
missing, llama.cpp's loader takes the token embedding.
"""

from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, TokenType

from tokenizer.bpe import vocabulary_formats
from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export import DType
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import MismatchError
from trainer.model.parameters import shapes
from trainer.pretrained.source import SourceModel

MODEL: Final = "model.gguf"
Q8_BLOCK: Final = 32  # weights of a row that share a scale
TYPES: Final[dict[DType, tuple[GGMLQuantizationType, LlamaFileType]]] = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "float16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bfloat16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_KEYS: Final = gguf.Keys


def save(folder: Path, source: SourceModel, *, dtype: DType) -> None:
    """Write the file, one tensor after the other.

    Raises:
        ValueError: the model's rows do not divide into the type's blocks.
    """
    if dtype == "q8_0" and source.config.width % Q8_BLOCK:
        width = source.config.width
        raise ValueError(f"q8_0 needs a width that is a multiple of {Q8_BLOCK}; the model's is {width}")
    writer = gguf.GGUFWriter(folder / MODEL, "gpt2")
    try:
        _describe(writer, source, TYPES[dtype][1])
        _add_vocabulary(writer, source.vocabulary)
        _write_tensors(writer, source, dtype)
    except OSError as error:  # NumPy reports only how much was not written
        raise OSError(f"{folder / MODEL} cannot be written: {error}") from error
    finally:
        writer.close()


def _describe(writer: gguf.GGUFWriter, source: SourceModel, file_type: LlamaFileType) -> None:
    config = source.config
    writer.add_type("model")
    writer.add_name(source.name)
    writer.add_size_label(gguf.size_label(config.parameters, 0, 0, 0))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(file_type)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(4 * config.width)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(1e-5)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """Add the tokenizer: byte-level BPE with GPT-2's regular expression (`pre`)."""
    tokens, merges = _vocabulary(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    types = [TokenType.NORMAL] * len(tokens)
    types[vocabulary.end_of_text] = TokenType.CONTROL
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocabulary.end_of_text)
    writer.add_eos_token_id(vocabulary.end_of_text)
    writer.add_unk_token_id(vocabulary.end_of_text)
    writer.add_pad_token_id(vocabulary.end_of_text)
    writer.add_add_bos_token(False)


def _write_tensors(writer: gguf.GGUFWriter, source: SourceModel, dtype: DType) -> None:
    names = shapes(source.config)
    for name, shape in names.items():
        kind = TYPES[stored_dtype(name, dtype)][0]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        size_bytes = int(np.prod(shape)) // block * block_bytes
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(np.float32), size_bytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in names:
        values = source.tensor(name).contiguous().numpy()
        writer.write_tensor_data(gguf.quantize(values, TYPES[stored_dtype(name, dtype)][0]))


def read(folder: Path, _config: ModelConfig) -> Parameters:
    """Return the parameters in the file, each converted to fp32 on demand."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(folder / MODEL).tensors}

    def parameter(name: str) -> Array:
        tensor = tensors[gguf_name(name)]
        values: Array = gguf.dequantize(tensor.data, tensor.tensor_type)
        return values

    return parameter


def stored_dtype(name: str, dtype: DType) -> DType:
    """Return the type a parameter is stored in: vectors and positions are read as fp32 by llama.cpp."""
    is_vector = name.startswith(("ln_f", "wpe")) or ".ln_" in name or name.endswith("bias")
    return "float32" if is_vector else dtype


def check_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Check that tokens and merges in the file are those of the vocabulary.

    Raises:
        MismatchError: they are not.
    """
    reader = gguf.GGUFReader(folder / MODEL)
    found = [_contents(reader, key) for key in (_KEYS.Tokenizer.LIST, _KEYS.Tokenizer.MERGES)]
    if found != list(_vocabulary(vocabulary)):
        raise MismatchError(f"{MODEL} reads back with a different vocabulary")


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a parameter: `h.0.attn.c_attn.weight` is `blk.0.attn_qkv.weight`."""
    parts = {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_f": "output_norm",
        "ln_1": "attn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    part, _, kind = name.rpartition(".")
    if not part.startswith("h."):
        return f"{parts[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"blk.{layer}.{parts[part]}.{kind}"


def _vocabulary(vocabulary: Vocabulary) -> tuple[list[str], list[str]]:
    """Return tokens and merges in the printable characters that stand for bytes."""
    model = vocabulary_formats.tokenizer_of(vocabulary.merges, vocabulary.end_of_text)["model"]
    return [*model["vocab"]], [*model["merges"]]


def _contents(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()
