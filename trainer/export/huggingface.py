"""A Hugging Face GPT-2 directory: what `transformers.GPT2LMHeadModel.from_pretrained` reads.

Weights lie in safetensors files of bounded size under OpenAI's names, each matrix as [in, out] (OpenAI's
Conv1D) where PyTorch's Linear has [out, in]. The output layer is the token embedding and is not stored twice.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.bpe.vocabulary_formats import write_model_config
from trainer.config.model_config import ModelConfig
from trainer.export import DType
from trainer.export.card import model_card
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import MismatchError, positions, prompt
from trainer.model.parameters import shapes, turned
from trainer.pretrained.huggingface import CONFIG, EPSILON, PREFIX, SAFETENSORS, open_tensors
from trainer.pretrained.source import SourceModel

LARGEST_FILE_BYTES: Final = 5 * 10**9  # as on the hub
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
_KINDS: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
PROBE: Final = "It’s  a probe: 12,345 naïve cafés in 東京,\n\n\tisn’t it?"


def save(folder: Path, source: SourceModel, *, dtype: DType) -> None:
    """Write the directory: weights, settings, tokenizer and model card."""
    _write_json(folder / CONFIG, _config(source.config, source.vocabulary.end_of_text, dtype))
    _save_weights(folder, source, getattr(torch, dtype))
    _write_json(folder / "generation_config.json", _ends(source.vocabulary.end_of_text))
    files = source.vocabulary.files()
    files["tokenizer_config.json"] = write_model_config(source.config.context)
    for name in TOKENIZER_FILES:
        (folder / name).write_text(files[name], encoding="utf-8")
    (folder / "README.md").write_text(model_card(source, dtype), encoding="utf-8")


def _save_weights(folder: Path, source: SourceModel, dtype: torch.dtype) -> None:
    """Write the tensors, in several files and an index of them if they are many."""
    from huggingface_hub import split_torch_state_dict_into_shards

    def tensor(name: str) -> Tensor:
        own = name.removeprefix(PREFIX)
        return turned(own, source.tensor(own))

    empty = {PREFIX + name: tensor(PREFIX + name).to("meta", dtype) for name in shapes(source.config)}
    split = split_torch_state_dict_into_shards(empty, max_shard_size=LARGEST_FILE_BYTES)
    for file, members in split.filename_to_tensors.items():
        _write_file(folder / file, {name: empty[name] for name in members}, tensor)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        _write_json(folder / f"{SAFETENSORS}.index.json", index)


def _write_file(path: Path, empty: Mapping[str, Tensor], tensor: Callable[[str], Tensor]) -> None:
    """Write tensors in the format of safetensors, one after the other.

    The library's own writer wants all of them at once, turned and rounded: a second copy of the model.
    https://github.com/huggingface/safetensors#format

    Args:
        empty: type and shape of each by name, without values.
        tensor: returns the values.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in empty.items():
        start, end = end, end + shape.nbytes
        kind = _KINDS[shape.dtype]
        header[name] = {"dtype": kind, "shape": list(shape.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # what follows is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in empty.items():
            file.write(tensor(name).to(shape.dtype).contiguous().view(torch.uint8).numpy().data)


def _config(config: ModelConfig, end_of_text: int, dtype: DType) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": None,
        "layer_norm_epsilon": EPSILON,
        "initializer_range": 0.02,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": dtype,
    }


def _ends(end_of_text: int) -> dict[str, Any]:
    """Return the ids that start, end and pad a text; transformers warns if there is no padding id."""
    return {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "pad_token_id": end_of_text}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, _config: ModelConfig) -> Parameters:
    """Return the parameters in the files, each converted to fp32 on demand."""
    tensors = open_tensors(folder)

    def parameter(name: str) -> Array:
        found: Array = turned(name, tensors[PREFIX + name]).float().numpy()
        return found

    return parameter


def stored_dtype(_name: str, dtype: DType) -> DType:
    """Return the type a parameter is stored in: the same for all."""
    return dtype


def transformers_logits(folder: Path, config: ModelConfig) -> Array | None:
    """Return the logits [P, V] that transformers computes from the folder; None where it is not installed.

    Raises:
        MismatchError: it misses a tensor, finds one too many, or one of another shape.
    """
    if not importlib.util.find_spec("transformers"):
        return None
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    load: Any = GPT2LMHeadModel.from_pretrained  # whose type does not know of the report
    log: Any = logging  # which has no types
    log.disable_progress_bar()
    try:
        model, report = load(folder, dtype=torch.float32, local_files_only=True, output_loading_info=True)
    except RuntimeError as error:
        raise ValueError(
            f"the written files do not match the model: transformers cannot load them: {error}"
        ) from error
    finally:
        log.enable_progress_bar()
    for complaint, names in report.items():
        if names:
            raise MismatchError(f"transformers reports {complaint.replace('_', ' ')}: {names}")
    with torch.inference_mode():
        tokens = torch.tensor([prompt(config)])
        output = model.eval()(tokens, logits_to_keep=torch.tensor(positions(config)), use_cache=False)
    logits: Array = output.logits[0].numpy()
    return logits


def check_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Check that the tokenizer in the files is the vocabulary, and that `tokenizers` reads it so.

    Raises:
        MismatchError: it is not.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(PROBE).ids
    same = ids == Encoder(vocabulary).encode(PROBE.encode()).tolist() and tokenizer.decode(ids) == PROBE
    if not same or load_vocabulary(str(folder)) != vocabulary:
        raise MismatchError("tokenizer.json reads back as a different vocabulary")
