"""Turn a training run's newest checkpoint into a model that other programs read.

python launch/export.py --checkpoint out/run --vocabulary out/vocabulary --output out/model
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.command import run_command
from pipeline.storage import new_folder
from tokenizer.vocabulary import Vocabulary, load_vocabulary
from trainer.checkpoint import find_checkpoint, read_state, read_weights


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The command line."""

    checkpoint: Path
    """Folder of a training run, whose newest finished checkpoint counts; or one checkpoint of it."""
    vocabulary: str
    """The vocabulary that the shards were written with: its folder, or a tokenizer.json such as GPT-2's."""
    output: Path
    """Folder to write; an earlier export there is replaced."""
    format: Literal["huggingface", "picogpt"] = "huggingface"
    """Hugging Face's GPT-2 directory, or OpenAI's parameter layout for NumPy inference."""


def main(options: ExportOptions) -> None:
    """Check that run and vocabulary belong together, then write the weights in the format."""
    folder = find_checkpoint(options.checkpoint)
    state = read_state(folder)
    vocabulary = _open_vocabulary(options.vocabulary, state.vocabulary_fingerprint)
    _check_output(options.output)
    from trainer.export import huggingface, picogpt  # which import torch, for seconds

    write = {"huggingface": huggingface.save, "picogpt": picogpt.save}[options.format]
    weights = read_weights(folder)
    with new_folder(str(options.output)) as new:
        write(new, weights, state, vocabulary=vocabulary)
    model = f"GPT-2 {state.plan['size']}, {state.model.parameters:,} parameters"
    print(f"{options.output}: {model}, after step {state.step:,}, from {folder}")


def _open_vocabulary(address: str, fingerprint: str) -> Vocabulary:
    """Load the vocabulary, and refuse another than that of the shards."""
    vocabulary = load_vocabulary(address)
    if vocabulary.fingerprint != fingerprint:
        raise ValueError(
            f"{address} is not the vocabulary that the shards were written with: its fingerprint is "
            f"{vocabulary.fingerprint[:16]}, theirs {fingerprint[:16]}"
        )
    return vocabulary


def _check_output(output: Path) -> None:
    """Refuse to replace what is no earlier export."""
    if output.is_file():
        raise ValueError(f"--output {output} is a file, not a folder")
    exported = ("config.json", "hparams.json")
    if output.is_dir() and any(output.iterdir()) and not any((output / name).is_file() for name in exported):
        raise ValueError(f"--output {output} holds something that is no exported model: give another folder")


if __name__ == "__main__":
    run_command(ExportOptions, main, "Export a checkpoint as a model that other programs read.")
