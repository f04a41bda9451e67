"""OpenAI's own parameter layout, which picoGPT and other NumPy inference code reads: arrays and hparams.json.

model.npz holds the variables of OpenAI's GPT-2 checkpoints under their names and in their shapes, fp32:
`model/h0/attn/c_attn/w` is [1, in, out], the kernel of a convolution one position wide. The vocabulary lies
beside it under OpenAI's file names, encoder.json and vocab.bpe. NumPy alone makes of it what picoGPT's
`gpt2(inputs, **params, n_head=…)` takes:

    import re, numpy as np
    params = {"blocks": [{} for _ in range(hparams["n_layer"])]}
    with np.load("model.npz") as arrays:
        for name in arrays:
            _, *path, last = name.split("/")
            place = params
            for part in path:
                block = re.fullmatch("h([0-9]+)", part)
                place = params["blocks"][int(block[1])] if block else place.setdefault(part, {})
            place[last] = np.squeeze(arrays[name])
"""

import json
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export import DType
from trainer.export.numpy_gpt2 import Array, Parameters
from trainer.export.verification import MismatchError
from trainer.model.parameters import is_matrix, shapes, turned
from trainer.pretrained.source import SourceModel

ARRAYS: Final = "model.npz"
VOCABULARY_FILES: Final = ("encoder.json", "vocab.bpe")


def save(folder: Path, source: SourceModel, *, dtype: DType) -> None:
    """Write the files, one array after the other."""
    assert dtype == "float32"
    # What np.savez writes, but without holding all arrays, turned, in memory at once.
    with zipfile.ZipFile(folder / ARRAYS, "w", zipfile.ZIP_STORED) as archive:
        for name in shapes(source.config):
            array = turned(name, source.tensor(name)).contiguous().numpy()
            with archive.open(f"{openai_name(name)}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array[None] if is_matrix(name) else array, allow_pickle=False)
    config = source.config
    hparams = {
        "n_vocab": config.vocabulary,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_layer": config.layers,
    }
    (folder / "hparams.json").write_text(json.dumps(hparams, indent=2) + "\n", encoding="utf-8")
    files = source.vocabulary.files()
    for name in VOCABULARY_FILES:
        (folder / name).write_text(files[name], encoding="utf-8")


def read(folder: Path, config: ModelConfig) -> Parameters:
    """Return the parameters in the file, each read on demand."""
    arrays = np.load(folder / ARRAYS)

    def parameter(name: str) -> Array:
        found: Array = arrays[openai_name(name)]
        return found[0].T if is_matrix(name) else found

    return parameter


def stored_dtype(_name: str, _dtype: DType) -> DType:
    """Return the type a parameter is stored in: NumPy has no bf16, so always fp32."""
    return "float32"


def check_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Check that the vocabulary in the files is this one.

    Raises:
        MismatchError: it is not.
    """
    if load_vocabulary(str(folder)) != vocabulary:
        raise MismatchError(f"{' and '.join(VOCABULARY_FILES)} read back as a different vocabulary")


def openai_name(name: str) -> str:
    """Return OpenAI's name of a parameter: `h.0.attn.c_attn.weight` is `model/h0/attn/c_attn/w`."""
    *parts, kind = name.split(".")
    if parts[0] in ("wte", "wpe"):
        return f"model/{parts[0]}"
    if parts[0] == "h":
        parts[:2] = [f"h{parts[1]}"]
    letter = "b" if kind == "bias" else "g" if parts[-1].startswith("ln_") else "w"
    return "/".join(["model", *parts, letter])
