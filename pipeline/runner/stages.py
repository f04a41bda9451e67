"""What a stage is: the function that does its work, what that is given, and what it brings forth."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from pipeline.runner import storage
from pipeline.runner.names import named

GROUP_BYTES: Final = 64 * 2**20  # of small files that one task reads


@dataclass(frozen=True)
class Counts:
    """What a task did with its records. Nothing vanishes: `read == kept + sum(dropped.values())`."""

    read: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"records lost or made up: {self}"

    @staticmethod
    def total(parts: Iterable["Counts"]) -> "Counts":
        """Add up the counts of several tasks."""
        read, kept, dropped = 0, 0, Counter[str]()
        for part in parts:
            read, kept = read + part.read, kept + part.kept
            dropped.update(part.dropped)
        return Counts(read, kept, dict(sorted(dropped.items())))


@dataclass(frozen=True)
class InputFile:
    """Something a task reads: an address, and a fingerprint that changes whenever its content does.

    Where there is no fingerprint, the file decides nothing that other inputs do not.
    """

    address: str
    fingerprint: str
    size_bytes: int = 0

    @staticmethod
    def of(address: str) -> "InputFile":
        """A file that no stage made, such as a dump."""
        return InputFile(storage.absolute(address), storage.fingerprint(address), storage.size_bytes(address))

    @staticmethod
    def untracked(address: str) -> "InputFile":
        """A file that a task may read where another input says so: it is no part of the fingerprint."""
        return InputFile(storage.absolute(address), "")


def by_name(addresses: Sequence[str]) -> dict[str, list[InputFile]]:
    """Give each file a partition named after it, so that a further file changes no other's."""
    return {name: [InputFile.of(address)] for name, address in named(addresses).items()}


def in_groups(addresses: Sequence[str]) -> dict[str, list[InputFile]]:
    """Give each file a task, named after it; small files share one."""
    names = {address: name for name, address in named(addresses).items()}
    groups, size = dict[str, list[InputFile]](), GROUP_BYTES + 1
    group = list[InputFile]()
    for address in addresses:
        source = InputFile.of(address)
        if size + source.size_bytes > GROUP_BYTES:
            group, size = [], 0
            groups[names[address]] = group
        group.append(source)
        size += source.size_bytes
    return groups


@dataclass(frozen=True)
class Partition:
    """One committed piece of a stage's output: a folder, the files in it, and what the task counted."""

    name: str
    address: str
    files: Mapping[str, tuple[int, str]]  # name -> size in bytes, checksum
    counts: Counts
    notes: Mapping[str, Any]  # what else the task reports; small, JSON
    bytes_read: int  # of inputs as they lie on the disk, and of pages
    seconds: float
    domains: Mapping[str, int] = field(default_factory=dict)  # the largest, with the records kept of each

    def file(self, name: str) -> InputFile | None:
        """One of the partition's files, or None where the task wrote no such file."""
        if name not in self.files:
            return None
        size_bytes, checksum = self.files[name]
        return InputFile(storage.join(self.address, name), checksum, size_bytes)


class Report(Protocol):
    """How a work function reports what it has read since its last report."""

    def __call__(self, records: int, page_bytes: int = 0, dropped: Mapping[str, int] | None = None) -> None:
        """Take note of further records, and of the bytes of pages that are no inputs of the task's.

        A task that lasts long says what it `dropped` of them, by reason; else that is seen when it ends.
        """


@dataclass(frozen=True)
class Task:
    """What a work function is given."""

    name: str  # of the partition
    inputs: Sequence[str]  # addresses
    folder: Path  # local and empty: what is written here becomes the partition
    options: Any
    progress: Report
    notes: dict[str, Any]  # what the work function puts here comes back in `Partition.notes`
    store: str  # an address that outlives attempts, for a task that keeps what it has got so far


Work = Callable[[Task], Counts]


@dataclass(frozen=True)
class SideTask:
    """Work that a part of a stage's output makes possible while the rest is still to come.

    Nothing depends on it: what is missing in the end, a later stage makes. So it may fail.
    """

    work: Callable[..., None]
    """A function of a module (Ray imports it on the workers)."""
    arguments: Sequence[Any]


class SideTasks(Protocol):
    """Where side tasks come from."""

    def next_task(self, partitions: Collection[str]) -> SideTask | None:
        """Return work that can be done now for one of the partitions, or None; asked about once a second."""


def output_version(number: int, *packages: str) -> Callable[[Work], Work]:
    """Declare the version of a work function's output; undeclared, it is 1.

    Raise the number when the code changes what is written. The packages named decide that too: another
    release of one makes another version. So output of an older version is never reused as this one's.
    """

    def declared(work: Work) -> Work:
        work.__dict__["output_version"] = (number, packages)
        return work

    return declared


def version_of(work: Work) -> dict[str, int | str]:
    """Return the version of a work function's output, and the releases of the packages that decide it."""
    number, packages = work.__dict__.get("output_version", (1, ()))
    return {"edition": number} | {package: version(package) for package in packages}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a recipe: what it is called, and the function that turns inputs into a partition."""

    name: str
    """Short, unique in its recipe: the name of its output folder."""
    work: Work
    """A function of a module (Ray imports it on the workers)."""
    options: Any = None
    """A dataclass, or None: whatever in it changes makes the stage run again."""
    cpus: float = 1.0
    """Cores that one task occupies."""

    @property
    def output_version(self) -> dict[str, int | str]:
        """The version of the work function's output, and the releases of the packages that decide it."""
        return version_of(self.work)


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """All partitions of a stage, in the order of its inputs, and what this run did of them."""

    stage: str
    partitions: Sequence[Partition]
    reused: int
    """Partitions that were there already."""
    seconds: float
    """Time that passed until the others were committed; 0 where there were none."""
    task_seconds: float
    """Time that their tasks took together."""
    bytes_read: int
    """What their tasks read."""

    @property
    def counts(self) -> Counts:
        """What all tasks together did with their records."""
        return Counts.total(partition.counts for partition in self.partitions)

    @property
    def changed(self) -> Mapping[str, int]:
        """What all tasks together did to the records that they kept, as they note it under "changed"."""
        changed = Counter[str]()
        for partition in self.partitions:
            changed.update(partition.notes.get("changed", {}))
        return changed

    def files(self, name: str) -> list[InputFile]:
        """The file of that name from every partition that has one."""
        found = (partition.file(name) for partition in self.partitions)
        return [source for source in found if source is not None]
