"""A small text, its vocabulary and shards, and the runs that several tests look at."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from launch import export
from launch.export import ExportOptions

ROOT = Path(__file__).resolve().parents[2]

# One process for each rank, as any launcher would start them, but without DeepSpeed's five seconds. A
# request to stop goes to the whole process group, and this one waits for the ranks to follow it.
RANKS = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
size, port, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
sizes = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
where = {**os.environ, **sizes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
ranks = [
    subprocess.Popen(command, env={**where, "RANK": str(rank), "LOCAL_RANK": str(rank)})
    for rank in range(size)
]
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""

OPTIONS = """
--size nano --steps 8 --global-batch-tokens 1024 --learning-rate 4e-3 --warmup-steps 2
--checkpoint-every 2 --keep-checkpoints 9 --evaluate-every 4 --evaluation-tokens 1000
"""


class Launcher:
    """Runs the command files from the root, as a user would."""

    def line(self, script: str, *arguments: object, ranks: int = 1) -> list[str]:
        """Return the command line that starts a command file on as many ranks."""
        line = [sys.executable, script, *map(str, arguments)]
        if ranks == 1:
            return line
        return [sys.executable, "-c", RANKS, str(ranks), str(_free_port()), *line]

    def start(self, line: list[str]) -> subprocess.Popen[str]:
        """Start a command line in a process group of its own, with this interpreter's scripts and no GPU."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CUDA_VISIBLE_DEVICES": "",
            "DS_ACCELERATOR": "cpu",
        }
        return subprocess.Popen(
            line,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Wait for success, and return what was printed."""
        printed, _ = process.communicate(timeout=100)
        assert process.returncode == 0, printed
        return printed

    def run(self, script: str, *arguments: object, ranks: int = 1) -> str:
        """Run a command file to its end, and return what it printed."""
        return self.finish(self.start(self.line(script, *arguments, ranks=ranks)))

    def interrupt(self, line: list[str], *, once: Path, number: signal.Signals) -> tuple[int, str]:
        """Start a command line, signal its processes once a file is there; return exit code and output."""
        process = self.start(line)
        while not once.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        os.killpg(process.pid, number)
        printed, _ = process.communicate(timeout=100)
        return process.returncode, printed


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Inputs:
    """What a training run needs."""

    text: str
    vocabulary: Path
    shards: Path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A text of which a small model can learn something in a few steps, encoded with 509 entries."""
    folder = tmp_path_factory.mktemp("inputs")
    words = sorted(set(re.findall(r"[a-z]{2,}", (re.__doc__ or "") + (json.__doc__ or ""))))
    chosen = np.random.default_rng(0).zipf(1.3, size=60_000) % len(words)
    text = " ".join(words[index] for index in chosen)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=509,  # so that the padding to 512 is seen
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    vocabulary = folder / "vocabulary"
    vocabulary.mkdir()
    tokenizer.save(str(vocabulary / "tokenizer.json"))
    tokenizer.model.save(str(vocabulary))
    (vocabulary / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    ids = tokenizer.encode(text).ids
    write_shards(folder / "shards", {"train": ids[3000:], "validation": ids[:3000]}, vocabulary)
    return Inputs(text, vocabulary, folder / "shards")


def write_shards(folder: Path, splits: dict[str, list[int]], vocabulary: Path) -> None:
    """Write each split as two shards, and shards.json."""
    folder.mkdir()
    tokenizer = (vocabulary / "tokenizer.json").read_bytes()
    description: dict[str, dict[str, object]] = {}
    for split, ids in splits.items():
        shards = []
        for number, part in enumerate(np.array_split(np.array(ids, "<u2"), 2)):
            name = f"{split}_{number:06d}.bin"
            header = np.zeros(256, "<i4")
            header[:3] = 20240520, 1, len(part)
            content = header.tobytes() + part.tobytes()
            (folder / name).write_bytes(content)
            checksum = hashlib.sha256(content).hexdigest()
            shards.append({"file": name, "tokens": len(part), "documents": 1, "sha256": checksum})
        description[split] = {
            "documents": 2,
            "tokens": len(ids),
            "characters": 0,
            "bytes": 0,
            "shards": shards,
        }
    fingerprint = hashlib.sha256(tokenizer).hexdigest()
    content_json = {
        "format": "llm.c",
        "version": 1,
        "vocabulary": {"fingerprint": fingerprint, "size": 509, "end_of_text": 0},
        "seed": 0,
        "splits": description,
    }
    (folder / "shards.json").write_text(json.dumps(content_json))


@pytest.fixture(scope="session")
def launcher() -> Launcher:
    """What runs the command files."""
    return Launcher()


@dataclass(frozen=True)
class Runs:
    """The same training by two ranks: once to its end, and once with an interruption."""

    whole: Path
    resumed: Path
    interruption: tuple[int, str]  # exit code and what was printed
    printed: str  # by the uninterrupted run


def pretrain_options(inputs: Inputs, output: Path, *, zero_stage: int, micro_batch: int = 1) -> list[str]:
    """Return the options of the run that these tests are about."""
    own = ["--data", str(inputs.shards), "--output", str(output), "--zero-stage", str(zero_stage)]
    return [*OPTIONS.split(), "--micro-batch", str(micro_batch), *own]


@pytest.fixture(scope="session")
def stage_0(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Without ZeRO, started by DeepSpeed's own launcher, and killed in the middle."""
    folder = tmp_path_factory.mktemp("stage_0")
    whole = pretrain_options(inputs, folder / "whole", zero_stage=0)
    line = ["deepspeed", "--quiet", "--num_accelerators", "2", "launch/pretrain.py", *whole]
    printed = launcher.finish(launcher.start(line))
    resumed = launcher.line(
        "launch/pretrain.py", *pretrain_options(inputs, folder / "resumed", zero_stage=0), ranks=2
    )
    marker = folder / "resumed/step_00000002/complete"
    interruption = launcher.interrupt(resumed, once=marker, number=signal.SIGKILL)
    launcher.finish(launcher.start(resumed))
    return Runs(folder / "whole", folder / "resumed", interruption, printed)


@pytest.fixture(scope="session")
def stage_3(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With everything sharded, and asked to stop in the middle."""
    folder = tmp_path_factory.mktemp("stage_3")
    whole = pretrain_options(inputs, folder / "whole", zero_stage=3)
    printed = launcher.run("launch/pretrain.py", *whole, ranks=2)
    resumed = launcher.line(
        "launch/pretrain.py", *pretrain_options(inputs, folder / "resumed", zero_stage=3), ranks=2
    )
    metrics = folder / "resumed/metrics.jsonl"
    interruption = launcher.interrupt(resumed, once=metrics, number=signal.SIGTERM)
    launcher.finish(launcher.start(resumed))
    return Runs(folder / "whole", folder / "resumed", interruption, printed)


@pytest.fixture(scope="session")
def alone(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training by one rank without a launcher, each batch whole."""
    output = tmp_path_factory.mktemp("alone") / "run"
    launcher.run("launch/pretrain.py", *pretrain_options(inputs, output, zero_stage=0, micro_batch=4))
    return output


@pytest.fixture(scope="session", params=["stage_0", "stage_3"])
def runs(request: pytest.FixtureRequest) -> Runs:
    """Each of the two in turn."""
    result: Runs = request.getfixturevalue(request.param)
    return result


@pytest.fixture(scope="session")
def model(inputs: Inputs, stage_0: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of the unsharded run."""
    output = tmp_path_factory.mktemp("model") / "model"
    export.main(ExportOptions(checkpoint=stage_0.whole, vocabulary=inputs.vocabulary, output=output))
    return output
