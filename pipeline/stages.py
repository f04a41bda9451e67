"""How a stage runs on Ray: partitions in, partitions out, commit, resume, retries, progress.

A stage maps input partitions to output partitions; a shuffle is two stages (scatter by key, gather by
key). A task receives and returns paths and counts, never documents, so that Ray's object store stays
small and memory flat.

A partition is a folder, `<root>/<stage>/<name>/`, and beside it a marker, `<name>.json`. The folder is
written under a temporary name and renamed; then the marker is written. A partition counts only once its
marker is there, and only while the marker's fingerprint (of stage, edition, options and inputs) is the
one that this run would give it. So to resume is to run the same command again, and changed options redo
exactly what depends on them: an input's fingerprint is the checksum of its bytes, so a stage that is
redone with the same result redoes nothing after it.
"""

import dataclasses
import hashlib
import json
import os
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from pipeline import storage


class StageError(ValueError):
    """A partition failed for good; the message names it and the cause."""


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
class Source:
    """Something a task reads: an address, and a fingerprint that changes whenever its content does."""

    address: str
    fingerprint: str

    @staticmethod
    def of(address: str) -> "Source":
        """A file that no stage made, such as a dump."""
        return Source(storage.absolute(address), storage.fingerprint(address))


@dataclass(frozen=True)
class Partition:
    """One committed piece of a stage's output: a folder, the files in it, and what the task counted."""

    name: str
    address: str
    files: Mapping[str, tuple[int, str]]  # name -> size in bytes, checksum
    counts: Counts
    notes: Mapping[str, Any]  # what else the task has to tell; small, JSON
    seconds: float

    def file(self, name: str) -> Source | None:
        """One of the partition's files, or None where the task wrote no such file."""
        if name not in self.files:
            return None
        return Source(storage.join(self.address, name), self.files[name][1])


@dataclass(frozen=True)
class Task:
    """What a work function is given."""

    name: str  # of the partition
    inputs: Sequence[str]  # addresses
    folder: Path  # local and empty: what is written here becomes the partition
    options: Any
    progress: Callable[[int], None]  # call it with the number of further records read
    notes: dict[str, Any]  # what the work function puts here comes back in `Partition.notes`
    store: str  # an address that outlives attempts, for a task that keeps what it has got so far


Work = Callable[[Task], Counts]


def edition(number: int, *packages: str) -> Callable[[Work], Work]:
    """State beside a work function which edition of its output it writes; unstated, it is the first.

    Raise the number when the code changes what is written. The packages named decide that too: another
    release of one makes another edition. So what an older edition wrote is never taken for this one's.
    """

    def stated(work: Work) -> Work:
        work.__dict__["edition"] = (number, packages)
        return work

    return stated


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
    def edition(self) -> dict[str, int | str]:
        """The edition of the work function, and the releases of the packages that decide what it writes."""
        number, packages = self.work.__dict__.get("edition", (1, ()))
        return {"edition": number} | {package: version(package) for package in packages}


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """All partitions of a stage, in the order of its inputs, and how many of them were there already."""

    stage: str
    partitions: Sequence[Partition]
    reused: int

    @property
    def counts(self) -> Counts:
        """What all tasks together did with their records."""
        return Counts.total(partition.counts for partition in self.partitions)

    def files(self, name: str) -> list[Source]:
        """The file of that name from every partition that has one."""
        found = (partition.file(name) for partition in self.partitions)
        return [source for source in found if source is not None]


def connect() -> None:
    """Join the Ray cluster that is meant (`RAY_ADDRESS`, or that of `ray start`), or start a local one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)


def run_stage(
    stage: Stage,
    inputs: Mapping[str, Sequence[Source]],
    root: str,
    *,
    workers: int | None = None,
) -> StageOutput:
    """Run a stage over `inputs` (partition name -> what its task reads) and return what it committed.

    Partitions that a run with the same fingerprint committed are not run again; partitions that the
    stage no longer has are removed. At most `workers` tasks run at once (default: as many as the
    cluster has cores).

    Raises:
        StageError: a partition failed after Ray's retries. Whatever was committed stays.
        ValueError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, not {workers}")
    # Workers on other machines, or in other folders, know no relative paths.
    folder = storage.join(storage.absolute(root), stage.name)
    jobs = {name: _Job(sources, _fingerprint(stage, sources)) for name, sources in inputs.items()}
    committed = {name: _committed(folder, name, job.fingerprint) for name, job in jobs.items()}
    todo = {name: jobs[name] for name, partition in committed.items() if partition is None}
    if todo:
        connect()
        committed |= _run_jobs(stage, todo, folder, workers, reused=len(jobs) - len(todo))
    _remove_strangers(folder, set(jobs))
    partitions = [partition for partition in committed.values() if partition is not None]
    assert len(partitions) == len(inputs)
    return StageOutput(stage=stage.name, partitions=partitions, reused=len(jobs) - len(todo))


@dataclass(frozen=True)
class _Job:
    """A task before it runs: what it reads, and the fingerprint of what it will write."""

    sources: Sequence[Source]
    fingerprint: str


