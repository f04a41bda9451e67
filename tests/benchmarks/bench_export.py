"""Memory and time of turning a checkpoint into each format, its verification included.

    python tests/benchmarks/bench_export.py --size small

A checkpoint of random weights is made and exported by the command. Printed are two peaks of the exporting
process, by the kernel's count: of its own memory (anonymous pages), and of that with those pages of mapped
files that happen to be there, which the kernel takes back when it needs them. Both as shares of the bytes of
one copy of the weights in fp32. What the libraries take (the same export of a model of a
few weights) is printed apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tokenizer.bpe.vocabulary import Vocabulary  # noqa: E402  # the packages lie beside `tests`
from trainer.checkpoint.folder import State, commit, folder_of_step, tensor_files, write_tensors  # noqa: E402
from trainer.config.model_config import ModelConfig  # noqa: E402
from trainer.config.recipes import SIZES  # noqa: E402
from trainer.model.gpt2 import build  # noqa: E402

VOCABULARY = 50_257
FORMATS = {
    "huggingface": ["float32", "bfloat16"],
    "picogpt": ["float32"],
    "gguf": ["float16", "q8_0"],
    "llm.c": ["float32", "bfloat16"],
}


@dataclass(frozen=True)
class Cost:
    """What one export took."""

    own_bytes: int
    resident_bytes: int
    seconds: float


def main() -> None:
    """Make both checkpoints, export each in every format, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    size = SIZES[parser.parse_args().size]
    shape = {"heads": size.heads, "width": size.width, "context": size.context, "vocabulary": VOCABULARY}
    config = ModelConfig(layers=size.layers, **shape)
    tiny = ModelConfig(layers=1, heads=1, width=32, context=8, vocabulary=VOCABULARY)
    copy_bytes = 4 * config.parameters
    print(f"{config.parameters:,} weights, {copy_bytes / 1e6:,.0f} MB in fp32")
    print(
        f"{'':<24}{'own memory':>12}{'/ weights':>11}{'less libraries':>16}{'with mapped files':>19}{'s':>8}"
    )
    with tempfile.TemporaryDirectory() as name:
        run, bare = Path(name) / "run", Path(name) / "tiny"
        make_checkpoint(run, config)
        make_checkpoint(bare, tiny)
        for form, dtypes in FORMATS.items():
            for dtype in dtypes:
                option = "--gguf-dtype" if form == "gguf" else "--dtype"
                options = ["--format", form, option, dtype] if form != "picogpt" else ["--format", form]
                cost, base = (measure(place, Path(name) / "model", options) for place in (run, bare))
                own, less = cost.own_bytes / copy_bytes, (cost.own_bytes - base.own_bytes) / copy_bytes
                printed = f"{cost.own_bytes / 1e6:>9,.0f} MB{own:>11.2f}{less:>16.2f}"
                printed += f"{cost.resident_bytes / copy_bytes:>19.2f}{cost.seconds:>8.1f}"
                print(f"{form + ' ' + dtype:<24}{printed}", flush=True)


def make_checkpoint(run: Path, config: ModelConfig) -> None:
    """Write what a finished run leaves, with random weights and a vocabulary of random pairs of bytes."""
    pairs = [(bytes([left]), bytes([right])) for left in range(256) for right in range(256)]
    vocabulary = Vocabulary(pairs[: config.vocabulary - 257])
    folder = folder_of_step(run, 1)
    folder.mkdir(parents=True)
    weights = {name: tensor.detach() for name, tensor in build(config, seed=0).named_parameters()}
    files = tensor_files({name: tuple(tensor.shape) for name, tensor in weights.items()})
    records = {
        file.name: write_tensors(folder / file.name, {name: weights[name] for name in file.parameters})
        for file in files
        if file.kind == "weights"
    }
    state = State(
        step=1, updates=1, sequences=1, tokens=config.context, world_size=1, zero_stage=0, model=config,
        vocabulary_fingerprint=vocabulary.fingerprint, plan={"size": "random", "steps": 1, "data": ""},
        figures={},
    )  # fmt: skip
    commit(folder, state, records)
    (run / "tokenizer.json").write_text(vocabulary.tokenizer_json)
    (run / "options.json").write_text(json.dumps({"identity": {"data": "random"}}))


def measure(run: Path, output: Path, options: list[str]) -> Cost:
    """Export by the command, and watch its memory as it goes."""
    places = ["--checkpoint", str(run), "--output", str(output)]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch/export.py"), *places, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    own = resident = 0
    while process.poll() is None:
        now = memory(process.pid)
        own, resident = max(own, now.get("RssAnon", 0)), max(resident, now.get("VmHWM", 0))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the export failed: {process.communicate()[0]}")
    return Cost(own, resident, time.monotonic() - started)


def memory(pid: int) -> dict[str, int]:
    """Return what the kernel says of a process's memory, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return {}
    words = (line.split() for line in lines)
    return {word[0].rstrip(":"): int(word[1]) * 1024 for word in words if word[-1:] == ["kB"]}


if __name__ == "__main__":
    main()
