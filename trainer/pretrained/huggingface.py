"""Reads a GPT-2 in Hugging Face format, ours or anyone's: its shape, and its tensors, mapped into memory.

Such a folder is untrusted: a shape that our model does not have, a truncated file, or a path that leads out
of the folder is each rejected with a one-line message.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.runner.json_text import parse_json
from trainer.config.model_config import ModelConfig
from trainer.model.parameters import shapes, turned

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
SAFETENSORS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"
EPSILON: Final = 1e-5
PREFIX: Final = "transformer."  # of every name in a GPT2LMHeadModel
BUFFERS: Final = (".attn.bias", ".attn.masked_bias")  # causal masks, which older versions stored
HEAD: Final = "lm_head.weight"
# Settings that are fixed in our model: the allowed values, of which the first is the default.
_BUILT_IN: Final[dict[str, tuple[Any, ...]]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def read_model(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return the shape and the fp32 weights, by our own names, each matrix as [out, in], without padding.

    Tensors that are already fp32 stay mapped to their files.

    Raises:
        ValueError: the folder has no GPT-2, one that differs from ours, or a damaged one.
    """
    config = read_config(folder)
    check_tokenizer(folder, config)
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in open_tensors(folder).items()}
    if config.layers > len(tensors):  # impossible: it would fill the memory with names
        found = f"{config.layers:,} layers, but there are only {len(tensors):,} tensors"
        raise ValueError(f"{folder}/config.json has {found}")
    expected = shapes(config)
    _check_names(folder, tensors, expected)
    weights = dict[str, Tensor]()
    for name, shape in expected.items():
        tensor = turned(name, tensors[name]) if tensors[name].ndim == len(shape) else tensors[name]
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            asked = list(turned(name, torch.empty(shape, device="meta")).shape)
            raise ValueError(
                f"{name} in {folder} is {list(tensors[name].shape)} of {tensor.dtype}, but its config.json "
                f"requires {asked} of floating point"
            )
        weights[name] = tensor.float()
    return config, weights


def _check_names(folder: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Any]) -> None:
    """Check that every parameter is there and no other, and that a head equals the embedding."""
    if missing := expected.keys() - tensors.keys():
        raise ValueError(f"the weights in {folder} lack {min(missing)}")
    more = {name for name in tensors.keys() - expected.keys() if not name.endswith(BUFFERS)}
    if more - {HEAD}:
        raise ValueError(f"the weights in {folder} have {min(more - {HEAD})}, which GPT-2 does not have")
    if more and not torch.equal(tensors[HEAD], tensors["wte.weight"]):
        raise ValueError(
            f"the output layer ({HEAD}) in {folder} is not the token embedding; this GPT-2 ties them"
        )


def read_config(folder: Path) -> ModelConfig:
    """Return the shape in config.json.

    Raises:
        ValueError: there is none, or the GPT-2 differs from ours; the message names the setting.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: give the folder of a GPT-2 in Hugging Face format")
    content = _json_object(path)
    for name, same in _BUILT_IN.items():
        found = content.get(name, None if name == "model_type" else same[0])
        if found not in same:
            raise ValueError(f"{path} has {name} {found!r}, but this GPT-2 has {same[0]!r}")
    sizes = {name: content.get(name) for name in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")}
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{path} has {name} {size!r}, which should be a positive integer")
    layers, heads, width, context, vocabulary = sizes.values()
    assert layers and heads and width and context and vocabulary
    if content.get("n_inner") not in (None, 4 * width):
        raise ValueError(f"{path} has n_inner {content['n_inner']!r}, but this GPT-2 has 4 × {width}")
    try:
        return ModelConfig(layers=layers, heads=heads, width=width, context=context, vocabulary=vocabulary)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_tokenizer(folder: Path, config: ModelConfig) -> None:
    """Check that the tokenizer beside the weights, if there is one, has no ids beyond the embedding.

    Raises:
        ValueError: it has, or it cannot be read.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        return
    content = _json_object(path)
    try:
        added = (token["id"] for token in content.get("added_tokens") or [])
        highest = max([*content["model"]["vocab"].values(), *added])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a GPT-2 tokenizer: it has no vocabulary of ids") from error
    if highest >= config.vocabulary:
        raise ValueError(
            f"{path} has ids up to {highest:,}, but the model has only {config.vocabulary:,} entries: it is "
            "the vocabulary of another model"
        )


def open_tensors(folder: Path) -> Mapping[str, Tensor]:
    """Map every tensor of a folder by name, from one or several files.

    Raises:
        ValueError: there are none, or a file is missing, damaged, or holds other things than tensors.
    """
    for name, reader in ((SAFETENSORS, _read_safetensors), (PICKLE, _read_pickle)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return reader(folder / name)
        if index.is_file():
            return _read_all(index, reader)
    raise ValueError(f"{folder} has neither {SAFETENSORS} nor {SAFETENSORS}.index.json")


def _read_all(index: Path, reader: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read the files that an index names, and check that every tensor is in its file."""
    places = _json_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index} has no weight_map that names the file of each tensor")
    tensors = dict[str, Tensor]()
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise ValueError(f"{index} names {file!r}, which is not a file name")
        if not (index.parent / file).is_file():
            raise ValueError(f"{index} names {file}, which does not exist")
        tensors.update(reader(index.parent / file))
    if missing := places.keys() - tensors.keys():
        raise ValueError(f"{index} names {min(missing)}, which is not in {places[min(missing)]}")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Read the pickle that transformers wrote before safetensors: tensors only, no code is run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read safely: if you trust it, load it in transformers and save it as "
            "safetensors with save_pretrained"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a dictionary of tensors")
    return content


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object")
    return content
