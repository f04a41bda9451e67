"""How the parts of bench_gpu.py run: commands with a deadline, and results a line at a time."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is run: at full size on a GPU, at toy size in a rehearsal."""

    small: str
    """The size that stands for small."""
    sizes: tuple[str, ...]
    merges: int
    """Merges of the made vocabulary."""
    train_tokens: int
    steps: int
    """Steps of the real command."""
    options: tuple[str, ...]
    resume_options: tuple[str, ...]
    layouts: tuple[str, ...]
    """Options of small that are measured beside each other."""
    training_steps: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """One part in progress."""

    name: str
    scale: Scale
    output: Path
    shards: Path
    data: Path
    environment: dict[str, str]
    deadline: float  # by time.monotonic()

    @property
    def results(self) -> Path:
        """The file of all results, a line of JSON each."""
        return self.output / "results.jsonl"

    @property
    def left(self) -> float:
        """Seconds till the deadline."""
        return self.deadline - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"=== {text} ({self.left:.0f} s left)", flush=True)

    def record(self, record: dict[str, Any]) -> None:
        """Write a result down at once, and show it."""
        with self.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)

    def python(self, arguments: Sequence[str], *, most: float, log: Path | None = None) -> bool:
        """Run a Python file for at most so many seconds; return whether it ended well. Record it if not."""
        return self.command([sys.executable, *arguments], most=most, log=log)

    def command(self, command: Sequence[str], *, most: float, log: Path | None = None) -> bool:
        """Run a command for at most so many seconds; return whether it ended well. Record it if not."""
        limit, reason = min(most, self.left), ""
        if limit < 5:
            reason = "no time left"
        else:
            try:
                with (log or Path("/dev/stdout")).open("a") as file:
                    done = subprocess.run(
                        command, cwd=ROOT, env=self.environment, timeout=limit, check=False, stdout=file,
                        stderr=subprocess.STDOUT if log else None,
                    )  # fmt: skip
                reason = f"exit code {done.returncode}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                reason = f"not done after {limit:.0f} s"
        if reason:
            tail = log.read_text(errors="replace").splitlines()[-12:] if log and log.is_file() else []
            shown = " ".join(Path(word).name for word in command[1:4])
            self.record(
                {"what": "failed", "part": self.name, "command": shown, "reason": reason, "log": tail}
            )
        return not reason
