"""OpenAI's own parameter layout, which picoGPT and other NumPy inference code reads: arrays and hparams.json.

model.npz holds the variables of OpenAI's GPT-2 by name (`model/h0/attn/c_attn/w`), matrices as [in, out].
The vocabulary lies beside them under OpenAI's file names, encoder.json and vocab.bpe.
"""

import json
from pathlib import Path

import numpy as np
from torch import Tensor

from tokenizer.vocabulary import Vocabulary
from trainer.checkpoint import State
from trainer.export.huggingface import openai_layout


def save(folder: Path, weights: dict[str, Tensor], state: State, *, vocabulary: Vocabulary) -> None:
    """Write the directory; the arguments are those of `huggingface.save`."""
    config = state.model
    arrays = {_openai_name(name): tensor.numpy() for name, tensor in openai_layout(weights, config).items()}
    np.savez(folder / "model.npz", allow_pickle=False, **arrays)
    hparams = {
        "n_vocab": config.vocabulary,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_layer": config.layers,
    }
    (folder / "hparams.json").write_text(json.dumps(hparams, indent=2) + "\n", encoding="utf-8")
    files = vocabulary.files()
    for name in ("encoder.json", "vocab.bpe"):
        (folder / name).write_text(files[name], encoding="utf-8")


def _openai_name(name: str) -> str:
    """Return OpenAI's name of a parameter: `h.0.attn.c_attn.weight` is `model/h0/attn/c_attn/w`."""
    *parts, kind = name.split(".")
    if parts[0] in ("wte", "wpe"):
        return f"model/{parts[0]}"
    if parts[0] == "h":
        parts[:2] = [f"h{parts[1]}"]
    letter = "b" if kind == "bias" else "g" if parts[-1].startswith("ln_") else "w"
    return "/".join(["model", *parts, letter])
