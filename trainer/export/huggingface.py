"""A Hugging Face GPT-2 directory: what `transformers.GPT2LMHeadModel.from_pretrained` reads.

Weights lie in model.safetensors under OpenAI's names, each matrix as [in, out] (OpenAI's Conv1D) where
PyTorch's Linear has [out, in]. The output layer is the token embedding and is not stored twice.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokenizer.vocabulary import Vocabulary
from trainer.checkpoint import State
from trainer.config import ModelConfig
from trainer.model import GPT2

PREFIX = "transformer."  # of every name in a GPT2LMHeadModel
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def save(folder: Path, weights: dict[str, Tensor], state: State, *, vocabulary: Vocabulary) -> None:
    """Write the directory.

    Args:
        weights: by the model's own parameter names, the embedding still padded.
        vocabulary: written beside the weights.
    """
    config = state.model
    tensors = {PREFIX + name: tensor for name, tensor in openai_layout(weights, config).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _config(config, vocabulary.end_of_text))
    ends = {"bos_token_id": vocabulary.end_of_text, "eos_token_id": vocabulary.end_of_text}
    _write_json(folder / "generation_config.json", ends)
    files = vocabulary.files()
    for name in TOKENIZER_FILES:
        (folder / name).write_text(files[name], encoding="utf-8")
    (folder / "README.md").write_text(_model_card(state), encoding="utf-8")


def load(folder: Path) -> GPT2:
    """Read such a directory into our own model, on the CPU.

    Raises:
        ValueError: there is no GPT-2 in the folder, or not one like ours.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json: give a folder that launch/export.py wrote")
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (content["model_type"], content["activation_function"]) != ("gpt2", "gelu_new"):
            raise ValueError(f"{folder}/config.json is not a GPT-2 with tanh-GELU")
        config = ModelConfig(
            layers=content["n_layer"],
            heads=content["n_head"],
            width=content["n_embd"],
            context=content["n_positions"],
            vocabulary=content["vocab_size"],
        )
        tensors = load_file(folder / "model.safetensors")
    except (KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{folder} holds no readable model: {type(error).__name__}: {error}") from error
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    with torch.device("meta"):
        model = GPT2(config)
    try:
        model.load_state_dict(_own_layout(weights, config), assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"the weights in {folder} do not fit its config.json: {error}") from error
    return model


def openai_layout(weights: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return weights as OpenAI has them: the padding of the embedding cut off, matrices as [in, out]."""
    cropped = {**weights, "wte.weight": weights["wte.weight"][: config.vocabulary]}
    return {name: _transposed(name, tensor.float()).contiguous() for name, tensor in cropped.items()}


def _own_layout(weights: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Undo `openai_layout`: the padding comes back as zeros."""
    padding = config.padded_vocabulary - config.vocabulary
    padded = torch.nn.functional.pad(weights["wte.weight"], (0, 0, 0, padding))
    return {name: _transposed(name, tensor) for name, tensor in {**weights, "wte.weight": padded}.items()}


def _transposed(name: str, tensor: Tensor) -> Tensor:
    return tensor.T if name.endswith(TRANSPOSED) else tensor


def _config(config: ModelConfig, end_of_text: int) -> dict[str, Any]:
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
        "layer_norm_epsilon": 1e-5,
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
        "dtype": "float32",
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _model_card(state: State) -> str:
    """Return the README.md: what the model is, and the figures of its run."""
    model, plan, figures = state.model, state.plan, state.figures
    rows = [
        ("Parameters", f"{model.parameters:,}"),
        ("Layers, heads, width", f"{model.layers}, {model.heads}, {model.width}"),
        ("Context", f"{model.context:,} tokens"),
        (
            "Vocabulary",
            f"{model.vocabulary:,} entries, byte-level BPE (`{state.vocabulary_fingerprint[:16]}`)",
        ),
        ("Trained on", f"{state.tokens:,} tokens in {state.step:,} of {plan['steps']:,} steps"),
        ("Batch", f"{state.tokens // state.step:,} tokens over {state.world_size} ranks"),
        ("Learning rate", f"{plan['learning_rate']:g}, cosine to {plan['final_learning_rate']:g}"),
        ("Precision", f"{plan['precision']} products, fp32 weights"),
        ("Training time", f"{figures['training_seconds']:,.0f} s"),
    ]
    for name, key in (("First", "first_validation_loss"), ("Last", "last_validation_loss")):
        if key in figures:
            rows.append((f"{name} validation loss", f"{figures[key]:.4f} nats a token"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
language: en
tags: [gpt2, outbound]
---

# GPT-2 {plan["size"]}, trained by Outbound

A GPT-2 language model trained from scratch on the text of pages that Reddit's users linked to. It
goes on from a text; it has not been taught to follow instructions or to tell true from false.

| | |
|---|---|
{table}

```python
from transformers import pipeline

print(pipeline("text-generation", model="path/to/this/folder")("The", max_new_tokens=50)[0]["generated_text"])
```
"""
