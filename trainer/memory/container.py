"""Limits of a container or a cluster's job on memory and CPU time, from its control groups.

Version 2: the lowest limit of the process's own group and those above it. Version 1: the group that a
container sees as its root.
"""

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
UNLIMITED = float("inf")


def memory_left() -> float:
    """Return the bytes left of the limit; infinite without one.

    Cached pages of files count as used but are freed on demand, so they count as left here.
    """
    found = [
        _left(folder, "memory.max", "memory.current", "inactive_file") for folder in _groups_of_version_2()
    ]
    version_1 = GROUPS / "memory"
    found.append(_left(version_1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    return min(found)


def processors() -> float:
    """Return the limit on processors, which may be a fraction; infinite without a limit."""
    found = [_quota(_words(folder / "cpu.max")) for folder in _groups_of_version_2()]
    version_1 = GROUPS / "cpu"
    found.append(_quota(_words(version_1 / "cpu.cfs_quota_us") + _words(version_1 / "cpu.cfs_period_us")))
    return min(found)


def _groups_of_version_2() -> Iterator[Path]:
    """Yield the folder of the process's own group, and of each above it."""
    names = [line.removeprefix("0::") for line in _lines(OWN) if line.startswith("0::")]
    own = Path(names[0].strip("/")) if names else Path()
    for group in (own, *own.parents) if own != Path() else (own,):
        yield GROUPS / group


def _left(folder: Path, limit_file: str, used_file: str, reclaimable: str) -> float:
    limit, used = _words(folder / limit_file), _words(folder / used_file)
    if not limit or not used or not limit[0].isdigit():  # none, or "max"
        return UNLIMITED
    statistics = dict(line.split()[:2] for line in _lines(folder / "memory.stat"))
    return max(0, int(limit[0]) - int(used[0]) + int(statistics.get(reclaimable, 0)))


def _quota(words: list[str]) -> float:
    """Return the processors that a quota and its period, both in microseconds, come to."""
    if len(words) != 2 or not words[0].isdigit():  # none, "max", or -1
        return UNLIMITED
    return int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
