"""Whole files between this machine's disk and a store, over lines that fail: checked, and tried again.

What is fetched takes its name only when it is complete and its checksum is right, so a process that is killed
leaves no half file. Processes of a machine that want the same file wait for the first of them.
"""

import errno
import fcntl
import hashlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from pipeline.runner import storage
from pipeline.runner.names import bare, file_name, without_secrets
from pipeline.runner.terminal import say

Value = TypeVar("Value")

FIRST_WAIT_S: Final = 1.0  # before the second try; doubled before each further one
LONGEST_WAIT_S: Final = 60.0
TRY_FOR_S: Final = 300.0  # less than ranks wait for each other
DAMAGED_TRIES: Final = 3
# What another try does not mend: the disk here is full or read-only, or the thing is not there or not ours.
_LASTING: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_LASTING_NUMBERS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EINVAL, errno.EPERM}
# Of S3's client library, by name: it need not be installed.
_LASTING_NAMES: Final = {
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError"),
}


class DamagedError(ValueError):
    """What a store gives again and again is not what was written there."""


def scratch_folder(root: str | None, kind: str, address: str) -> Path:
    """Return the folder on this machine for what lies at an address.

    Args:
        root: of all such folders. Default: `outbound` in the user's cache folder.
        kind: `runs`, `shards` or `models`.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    base = Path(root) if root else Path(cache).expanduser() / "outbound"
    place = bare(address).rstrip("/")
    return base.absolute() / kind / f"{file_name(place)}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def is_temporary(error: BaseException) -> bool:
    """Say whether an error may be gone at the next try: a network's or a store's."""
    if isinstance(error, _LASTING) or getattr(error, "errno", None) in _LASTING_NUMBERS:
        return False
    if type(error).__name__ in _LASTING_NAMES:
        return False
    return isinstance(error, OSError) or storage.is_unreachable(error)


@cache
def quiet_lost_connections() -> None:
    """Have asyncio print no traceback of a lost connection, of which its user is told as well."""
    logging.getLogger("asyncio").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], OSError))
    )


def patiently(
    act: Callable[[], Value], *, what: str, pause: Callable[[float], bool | None] = time.sleep
) -> Value:
    """Do something at a store, and again for five minutes while it fails for a reason that may pass.

    Args:
        pause: waits for so many seconds; returns true if it should not be tried again.

    Raises:
        OSError: it still fails, or for a reason that does not pass.
    """
    quiet_lost_connections()
    deadline: float | None = None
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return act()
        except Exception as error:
            now = time.monotonic()
            deadline = deadline or now + TRY_FOR_S
            if not is_temporary(error):
                raise
            if now + wait_s > deadline:
                raise OSError(f"{what}: {reason(error)}") from error
            say(f"{bare(what)}: {reason(error)}: trying again", file=sys.stderr, flush=True)
            if pause(wait_s):
                raise OSError(f"{what}: {reason(error)}") from error
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def reason(error: BaseException) -> str:
    """Return an error as a part of a line, without secrets."""
    return without_secrets(" ".join(str(error).split())) or type(error).__name__


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one thread of one process of this machine at a time be here for a path; the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in storage.NO_LOCKS:
                raise
            raise ValueError(f"{path.parent} has no file locks: give --scratch a local disk") from error
        yield


def fetch(
    address: str,
    target: Path,
    *,
    is_whole: Callable[[Path], bool] | None = None,
    pause: Callable[[float], bool | None] = time.sleep,
) -> None:
    """Bring a file here; call it within `one_at_a_time(target)`.

    Args:
        is_whole: tells whether a file's content is right; one that is not is fetched again.
        pause: as of `patiently`.

    Raises:
        DamagedError: it is not right, each time.
        OSError: the store is out of reach or has no such file, or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*.partial"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for _ in range(DAMAGED_TRIES):
            patiently(lambda: _get(address, temporary), what=address, pause=pause)
            if is_whole is None or is_whole(temporary):
                temporary.replace(target)
                return
    finally:
        temporary.unlink(missing_ok=True)
    raise DamagedError(f"{bare(address)} is damaged: its checksum is wrong, {DAMAGED_TRIES} times")


def _get(address: str, target: Path) -> None:
    filesystem, path = storage.locate(address)
    filesystem.get_file(path, str(target))


def send(path: Path, address: str) -> None:
    """Write a file of this machine to a store, once: it is there whole, or not at all.

    Raises:
        OSError: it could not be written (or a client library's own error, see `is_temporary`).
    """
    filesystem, where = storage.locate(address)
    filesystem.put_file(str(path), where)
