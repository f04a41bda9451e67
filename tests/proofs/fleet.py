"""Ranks of launch/pretrain.py that are started without a launcher, to be killed one by one."""

import json
import os
import resource
import runpy
import socket
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from rank_processes import rank_processes

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0  # longest that a run may take
TOLD = ("step", "loss", "validation_loss", "learning_rate", "gradient_norm")


@dataclass
class Fleet:
    """The ranks of one run."""

    options: list[str]
    ranks: int
    printed: Path  # a file for what they say
    own: dict[int, list[str]] = field(default_factory=dict)  # more options of some ranks
    file_bytes: dict[int, int] = field(default_factory=dict)  # most that some may write to a file
    folders: dict[int, Path] = field(default_factory=dict)  # where some work, as on machines of their own
    processes: list[ForkServerProcess] = field(default_factory=list)

    def start(self) -> "Fleet":
        """Start them."""
        context = rank_processes()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        for rank in range(self.ranks):
            said = {
                "WORLD_SIZE": self.ranks,
                "LOCAL_WORLD_SIZE": 1 if self.folders else self.ranks,
                "RANK": rank,
                "LOCAL_RANK": 0 if self.folders else rank,
            }
            said |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = {name: str(value) for name, value in said.items()}
            options = [*self.options, *self.own.get(rank, [])]
            own = (self.file_bytes.get(rank), self.folders.get(rank))
            process = context.Process(target=_be_rank, args=(environment, options, str(self.printed), *own))
            process.start()
            self.processes.append(process)
        return self

    @property
    def lives(self) -> bool:
        """Whether every rank is still there."""
        return all(process.is_alive() for process in self.processes)

    def wait(self, seconds: float = PATIENCE_S) -> list[int | None]:
        """Wait until they have ended; return their exit codes, None for one that had to be ended."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes


def _be_rank(
    environment: dict[str, str], options: list[str], printed: str, limit: int | None, folder: Path | None
) -> None:
    if folder is not None:
        os.chdir(folder)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.environ |= {**environment, "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    log = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    command = str(ROOT / "launch" / "pretrain.py")
    sys.argv = [command, *options]
    runpy.run_path(command, run_name="__main__")


def outcome(run: Path) -> dict[str, object]:
    """Return what a run has computed, to the bit: weights and moments as they lie on disk, and metrics."""
    from trainer.checkpoint.folder import finished_checkpoints

    newest = finished_checkpoints(run)[-1]
    files = {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    printed = [{name: record[name] for name in TOLD if name in record} for record in records]
    return {"checkpoint": newest.name, "files": files, "metrics": printed}
