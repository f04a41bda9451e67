"""What a run leaves on disk, and when a checkpoint counts.

<run>/options.json                         what the run is, written before its first step
<run>/metrics.jsonl                        one line a step and one an evaluation
<run>/step_00000100/weights-00000.safetensors …   fp32, whole, by the model's own parameter names
<run>/step_00000100/exp_avg-00000.safetensors …   AdamW's first moments, under the same names, and Muon's
<run>/step_00000100/exp_avg_sq-00000.safetensors …  AdamW's second moments; under Muon there are none
<run>/step_00000100/state.json             step, position in the data, plan, vocabulary
<run>/step_00000100/complete               every file with size and checksum; written last, and only with it
                                           the folder counts

Nothing in a checkpoint depends on the number of ranks or the ZeRO stage, so a run goes on with any.
"""

import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pipeline.runner.json_text import parse_as, parse_json
from pipeline.runner.storage import write_text
from trainer.config.model_config import ModelConfig

if TYPE_CHECKING:  # which takes seconds to import
    from torch import Tensor

MARKER = "complete"
KINDS = ("weights", "exp_avg", "exp_avg_sq")
FILE_BYTES = 256 * 2**20  # most that a file holds, unless a single tensor is larger


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands: all that is needed beside the tensors to go on, or to export."""

    step: int
    updates: int  # steps whose update was applied, which AdamW counts
    sequences: int  # trained on so far, which is the position of the next one
    tokens: int
    world_size: int
    zero_stage: int
    vocabulary_fingerprint: str
    model: ModelConfig
    plan: dict[str, Any]
    figures: dict[str, float]  # what the model card tells: losses, seconds
    anomalies: dict[str, Any] = field(default_factory=dict)  # what the next steps are judged by


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What `complete` says of a file."""

    size_bytes: int
    xxh3: str


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What `complete` says."""

    files: Mapping[str, FileRecord]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """A file of a checkpoint, and the parameters whose values it holds."""

    name: str
    kind: str
    parameters: tuple[str, ...]


def tensor_files(
    shapes: Mapping[str, Sequence[int]], *, one_moment: Collection[str] = ()
) -> list[TensorFile]:
    """Return the files that fp32 tensors of these shapes are written to: for each kind, in their order.

    Args:
        one_moment: the parameters that have no second moment.
    """
    return [
        TensorFile(name=f"{kind}-{number:05d}.safetensors", kind=kind, parameters=tuple(names))
        for kind in KINDS
        for number, names in enumerate(_parts(_of_kind(kind, shapes, one_moment)))
    ]


def _of_kind(
    kind: str, shapes: Mapping[str, Sequence[int]], one_moment: Collection[str]
) -> dict[str, Sequence[int]]:
    """Return the shapes of the tensors that there are of a kind."""
    return {name: shape for name, shape in shapes.items() if kind != "exp_avg_sq" or name not in one_moment}


def _parts(shapes: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Cut the names where a file is full."""
    parts: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        if parts[-1] and filled + size > FILE_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += size
    return parts


def write_tensors(path: Path, tensors: dict[str, "Tensor"]) -> FileRecord:
    """Write tensors on the CPU to a new file, down to the disk, and return its record."""
    return write_file(path, serialised(tensors))


def serialised(tensors: dict[str, "Tensor"]) -> bytes:
    """Return the content of a file of tensors on the CPU."""
    from safetensors.torch import save

    return save(tensors)


def write_file(path: Path, content: bytes) -> FileRecord:
    """Write a new file, down to the disk, and return its record."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(size_bytes=len(content), xxh3=xxhash.xxh3_128_hexdigest(content))


def read_tensors(folder: Path, kind: str) -> dict[str, "Tensor"]:
    """Return the tensors of one kind of a complete checkpoint, on the CPU, mapped from the files as used."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{kind}-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # not a dict
    return tensors


def read_weights(folder: Path) -> dict[str, "Tensor"]:
    """Return the fp32 weights of a complete checkpoint by the model's own parameter names.

    They are mapped from the files: what is not looked at is not read. The embedding has its padding.
    """
    return read_tensors(folder, "weights")


