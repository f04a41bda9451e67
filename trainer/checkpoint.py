"""What a run leaves on disk, and when a checkpoint counts.

<run>/options.json                what the run is, written before its first step
<run>/metrics.jsonl               one line a step and one an evaluation
<run>/step_00000100/              DeepSpeed's own files, one a rank
<run>/step_00000100/state.json    step, position in the data, plan, vocabulary
<run>/step_00000100/complete      every file with its size; written last, and only with it the folder counts
<run>/latest                      name of the newest complete folder, as DeepSpeed's tools expect
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.storage import write_text
from trainer.config import ModelConfig

MARKER = "complete"


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands: all that is needed beside DeepSpeed's own files to go on, or to export."""

    step: int
    sequences: int  # trained on so far, which is the position of the next one
    tokens: int
    world_size: int
    zero_stage: int
    vocabulary_fingerprint: str
    model: ModelConfig
    plan: dict[str, Any]
    figures: dict[str, float]  # what the model card tells: losses, seconds


def folder_of_step(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` steps."""
    return run / f"step_{step:08d}"


def finished_checkpoints(run: Path) -> list[Path]:
    """Return the folders of the complete checkpoints, oldest first."""
    return [folder for folder in sorted(run.glob("step_*")) if is_finished(folder)]


def is_finished(folder: Path) -> bool:
    """Say whether a checkpoint was committed, and still has every file at its full size."""
    try:
        files: dict[str, int] = json.loads((folder / MARKER).read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


def find_checkpoint(path: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder, or `path` if it is itself a checkpoint.

    Raises:
        ValueError: there is none.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder: give the --output of a training run")
    if is_finished(path):
        return path
    finished = finished_checkpoints(path)
    if not finished:
        begun = len(list(path.glob("step_*")))
        raise ValueError(f"{path} holds no finished checkpoint" + (f" ({begun} unfinished)" if begun else ""))
    return finished[-1]


def begin(folder: Path) -> None:
    """Make room for a checkpoint: what an interrupted attempt at it left behind goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def commit(folder: Path, state: State) -> None:
    """Make a checkpoint count, once every rank has written its files."""
    write_text(str(folder / "state.json"), json.dumps(asdict(state), indent=2))
    sizes = {
        str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()
    }
    write_text(str(folder / MARKER), json.dumps({"files": sizes}, indent=2, sort_keys=True))
    write_text(str(folder.parent / "latest"), folder.name)


def keep_newest(run: Path, count: int) -> None:
    """Keep the newest `count` complete checkpoints; what is older goes, complete or not, its marker first."""
    oldest_kept = finished_checkpoints(run)[-count:][0]
    for folder in sorted(run.glob("step_*")):
        if folder < oldest_kept:
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder)


def read_state(folder: Path) -> State:
    """Read the state.json of a complete checkpoint.

    Raises:
        ValueError: it is not what `commit` wrote.
    """
    try:
        content = json.loads((folder / "state.json").read_text())
        return State(**{**content, "model": ModelConfig(**content["model"])})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}/state.json is broken: {error}") from error


def check_same_run(run: Path, identity: dict[str, Any]) -> None:
    """Check that an output folder is empty, absent, or holds a run of this very identity.

    Raises:
        ValueError: it holds something else; the message names the first option that differs.
    """
    if not run.exists():
        return
    if not run.is_dir():
        raise ValueError(f"--output {run} is a file, not a folder")
    options = run / "options.json"
    if not options.is_file():
        if any(entry for entry in run.iterdir() if not entry.name.startswith(".")):
            raise ValueError(f"--output {run} holds something that is no training run: give another folder")
        return
    try:
        before = json.loads(options.read_text())["identity"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{options} is broken: {error}") from error
    for name, value in identity.items():
        if before.get(name) != value:
            option = name.replace("_", "-")
            raise ValueError(
                f"--output {run} holds a run with another --{option}: {before.get(name)} there, {value} "
                "here; give another folder, or the same options to go on"
            )