def _run_jobs(
    stage: Stage, jobs: Mapping[str, _Job], folder: str, workers: int | None, reused: int
) -> dict[str, Partition]:
    """Keep the cluster busy until every job is committed; after a failure, let the running ones end."""
    import ray

    # A lost worker is started again; so is a task whose disk or network failed it. A ValueError is not.
    remote = ray.remote(num_cpus=stage.cpus, max_retries=3, retry_exceptions=[OSError])(_run_job)
    tally = _tally(ray.get_runtime_context().get_job_id())
    window = workers or max(1, int(ray.cluster_resources().get("CPU", 1) / stage.cpus))
    waiting, running = deque(jobs), dict[Any, str]()
    committed, failures = dict[str, Partition](), dict[str, Exception]()
    started = time.monotonic()
    with tqdm(
        total=reused + len(jobs), initial=reused, desc=f"{stage.name:<12}", leave=False, disable=None
    ) as bar:
        while running or (waiting and not failures):
            while waiting and not failures and len(running) < window:
                name = waiting.popleft()
                running[remote.remote(stage, name, jobs[name], folder, tally)] = name
            done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            bar.set_postfix_str(f"{ray.get(tally.total.remote(folder)):,} records")
            for reference in done:
                name = running.pop(reference)
                try:
                    committed[name] = _partition(folder, name, ray.get(reference))
                    bar.update()
                except Exception as error:  # whatever it died of is told below, with its name
                    failures[name] = error
    read = sum(partition.counts.read for partition in committed.values())
    told = f"{len(committed):>6,} partitions {read:>13,} records {time.monotonic() - started:>8.1f} s"
    print(f"{stage.name:<12} {told}{f' ({reused:,} were there)' if reused else ''}", file=sys.stderr)
    for name, failure in failures.items():
        cause = getattr(failure, "cause", None) or failure
        reads = ", ".join(source.address for source in jobs[name].sources[:3])
        told = f"{cause!r} (traceback in {storage.join(folder, name)}.error.txt)"
        raise StageError(f"stage {stage.name}, partition {name} ({reads}): {told}") from failure
    return committed


class _Tally:
    """A Ray actor that adds up the records that the tasks of each stage have read so far."""

    def __init__(self) -> None:
        self._records = Counter[str]()

    def add(self, folder: str, records: int) -> None:
        self._records[folder] += records

    def total(self, folder: str) -> int:
        return self._records[folder]


@cache
def _tally(job_id: str) -> Any:  # one for each connection to Ray, since an actor is a process
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Where the run itself is, so that no lost node takes it along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Tally).remote()


def _run_job(stage: Stage, name: str, job: _Job, folder: str, tally: Any) -> dict[str, Any]:
    """Do one partition's work on a Ray worker, commit it, and return its marker."""
    address = storage.join(folder, name)
    started = time.monotonic()
    unsent, last_sent = 0, started

    def progress(records: int) -> None:
        nonlocal unsent, last_sent
        unsent += records
        if time.monotonic() - last_sent > 0.5:
            tally.add.remote(folder, unsent)
            unsent, last_sent = 0, time.monotonic()

    notes: dict[str, Any] = {}
    try:
        with storage.new_folder(address) as temporary:
            store = storage.join(folder, "store", name)
            addresses = [source.address for source in job.sources]
            counts = stage.work(Task(name, addresses, temporary, stage.options, progress, notes, store))
            files = _checksums(temporary)
            storage.remove(f"{address}.json")  # the marker of what the new folder replaces
    except Exception:
        storage.write_text(f"{address}.error.txt", traceback.format_exc())
        raise
    storage.remove(f"{address}.error.txt")
    tally.add.remote(folder, unsent)
    marker = {
        "fingerprint": job.fingerprint,
        "stage": stage.name,
        "edition": stage.edition,
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "bytes": sum(size for size, _ in files.values()),
        "seconds": round(time.monotonic() - started, 3),
        "files": files,
        "notes": notes,
    }
    storage.write_text(f"{address}.json", json.dumps(marker, indent=1))
    return marker


def _fingerprint(stage: Stage, sources: Sequence[Source]) -> str:
    """Hash all that decides what a task writes."""
    options = dataclasses.asdict(stage.options) if stage.options is not None else None
    whole = [stage.name, stage.edition, options, [source.fingerprint for source in sources]]
    return hashlib.sha256(json.dumps(whole, default=str, sort_keys=True).encode()).hexdigest()


def _checksums(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and xxh3-128 of every file below a folder, by relative name."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = xxhash.xxh3_128()
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        found[path.relative_to(folder).as_posix()] = (path.stat().st_size, digest.hexdigest())
    return found


def _committed(folder: str, name: str, fingerprint: str) -> Partition | None:
    """Return the partition that an earlier run committed under this fingerprint, if it is whole."""
    try:
        marker = json.loads(storage.read_text(storage.join(folder, f"{name}.json")))
    except (OSError, ValueError):  # none, or one that somebody cut
        return None
    if marker.get("fingerprint") != fingerprint:
        return None
    partition = _partition(folder, name, marker)
    filesystem, path = storage.locate(partition.address)
    for file, (size, _) in partition.files.items():
        full = f"{path}/{file}"
        if not filesystem.exists(full) or filesystem.size(full) != size:
            return None
    return partition


def _partition(folder: str, name: str, marker: Mapping[str, Any]) -> Partition:
    """Turn a marker into the partition that it describes."""
    return Partition(
        name=name,
        address=storage.join(folder, name),
        files={file: (size, checksum) for file, (size, checksum) in marker["files"].items()},
        counts=Counts(marker["read"], marker["kept"], marker["dropped"]),
        notes=marker["notes"],
        seconds=marker["seconds"],
    )


def _remove_strangers(folder: str, names: set[str]) -> None:
    """Remove partitions that an earlier run had and this one has not, so that a glob finds no stale files."""
    for address in storage.list_files(folder, ".json"):
        if address.rsplit("/", 1)[-1].removesuffix(".json") not in names:
            storage.remove(address)
            storage.remove(address.removesuffix(".json"))