def folder_of_step(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` steps."""
    return run / f"step_{step:08d}"


def step_of(folder: Path) -> int:
    """Return after how many steps a checkpoint's folder was saved."""
    return int(folder.name.removeprefix("step_"))


def finished_checkpoints(run: Path) -> list[Path]:
    """Return the folders of the complete checkpoints, oldest first."""
    return [folder for folder in sorted(run.glob("step_*")) if is_finished(folder)]


def is_finished(folder: Path) -> bool:
    """Say whether a checkpoint was committed, and still has every file at its full size."""
    try:
        records = read_records(folder).items()
        return all((folder / name).stat().st_size == record.size_bytes for name, record in records)
    except (OSError, ValueError):
        return False


def read_records(folder: Path) -> dict[str, FileRecord]:
    """Return what `complete` says of each file."""
    return dict(parse_as(Marker, parse_json((folder / MARKER).read_text())).files)


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


def begin(folder: Path, shapes: Mapping[str, Sequence[int]], *, one_moment: Collection[str] = ()) -> None:
    """Make room for a checkpoint: what an interrupted attempt at it left behind goes, its marker first.

    Raises:
        OSError: tensors of these shapes find no room on the disk.
    """
    discard(folder)
    folder.mkdir(parents=True)
    kinds = [_of_kind(kind, shapes, one_moment) for kind in KINDS]
    needed = sum(4 * math.prod(shape) for kind in kinds for shape in kind.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"no room for {folder}: it takes {needed:,} bytes, and {free:,} are free")


def discard(folder: Path) -> None:
    """Remove a checkpoint, its marker first."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def commit(folder: Path, state: State, tensors: Mapping[str, FileRecord]) -> None:
    """Make a checkpoint count, once every rank has written its files.

    Raises:
        OSError: a rank's file is not to be seen from here.
    """
    for name, record in tensors.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != record.size_bytes:
            raise OSError(f"{folder / name} is not to be seen from here: all machines must share --output")
    content = json.dumps(asdict(state), indent=2)
    write_text(str(folder / "state.json"), content)
    raw = content.encode()
    records = {
        **tensors,
        "state.json": FileRecord(size_bytes=len(raw), xxh3=xxhash.xxh3_128_hexdigest(raw)),
    }
    files = {name: asdict(record) for name, record in sorted(records.items())}
    write_text(str(folder / MARKER), json.dumps({"files": files}, indent=2))


def prune(run: Path, *, keep_newest: int, keep_every: int) -> None:
    """Keep the newest complete checkpoints, and for good those after every `keep_every` steps (0: none).

    What else is older than the newest goes, complete or not.
    """
    finished = finished_checkpoints(run)
    kept = {
        folder
        for folder in finished
        if folder in finished[-keep_newest:] or (keep_every and step_of(folder) % keep_every == 0)
    }
    for folder in sorted(run.glob("step_*")):
        if folder < finished[-1] and folder not in kept:
            discard(folder)


def damaged_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return which of these files of a complete checkpoint no longer have the content that was written."""
    records = read_records(folder)
    return [name for name in names if not _is_whole(folder / name, records[name])]


def _is_whole(path: Path, record: FileRecord) -> bool:
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError:  # the disk cannot read it
        return False
    return digest.hexdigest() == record.xxh3


def set_aside(folder: Path) -> None:
    """Let a damaged checkpoint no longer count."""
    (folder / MARKER).replace(folder / "damaged")


def read_state(folder: Path) -> State:
    """Read the state.json of a complete checkpoint.

    Raises:
        ValueError: it is not what `commit` wrote.
    """
    try:
        content = parse_json((folder / "state.json").read_text())
        return parse_as(State, content)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}/state.json is broken: {error}") from error


def newest_state(run: Path) -> State | None:
    """Return the state of a run's newest checkpoint whose state.json is as it was written; None without one.

    The rest of that checkpoint may be damaged: only the ranks together read so much (`find_sound`).
    """
    for folder in reversed(finished_checkpoints(run)):
        if not damaged_files(folder, ["state.json"]):
            return read_state(folder)
    return None


def read_options(run: Path) -> dict[str, Any] | None:
    """Return what the options.json of a run says; None where no run has begun.

    Raises:
        ValueError: the folder holds something else.
    """
    if not run.exists():
        return None
    if not run.is_dir():
        raise ValueError(f"--output {run} is a file, not a folder")
    options = run / "options.json"
    if not options.is_file():
        if any(entry for entry in run.iterdir() if not entry.name.startswith(".")):
            raise ValueError(f"--output {run} holds something that is no training run: give another folder")
        return None
    try:
        content: dict[str, Any] = parse_json(options.read_text())
        dict(content["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{options} is broken: {error}") from error
    return content


def check_same_identity(run: Path, before: dict[str, Any], identity: dict[str, Any]) -> None:
    """Check that the run in a folder is the one that is meant.

    Raises:
        ValueError: it is another; the message names the first option that differs.
    """
    for name, value in identity.items():
        if before.get(name) != value:
            option = name.replace("_", "-")
            raise ValueError(
                f"--output {run} holds a run with another --{option}: {before.get(name)} there, {value} "
                "here; give another folder, or the same options to go on"
            )
