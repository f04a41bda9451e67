"""Local paths and fsspec addresses (`s3://…`), treated alike: read, list, fingerprint, replace at once.

Nobody ever sees half a file. On a local disk something new is written under a temporary name and
renamed; on an object store it is written locally first and then put under its name.
"""

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem


def join(address: str, *parts: str) -> str:
    """Append path parts to a local path or an fsspec address."""
    return "/".join([address.rstrip("/") or "/", *parts])


def locate(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system that serves an address, and the address's path on it.

    Raises:
        ValueError: no file system serves such an address.
    """
    try:
        return cast(tuple[fsspec.AbstractFileSystem, str], url_to_fs(address))
    except (ValueError, ImportError) as error:
        raise ValueError(f"cannot reach {address}: {error}") from error


def local_path(address: str) -> Path | None:
    """Return the path of an address on this machine's disk, or None where it lies elsewhere."""
    filesystem, path = locate(address)
    return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def open_read(address: str) -> IO[bytes]:
    """Open a file for reading, as bytes."""
    filesystem, path = locate(address)
    return cast(IO[bytes], filesystem.open(path, "rb"))


def read_text(address: str) -> str:
    """Return a whole file as UTF-8 text."""
    with open_read(address) as file:
        return file.read().decode()


def exists(address: str) -> bool:
    """Say whether a file or folder is there."""
    filesystem, path = locate(address)
    return bool(filesystem.exists(path))


def list_files(folder: str, suffix: str = "") -> list[str]:
    """Return the addresses of the files directly in a folder, sorted by name; none if it is not there.

    Hidden files (a leading dot: unfinished ones) do not count.
    """
    filesystem, path = locate(folder)
    if not filesystem.isdir(path):
        return []
    entries = [entry for entry in filesystem.ls(path, detail=True) if entry["type"] == "file"]
    names = sorted(entry["name"].rsplit("/", 1)[-1] for entry in entries)
    return [join(folder, name) for name in names if name.endswith(suffix) and not name.startswith(".")]


def fingerprint(address: str) -> str:
    """Return what changes when a source file does: its name, size and time (or the store's own checksum)."""
    filesystem, path = locate(address)
    info = filesystem.info(path)
    changed = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
    identity = (path.rsplit("/", 1)[-1], info.get("size"), str(changed))
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def remove(address: str) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    filesystem, path = locate(address)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def write_text(address: str, text: str) -> None:
    """Write or replace a text file at once."""
    target = local_path(address)
    if target is None:
        filesystem, path = locate(address)
        filesystem.pipe_file(path, text.encode())
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


@contextmanager
def new_folder(address: str) -> Iterator[Path]:
    """Give a local folder to write in; at the end it takes the address's place, after an error it is gone.

    What the address held before stays until then. Folders that an earlier, killed attempt at the same
    address left behind are removed first.
    """
    target = local_path(address)
    if target is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
            remove(address)
            filesystem, path = locate(address)
            filesystem.put(f"{name}/", f"{path}/", recursive=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
