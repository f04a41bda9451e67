"""Export a training run's newest checkpoint as a model that other programs read.

python launch/export.py --checkpoint out/run --output out/model
python launch/export.py --checkpoint out/run --output out/model --format huggingface gguf --gguf-dtype q8_0
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from pipeline.runner.storage import exists, join, local_path, locate, new_folder
from trainer.export import DType, FormatName

EXPORTED: Final = ("config.json", "hparams.json", "model.gguf", "model.bin")  # a file of each format


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The command line."""

    checkpoint: str
    """Folder of a training run (its newest finished checkpoint is used), one of its checkpoints, or a GPT-2
    in Hugging Face format. May be on a store (s3://…)."""
    output: str
    """Output folder, or an address on a store; an earlier export there is replaced."""
    format: tuple[FormatName, ...] = ("huggingface",)
    """Formats to write: Hugging Face's GPT-2 directory; OpenAI's parameter layout for NumPy inference
    (picogpt); llama.cpp's GGUF; llm.c's model file. All go into the same folder."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights in Hugging Face's and llm.c's files; picogpt's are always float32."""
    gguf_dtype: DType = "float16"
    """Type of the matrices in GGUF; vectors stay float32."""
    vocabulary: str | None = None
    """Vocabulary of the shards: its folder, or a tokenizer.json such as GPT-2's. Default: the copy in the run
    or with the shards."""
    scratch: str | None = None
    """Folder on this machine for what comes from a store. Default: outbound in the user's cache folder."""


def main(options: ExportOptions) -> None:
    """Write each format, check the written files, then move the folder into place."""
    if not options.format:
        raise ValueError("--format is empty")
    _check_output(options)
    from trainer.export.formats import export  # imports torch, which takes seconds
    from trainer.export.verification import source_logits
    from trainer.pretrained.fetched import local_model
    from trainer.pretrained.source import open_source

    source = open_source(local_model(options.checkpoint, options.scratch), options.vocabulary)
    expected = source_logits(source)
    with new_folder(str(options.output)) as new:
        for name in dict.fromkeys(options.format):
            dtype: DType = options.gguf_dtype if name == "gguf" else options.dtype
            print(f"{name:<12}{export(name, new, source, dtype=dtype, expected=expected)}", flush=True)
    step = f", after step {source.state.step:,}" if source.state else ""
    parameters = f"{source.config.parameters:,} parameters"
    print(f"{options.output}: {source.name}, {parameters}{step}, from {source.folder}")


def _check_output(options: ExportOptions) -> None:
    """Refuse to replace anything but an earlier export, or the folder that holds the checkpoint."""
    output = str(options.output)
    if _contains(output, str(options.checkpoint)):
        raise ValueError(f"--output {output} contains the --checkpoint: give another folder")
    filesystem, path = locate(output)
    if filesystem.isfile(path):
        raise ValueError(f"--output {output} is a file, not a folder")
    is_folder = filesystem.isdir(path)
    if is_folder and filesystem.ls(path) and not any(exists(join(output, name)) for name in EXPORTED):
        raise ValueError(f"--output {output} is not an exported model: give another folder")


def _contains(folder: str, address: str) -> bool:
    """Say whether what lies at an address would go with a folder."""
    outer, inner = local_path(folder), local_path(address)
    if outer is not None and inner is not None:
        return inner.resolve().is_relative_to(outer.resolve())
    return f"{address.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


if __name__ == "__main__":
    run_command(ExportOptions, main, "Export a checkpoint as a model that other programs read.")
