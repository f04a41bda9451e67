"""A model at an address on a store, brought to a folder of this machine: what is used of it, and checked.

Of a run, that is the newest complete checkpoint's weights, without the moments (a third of the bytes).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json
from pipeline.runner.names import bare
from pipeline.runner.storage import local_path, write_text
from pipeline.runner.terminal import say
from pipeline.runner.transfer import DamagedError, fetch, one_at_a_time, patiently, scratch_folder
from trainer.checkpoint.folder import MARKER, discard
from trainer.checkpoint.store import RunStore

BESIDE: Final = ("tokenizer.json", "options.json")  # of a run
FETCHED: Final = ".fetched.json"  # what tells each file of a directory from a newer one
_MODEL: Final = (".json", ".txt", ".bpe", ".tiktoken", ".safetensors")
_PICKLE: Final = "pytorch_model"


def local_model(address: str | Path, scratch: str | None = None) -> Path:
    """Return a folder of this machine with the run, checkpoint or Hugging Face directory at an address.

    Args:
        scratch: folder on this machine for what lies on a store.

    Raises:
        ValueError: there is no model at the address, or what the store gives is damaged.
        OSError: the store is out of reach.
    """
    place = str(address)
    path = local_path(place)
    if path is not None:
        return path if "://" in place else Path(address)
    folder = scratch_folder(scratch, "models", place)
    with one_at_a_time(folder):
        sizes = patiently(lambda: storage.file_sizes(place), what=place)
        if "config.json" in sizes:
            _fetch_directory(place, folder, sizes)
            return folder
        if MARKER in sizes:
            run, _, name = place.rstrip("/").rpartition("/")
            _fetch_weights(RunStore(run), folder, [name])
            return folder / name
        _fetch_weights(RunStore(place), folder, RunStore(place).complete(sizes))
    return folder


def _fetch_weights(store: RunStore, folder: Path, names: Sequence[str]) -> None:
    """Fetch the last of these checkpoints that is sound, as one that has weights only."""
    if not names:
        raise ValueError(f"{bare(store.address)} has no finished checkpoint, nor a model's config.json")
    for file in BESIDE:
        if patiently(lambda file=file: storage.exists(store.at(file)), what=store.address):  # type: ignore[misc]
            fetch(store.at(file), folder / file)
    for name in reversed(names):
        try:
            records = {
                file: record
                for file, record in store.records(name).items()
                if file == "state.json" or file.startswith("weights-")
            }
            store.fetch_files(name, folder / name, records)
            break
        except DamagedError as error:
            say(f"{bare(store.at(name))} is passed over: {error}", file=sys.stderr, flush=True)
    else:
        raise ValueError(f"every checkpoint in {bare(store.address)} is damaged")
    described = {file: asdict(record) for file, record in records.items()}
    write_text(str(folder / name / MARKER), json.dumps({"files": described}, indent=2))
    for other in folder.glob("step_*"):
        if other.name != name:
            discard(other)


def _fetch_directory(address: str, folder: Path, sizes: Mapping[str, int]) -> None:
    """Fetch the files of a Hugging Face directory that are not here, or are other ones there by now."""
    names = [name for name in sizes if "/" not in name and not name.startswith(".") and name.endswith(_MODEL)]
    if not any(name.endswith(".safetensors") for name in names):
        names += [name for name in sizes if "/" not in name and name.startswith(_PICKLE)]
    known = folder / FETCHED
    before = parse_json(known.read_text()) if known.is_file() else {}
    found = {}
    for name in names:
        place = storage.join(address, name)
        found[name] = patiently(lambda place=place: storage.fingerprint(place), what=place)  # type: ignore[misc]
        if before.get(name) == found[name] and (folder / name).is_file():
            continue
        size = sizes[name]
        fetch(place, folder / name, is_whole=lambda path, size=size: path.stat().st_size == size)  # type: ignore[misc]
    for path in folder.glob("*"):
        if path.is_file() and path.name not in names and not path.name.startswith("."):
            path.unlink()
    write_text(str(known), json.dumps(found))
