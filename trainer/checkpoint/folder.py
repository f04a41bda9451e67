"""A run's files on disk, and when a checkpoint is complete.

<run>/options.json                         options and plan, written before the first step
<run>/metrics.jsonl                        one line per step and one per evaluation
<run>/step_00000100/weights-00000.safetensors …   whole fp32 tensors, by the model's parameter names
<run>/step_00000100/exp_avg-00000.safetensors …   first moments of AdamW and Muon, by the same names
<run>/step_00000100/exp_avg_sq-00000.safetensors …  AdamW's second moments; Muon has none
<run>/step_00000100/state.json             step, position in the data, plan, vocabulary
<run>/step_00000100/complete               size and checksum of every file; written last, and only
                                           then is the checkpoint complete

Nothing in a checkpoint depends on the number of ranks or the ZeRO stage, so a run resumes with any.
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
FILE_BYTES = 256 * 2**20  # maximum size of a file, unless a single tensor is larger


@dataclass(frozen=True, kw_only=True)
class State:
    """A run's position: everything beside the tensors that resuming and export need."""

    step: int
    updates: int  # steps whose update was applied; AdamW's step count
    sequences: int  # trained on so far: the position of the next one
    tokens: int
    world_size: int
    zero_stage: int
    vocabulary_fingerprint: str
    model: ModelConfig
    plan: dict[str, Any]
    figures: dict[str, float]  # for the model card: losses, seconds
    anomalies: dict[str, Any] = field(default_factory=dict)  # state of the spike detector


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Size and checksum of a file, as `complete` has them."""

    size_bytes: int
    xxh3: str


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What `complete` says."""

    files: Mapping[str, FileRecord]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """A file of a checkpoint, and the parameters that it holds."""

    name: str
    kind: str
    parameters: tuple[str, ...]


def tensor_files(
    shapes: Mapping[str, Sequence[int]], *, one_moment: Collection[str] = ()
) -> list[TensorFile]:
    """Return the files for fp32 tensors of these shapes: by kind, in the order of the parameters.

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
    """Return the shapes of the tensors of a kind."""
    return {name: shape for name, shape in shapes.items() if kind != "exp_avg_sq" or name not in one_moment}


def _parts(shapes: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Split the names into files."""
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
    """Write tensors on the CPU to a new file, flush it to disk, and return its record."""
    return write_file(path, serialised(tensors))


def serialised(tensors: dict[str, "Tensor"]) -> bytes:
    """Return tensors on the CPU as the content of a safetensors file."""
    from safetensors.torch import save

    return save(tensors)


def write_file(path: Path, content: bytes) -> FileRecord:
    """Write a new file, flush it to disk, and return its record."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(size_bytes=len(content), xxh3=xxhash.xxh3_128_hexdigest(content))


def read_tensors(folder: Path, kind: str) -> dict[str, "Tensor"]:
    """Return the tensors of one kind of a complete checkpoint, on the CPU, mapped from the files."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{kind}-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # not a dict
    return tensors


def read_weights(folder: Path) -> dict[str, "Tensor"]:
    """Return the fp32 weights of a complete checkpoint by the model's own parameter names.

    They are mapped from the files, so unused ones are not read. The embedding includes its padding.
    """
    return read_tensors(folder, "weights")


