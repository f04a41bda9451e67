"""Publishes the last stage's files into the output folder, never a mixture of old and new."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json
from pipeline.runner.stages import Partition

RECORD: Final = ".stages/published.json"
"""The names of what was published, which a killed run leaves too."""


@dataclass(frozen=True)
class CommittedFile:
    """A file that a stage has committed."""

    address: str
    size_bytes: int

    @staticmethod
    def of(partition: Partition, name: str) -> "CommittedFile":
        """Name a file of a partition."""
        return CommittedFile(storage.join(partition.address, name), partition.files[name][0])


def publish(files: Mapping[str, CommittedFile], folder: str, *, index: str, text: str) -> bool:
    """Place files into `folder` under their names, then write the file `index` that describes them.

    `text`, the index's content, must identify the files' content. Files of an earlier run are replaced
    only now that their successors are complete. A folder that a killed run leaves half changed has no
    index, and the next run finishes it. Files that earlier runs published and this one does not are
    removed; everything else in the folder stays.

    Returns:
        False if everything was already there and nothing was changed.
    """
    if _is_published(files, folder, index, text):
        return False
    record = storage.join(folder, RECORD)
    before = _names(record)
    storage.write_text(record, json.dumps(sorted(before | set(files))))  # recorded even if we are killed now
    storage.remove(storage.join(folder, index))
    for name, file in files.items():
        storage.place(file.address, storage.join(folder, name))
    for name in before - set(files):
        storage.remove(storage.join(folder, name))
    storage.write_text(storage.join(folder, index), text)
    storage.write_text(record, json.dumps(sorted(files)))
    return True


def _names(record: str) -> set[str]:
    """Return the names of the files that earlier runs published."""
    try:
        return set(parse_json(storage.read_text(record)))
    except (OSError, ValueError):  # there is none, or it is truncated
        return set()


def _is_published(files: Mapping[str, CommittedFile], folder: str, index: str, text: str) -> bool:
    index_address = storage.join(folder, index)
    if not storage.exists(index_address) or storage.read_text(index_address) != text:
        return False
    filesystem, path = storage.locate(folder)
    places = {f"{path}/{name}": file.size_bytes for name, file in files.items()}
    return all(filesystem.exists(place) and filesystem.size(place) == size for place, size in places.items())
