"""Local paths and fsspec addresses (`s3://…`), treated alike: read, list, fingerprint, replace at once.

Nobody ever sees half a file. On a local disk something new is written under a temporary name and
renamed; on an object store it is written locally first and then put under its name.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.runner.names import file_name

# What flock answers where there are no locks; 524 is Linux's own ENOTSUPP, which NFS and Lustre let through.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, 524}


def join(address: str, *parts: str) -> str:
    """Append path parts to a local path or an fsspec address."""
    return "/".join([address.rstrip("/") or "/", *parts])


def resolve(folder: str, address: str) -> str:
    """Return the address that is meant by one found in a file of `folder`: relative ones start there."""
    if "://" in address or address.startswith("/"):
        return address
    while address.startswith("../"):
        folder, address = folder.rstrip("/").rpartition("/")[0], address[3:]
    return join(folder, address)


def locate(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system that serves an address, and the address's path on it.

    Raises:
        ValueError: no file system serves such an address.
    """
    try:
        # Other processes write there too: what this one has listed before says nothing of now.
        found = url_to_fs(address, use_listings_cache=False)
        return cast(tuple[fsspec.AbstractFileSystem, str], found)
    except (ValueError, ImportError) as error:
        raise ValueError(f"cannot reach {address}: {error}") from error


def local_path(address: str) -> Path | None:
    """Return the path of an address on this machine's disk, or None where it lies elsewhere."""
    filesystem, path = locate(address)
    return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def absolute(address: str) -> str:
    """Return an address that means the same from every folder: a local path begins at the root."""
    path = local_path(address)
    return address if path is None else str(path.absolute())


def open_read(address: str) -> IO[bytes]:
    """Open a file for reading, as bytes."""
    filesystem, path = locate(address)
    return cast(IO[bytes], filesystem.open(path, "rb"))


def open_range_read(address: str) -> IO[bytes]:
    """Open a file of which parts are read, here and there: what is asked for is fetched, and nothing more."""
    filesystem, path = locate(address)
    ahead = {} if isinstance(filesystem, LocalFileSystem) else {"cache_type": "none"}
    return cast(IO[bytes], filesystem.open(path, "rb", **ahead))


def read_text(address: str) -> str:
    """Return a whole file as UTF-8 text, by one request: in between two it might be replaced."""
    filesystem, path = locate(address)
    content: bytes = filesystem.cat_file(path)
    return content.decode()


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


def find_files(sources: Iterable[str], accept: Callable[[str], bool], kind: str) -> list[str]:
    """Return the addresses of the files that files, folders, globs or fsspec addresses name: sorted, unique.

    Of a folder, and the folders in it, those files count whose name `accept` takes. Hidden ones must be
    named in full.

    Raises:
        ValueError: a source names nothing; `kind` says in the message what was looked for.
    """
    found: set[str] = set()
    for source in sources:
        files = _files_at(source, accept)
        if not files:
            raise ValueError(f"no {kind} at {source}: give a file, a folder of such, or a glob in quotes")
        found.update(files)
    return sorted(found)


def _files_at(source: str, accept: Callable[[str], bool]) -> list[str]:
    filesystem, path = locate(source)
    if filesystem.isfile(path):
        paths = [path]
    elif filesystem.isdir(path):
        within = ((file, file[len(path) :].strip("/").split("/")) for file in filesystem.find(path))
        paths = [file for file, parts in within if accept(parts[-1]) and not any(p[0] == "." for p in parts)]
    else:
        paths = [file for file in filesystem.glob(path) if filesystem.isfile(file)]
        paths = [file for file in paths if not file.rsplit("/", 1)[-1].startswith(".")]
    is_local = local_path(source) is not None
    return [path if is_local else filesystem.unstrip_protocol(path) for path in paths]


def fingerprint(address: str) -> str:
    """Return what changes when a source file does: its name, size and time (or the store's own checksum)."""
    filesystem, path = locate(address)
    info = filesystem.info(path)
    changed = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
    identity = (file_name(address), info.get("size"), str(changed))
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def size_bytes(address: str) -> int:
    """Return how large a file is."""
    filesystem, path = locate(address)
    return int(filesystem.size(path) or 0)


def file_sizes(folder: str) -> dict[str, int]:
    """Return the size of every file below a folder, by its name from there; none if it is not there."""
    filesystem, path = locate(folder)
    found = filesystem.find(path, detail=True)
    return {name[len(path) :].strip("/"): entry["size"] for name, entry in found.items()}


def is_unreachable(error: BaseException) -> bool:
    """Say whether an error is a network's or a store's, though of a class of the client library's own."""
    library = type(error).__module__.partition(".")[0]
    return library in {"botocore", "aiobotocore", "aiohttp", "gcsfs", "adlfs"}


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
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # of a write that failed, on a full disk say


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


def publish(files: Mapping[str, str], texts: Mapping[str, str], folder: str) -> None:
    """Make a folder of files that lie elsewhere on the same store (name -> address) and of new texts.

    On a local disk the files are hard links and the folder takes its place at once; on an object store
    they are copied there, the texts last.
    """
    if local_path(folder) is None:
        remove(folder)
        for name, address in files.items():
            place(address, join(folder, name))
        for name, text in texts.items():
            write_text(join(folder, name), text)
        return
    with new_folder(folder) as temporary:
        for name, address in files.items():
            place(address, str(temporary / name))
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")


def place(source: str, target: str) -> None:
    """Give a file a second place on the same store, at once; on a local disk it is one file of two names."""
    source_path, target_path = local_path(source), local_path(target)
    if source_path is None or target_path is None:
        filesystem, path = locate(target)
        filesystem.copy(locate(source)[1], path)
        return
    if target_path.exists() and target_path.samefile(source_path):
        return
    target_path.parent.mkdir(parents=True, exist_ok=True)
    temporary = target_path.with_name(f".{target_path.name}.partial")
    temporary.unlink(missing_ok=True)  # of a run that was killed here
    try:
        temporary.hardlink_to(source_path)
    except OSError:  # another disk, or one that knows no second names
        shutil.copyfile(source_path, temporary)
    temporary.replace(target_path)
