"""A small text, its vocabulary and shards, and the runs that several tests look at."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rank_processes import rank_processes
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from launch import export
from launch.export import ExportOptions
from tokenizer.bpe.merges import from_printable
from tokenizer.bpe.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[3]

# What each rank does: what a launcher says to it, then the command file, as its main program.
RANK = """
import os, runpy, sys
os.environ.update(environment)
log = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1), os.dup2(log, 2)
sys.argv = arguments
runpy.run_path(arguments[0], run_name="__main__")
"""

OPTIONS = """
--size nano --steps 6 --global-batch-tokens 1024 --learning-rate 4e-3 --warmup-steps 2
--checkpoint-every 2 --keep-checkpoints 9 --evaluate-every 3 --evaluation-tokens 1000 --sample-tokens 12
"""


class Launcher:
    """Runs the command files from the root, as a user would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = rank_processes()

    def run(self, *line: object) -> tuple[int, str]:
        """Run a command line to its end; return exit code and what it printed."""
        process = subprocess.run(
            [str(part) for part in line],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return process.returncode, process.stdout

    def train(
        self,
        options: list[str],
        *,
        ranks: int,
        stop: signal.Signals | None = None,
        once: Path | None = None,
        command: str = "launch/pretrain.py",
        limit_s: float = 100,
    ) -> tuple[list[int | None], str]:
        """Run a command file on that many ranks; return their exit codes and what they printed.

        With `stop`, all ranks get that signal once the file is there.
        """
        printed = self._folder / f"{uuid.uuid4().hex}.txt"
        everywhere = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), **_free_address()}
        started = []
        for rank in range(ranks):
            environment = {**everywhere, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            arguments = [str(ROOT / command), *options]
            names = {"environment": environment, "printed": str(printed), "arguments": arguments}
            started.append(self._processes.Process(target=exec, args=(RANK, names)))
        for process in started:
            process.start()
        if stop and once:
            while not once.exists():
                assert all(process.is_alive() for process in started), printed.read_text()
                time.sleep(0.01)
            for process in started:
                os.kill(process.pid or 0, stop)
        for process in started:
            process.join(timeout=limit_s)
        return [process.exitcode for process in started], printed.read_text()


def _free_address() -> dict[str, str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}


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
        vocab_size=508,  # and <|endoftext|>, so that the padding to 512 is seen
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    learned = Vocabulary([(from_printable(left), from_printable(right)) for left, right in merges])
    vocabulary = folder / "vocabulary"
    vocabulary.mkdir()
    for name, content in learned.files().items():
        (vocabulary / name).write_text(content)
    tokenizer = Tokenizer.from_file(str(vocabulary / "tokenizer.json"))
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
        "version": 2,
        "format": "llm.c",
        "token_type": "uint16",
        "vocabulary": {"fingerprint": fingerprint, "size": 509, "end_of_text": 508},
        "seed": 0,
        "splits": description,
    }
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "shards.json").write_text(json.dumps(content_json))


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """A function that imports an example by its name."""

    def imported(name: str) -> ModuleType:
        path = ROOT / "examples" / f"{name}.py"
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification
        assert specification.loader
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return imported


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """What runs the command files, with this interpreter's scripts and without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("DS_ACCELERATOR", "cpu")
        yield Launcher(tmp_path_factory.mktemp("printed"))


@dataclass(frozen=True)
class Runs:
    """The same training by two ranks: once to its end, and once with an interruption."""

    whole: Path
    resumed: Path
    interruption: tuple[list[int | None], str]  # exit codes and what was printed
    printed: str  # by the uninterrupted run


def pretrain_options(inputs: Inputs, output: Path, *, zero_stage: int, micro_batch: int = 1) -> list[str]:
    """Return the options of the run that these tests are about."""
    own = ["--data", str(inputs.shards), "--output", str(output), "--zero-stage", str(zero_stage)]
    return [*OPTIONS.split(), "--micro-batch", str(micro_batch), *own]


@pytest.fixture(scope="session")
def options_of() -> Callable[..., list[str]]:
    """`pretrain_options`, for the tests."""
    return pretrain_options


@pytest.fixture(scope="session")
def stage_0(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Without ZeRO, started by DeepSpeed's own launcher, and killed in the middle."""
    folder = tmp_path_factory.mktemp("stage_0")
    whole = pretrain_options(inputs, folder / "whole", zero_stage=0)
    code, printed = launcher.run(
        "deepspeed", "--quiet", "--num_accelerators", 2, "launch/pretrain.py", *whole
    )
    assert code == 0, printed
    resumed = pretrain_options(inputs, folder / "resumed", zero_stage=0)
    marker = folder / "resumed/step_00000002/complete"
    interruption = launcher.train(resumed, ranks=2, stop=signal.SIGKILL, once=marker)
    codes, last = launcher.train(resumed, ranks=2)
    assert codes == [0, 0], last
    return Runs(folder / "whole", folder / "resumed", interruption, printed)


@pytest.fixture(scope="session")
def stage_3(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With everything sharded, and asked to stop in the middle."""
    folder = tmp_path_factory.mktemp("stage_3")
    codes, printed = launcher.train(pretrain_options(inputs, folder / "whole", zero_stage=3), ranks=2)
    assert codes == [0, 0], printed
    resumed = pretrain_options(inputs, folder / "resumed", zero_stage=3)
    metrics = folder / "resumed/metrics.jsonl"
    interruption = launcher.train(resumed, ranks=2, stop=signal.SIGTERM, once=metrics)
    codes, last = launcher.train(resumed, ranks=2)
    assert codes == [0, 0], last
    return Runs(folder / "whole", folder / "resumed", interruption, printed)


@pytest.fixture(scope="session")
def alone(inputs: Inputs, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training by one rank, each batch whole."""
    output = tmp_path_factory.mktemp("alone") / "run"
    codes, printed = launcher.train(pretrain_options(inputs, output, zero_stage=0, micro_batch=4), ranks=1)
    assert codes == [0], printed
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
    export.main(ExportOptions(checkpoint=stage_0.whole, vocabulary=str(inputs.vocabulary), output=output))
    return output