def folder_of_step(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` steps."""
    return run / f"step_{step:08d}"


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint's folder."""
    return int(folder.name.removeprefix("step_"))


def finished_checkpoints(run: Path) -> list[Path]:
    """Return the folders of the complete checkpoints, oldest first."""
    return [folder for folder in sorted(run.glob("step_*")) if is_finished(folder)]


def is_finished(folder: Path) -> bool:
    """Return whether a checkpoint was committed and all files have their full size."""
    try:
        records = read_records(folder).items()
        return all((folder / name).stat().st_size == record.size_bytes for name, record in records)
    except (OSError, ValueError):
        return False


def read_records(folder: Path) -> dict[str, FileRecord]:
    """Return the records in `complete`, by file name."""
    return dict(parse_as(Marker, parse_json((folder / MARKER).read_text())).files)


def find_checkpoint(path: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder, or `path` if it is itself a checkpoint.

    Raises:
        ValueError: there is none.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder: give the --output of a training run")
    if is_finished(path):
        return path
    finished = finished_checkpoints(path)
    if not finished:
        begun = len(list(path.glob("step_*")))
        raise ValueError(f"{path} has no finished checkpoint" + (f" ({begun} unfinished)" if begun else ""))
    return finished[-1]


def begin(folder: Path, shapes: Mapping[str, Sequence[int]], *, one_moment: Collection[str] = ()) -> None:
    """Create an empty folder for a checkpoint; leftovers of an interrupted attempt are removed.

    Raises:
        OSError: the disk has no space for tensors of these shapes.
    """
    discard(folder)
    folder.mkdir(parents=True)
    kinds = [_of_kind(kind, shapes, one_moment) for kind in KINDS]
    needed = sum(4 * math.prod(shape) for kind in kinds for shape in kind.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"not enough disk space for {folder}: needs {needed:,} bytes, {free:,} are free")


def discard(folder: Path) -> None:
    """Remove a checkpoint, its marker first."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def commit(folder: Path, state: State, tensors: Mapping[str, FileRecord]) -> None:
    """Complete a checkpoint, once every rank has written its files.

    Raises:
        OSError: a rank's file is not visible from here.
    """
    for name, record in tensors.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != record.size_bytes:
            raise OSError(
                f"{folder / name} is not visible from this machine: all machines must share --output"
            )
    for name, text in texts_of(state, tensors).items():
        write_text(str(folder / name), text)


def texts_of(state: State, tensors: Mapping[str, FileRecord]) -> dict[str, str]:
    """Return what a checkpoint has besides its tensors: state.json and, to be written last, the marker."""
    content = json.dumps(asdict(state), indent=2)
    raw = content.encode()
    records = {
        **tensors,
        "state.json": FileRecord(size_bytes=len(raw), xxh3=xxhash.xxh3_128_hexdigest(raw)),
    }
    files = {name: asdict(record) for name, record in sorted(records.items())}
    return {"state.json": content, MARKER: json.dumps({"files": files}, indent=2)}


def prune(run: Path, *, keep_newest: int, keep_every: int) -> None:
    """Keep the newest complete checkpoints, and forever those after every `keep_every` steps (0: none).

    Everything else that is older than the newest is removed, complete or not.
    """
    finished = [folder.name for folder in finished_checkpoints(run)]
    kept = kept_checkpoints(finished, keep_newest=keep_newest, keep_every=keep_every)
    for folder in sorted(run.glob("step_*")):
        if folder.name < finished[-1] and folder.name not in kept:
            discard(folder)


def kept_checkpoints(finished: Sequence[str], *, keep_newest: int, keep_every: int) -> set[str]:
    """Return which of the complete checkpoints stay, given the names of all, oldest first."""
    return {
        name
        for name in finished
        if name in finished[-keep_newest:] or (keep_every and step_of(Path(name)) % keep_every == 0)
    }


def damaged_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return those of these files of a complete checkpoint whose content has changed."""
    records = read_records(folder)
    return [name for name in names if not is_whole(folder / name, records[name])]


def is_whole(path: Path, record: FileRecord) -> bool:
    """Say whether a file is there and has the content that its record says."""
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError:  # the disk cannot read it
        return False
    return digest.hexdigest() == record.xxh3


def set_aside(folder: Path) -> None:
    """Mark a checkpoint as damaged, so that it is no longer complete."""
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
        raise ValueError(f"{folder}/state.json is damaged: {error}") from error


def newest_state(run: Path) -> State | None:
    """Return the state of a run's newest checkpoint with an undamaged state.json; None without one.

    The rest of that checkpoint may be damaged: `find_sound` reads all of it, on all ranks together.
    """
    for folder in reversed(finished_checkpoints(run)):
        if not damaged_files(folder, ["state.json"]):
            return read_state(folder)
    return None


def read_options(run: Path) -> dict[str, Any] | None:
    """Return the content of a run's options.json; None if there is no run.

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
            raise ValueError(f"--output {run} is not a training run: give another folder")
        return None
    try:
        content: dict[str, Any] = parse_json(options.read_text())
        dict(content["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{options} is damaged: {error}") from error
    return content


def check_same_identity(run: Path | str, before: dict[str, Any], identity: dict[str, Any]) -> None:
    """Check that the run in a folder has this identity.

    Raises:
        ValueError: it has not; the message names the first option that differs.
    """
    for name, value in identity.items():
        if before.get(name) != value:
            option = name.replace("_", "-")
            raise ValueError(
                f"--output {run} holds a run with another --{option}: {before.get(name)} there, {value} "
                "here; give another folder, or use the same options to resume"
            )
