"""How a stage runs on Ray: partitions in, partitions out, commit, resume, retries, progress.

A stage maps input partitions to output partitions; a shuffle is two stages (scatter by key, merge by
key). A task receives and returns paths and counts, never documents, so that Ray's object store stays
small and memory flat.

A partition is a folder, `<root>/<stage>/<name>/`, and beside it a marker, `<name>.json`. The folder is
written under a temporary name and renamed; then the marker is written. A partition counts only once its
marker is there, and only while its fingerprint (of stage, output version, options and inputs) is the
one that this run would give it. So to resume is to run the same command again, and changed options redo
exactly what depends on them: an input's fingerprint is the checksum of its bytes, so a stage that is
redone with the same result redoes nothing after it.
"""

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xxhash

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json
from pipeline.runner.names import file_name, without_secrets
from pipeline.runner.progress import Progress, Watcher
from pipeline.runner.stages import Counts, InputFile, Partition, SideTask, SideTasks, Stage, StageOutput, Task
from pipeline.runner.tables import largest_domains

RETRIES = 3  # of a task whose worker, node, disk or network failed it


class StageError(ValueError):
    """A partition failed for good; the message names it and the cause."""


def connect() -> None:
    """Join the Ray cluster that is meant (`RAY_ADDRESS`, or that of `ray start`), or start a local one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # without it, for ever
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs
    # A node that lost its power or network closes no connection: a call to it would wait for minutes.
    os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "20000")
    os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "20000")
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)


def run_stage(
    stage: Stage,
    inputs: Mapping[str, Sequence[InputFile]],
    root: str,
    *,
    workers: int | None = None,
    expected: int | None = None,
    watch: Watcher = lambda progress: None,
    beside: SideTasks | None = None,
) -> StageOutput:
    """Run a stage over `inputs` (partition name -> what its task reads) and return what it committed.

    Partitions that a run with the same fingerprint committed are not run again; partitions that the
    stage no longer has are removed. At most `workers` tasks run at once (default: as many as the
    cluster has cores). `expected` is how many records all inputs hold, where that is known: with it the
    estimate of the time left is better. `watch` is told how far it is, about once a second.
    What `beside` has to do is done at the same time, on half of the cores at most.

    Raises:
        StageError: a partition failed after Ray's retries. Whatever was committed stays.
        ValueError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, not {workers}")
    # Workers on other machines, or in other folders, know no relative paths.
    folder = storage.join(storage.absolute(root), stage.name)
    jobs = {name: _Job(sources, _fingerprint(stage, sources)) for name, sources in inputs.items()}
    found = {name: _committed(folder, name, job.fingerprint) for name, job in jobs.items()}
    reused = {name: partition for name, partition in found.items() if partition is not None}
    todo = {name: job for name, job in jobs.items() if name not in reused}
    done: dict[str, Partition] = {}
    if todo:
        connect()
    started = time.monotonic()  # to start a Ray is no stage's work
    if todo:
        if expected is not None:
            expected -= sum(partition.counts.read for partition in reused.values())
        done = _run_jobs(stage, todo, reused, folder, workers, expected, watch, beside)
    _remove_stale(folder, set(jobs))
    committed = reused | done
    output = StageOutput(
        stage=stage.name,
        partitions=[committed[name] for name in jobs],
        reused=len(reused),
        seconds=time.monotonic() - started if todo else 0.0,
        task_seconds=sum(partition.seconds for partition in done.values()),
        bytes_read=sum(partition.bytes_read for partition in done.values()),
    )
    _print_summary(output)
    return output


def _print_summary(output: StageOutput) -> None:
    read = f"{len(output.partitions):>6,} partitions {output.counts.read:>13,} records"
    there = f" ({output.reused:,} were there)" if output.reused else ""
    print(f"{output.stage:<12} {read} {output.seconds:>8.1f} s{there}", file=sys.stderr)


@dataclass(frozen=True)
class _Job:
    """A task before it runs: what it reads, and the fingerprint of what it will write."""

    sources: Sequence[InputFile]
    fingerprint: str


def _run_jobs(
    stage: Stage,
    jobs: Mapping[str, _Job],
    reused: Mapping[str, Partition],
    folder: str,
    workers: int | None,
    expected: int | None,
    watch: Watcher,
    beside: SideTasks | None,
) -> dict[str, Partition]:
    """Keep the cluster busy until every job is committed; after a failure, let the running ones end."""
    import ray

    # A lost worker is started again; so is a task whose disk or network failed it. A ValueError is not.
    remote = ray.remote(num_cpus=stage.cpus, max_retries=RETRIES, retry_exceptions=[OSError])(_run_job)
    tally = _tally(ray.get_runtime_context().get_job_id())
    waiting, running = deque(jobs), dict[Any, str]()
    committed, failures = dict[str, Partition](), dict[str, Exception]()
    dropped, domains = Counter[str](), Counter[str]()
    for partition in reused.values():
        dropped.update(partition.counts.dropped)
        domains.update(partition.domains)
    with (
        _asking_for(min(len(jobs), workers or len(jobs)) * stage.cpus),
        Progress(stage.name, len(jobs), expected) as progress,
        _Beside(beside, jobs) as side,
    ):
        while running or (waiting and not failures):
            # Machines may join the cluster, or leave it.
            cores = int(ray.cluster_resources().get("CPU", 1))
            window = workers or max(1, int(cores / stage.cpus))
            side.start(min(workers or cores, cores) // 2)
            while waiting and not failures and len(running) < window:
                name = waiting.popleft()
                running[remote.remote(stage, name, jobs[name], folder, tally)] = name
            done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in done:
                name = running.pop(reference)
                try:
                    committed[name] = _partition(folder, name, ray.get(reference))
                    domains.update(committed[name].domains)
                except Exception as error:  # whatever it died of is reported below, with its name
                    failures[name] = error
            records, drops = ray.get(tally.total.remote(folder))
            at = progress.update(len(committed), records)
            watch(dataclasses.replace(at, dropped=dropped + drops, domains=domains))
    for name, failure in failures.items():
        reads = ", ".join(file_name(source.address) for source in jobs[name].sources[:3])
        cause = without_secrets(_cause(failure, f"{storage.join(folder, name)}.error.txt"))
        raise StageError(f"stage {stage.name}, partition {name} ({reads}): {cause}") from failure
    return committed


class _Beside:
    """Does side tasks; at the end of a `with`, those that have begun are waited for.

    They take none of Ray's cores: those of a stage that mostly waits are all given out, and yet idle.
    """

    def __init__(self, tasks: SideTasks | None, partitions: Collection[str]) -> None:
        self._tasks, self._partitions = tasks, partitions
        self._running: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        if error is None and self._running:
            ray.wait(self._running, num_returns=len(self._running))

    def start(self, most: int) -> None:
        """Begin what can be done, up to `most` at once."""
        import ray

        if self._tasks is None:
            return
        if self._running:
            _, self._running = ray.wait(self._running, num_returns=len(self._running), timeout=0)
        remote = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(_run_side_task)
        while len(self._running) < most and (task := self._tasks.next_task(self._partitions)) is not None:
            self._running.append(remote.remote(task))


def _run_side_task(task: SideTask) -> None:
    task.work(*task.arguments)


@contextmanager
def _asking_for(cpus: float) -> Iterator[None]:
    """Ask an autoscaling cluster for as many cores as there is work for."""
    from ray.autoscaler.sdk import request_resources

    request_resources(num_cpus=math.ceil(cpus))
    try:
        yield
    finally:
        request_resources(num_cpus=0)


def _cause(failure: Exception, traceback_file: str) -> str:
    """Say in a line what a task died of."""
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    died = f"its worker died {RETRIES + 1} times; "
    memory = "was memory short? Fewer --workers or more --partitions take less"
    cause = getattr(failure, "cause", None) or failure
    if isinstance(cause, OutOfMemoryError | WorkerCrashedError):
        return died + memory
    if isinstance(cause, MemoryError):
        return f"{cause!r}: {memory}"
    return f"{cause!r} (traceback in {traceback_file})"


class _Tally:
    """A Ray actor that adds up what the tasks of each stage have read and dropped so far."""

    def __init__(self) -> None:
        self._records = Counter[str]()
        self._dropped = defaultdict[str, Counter[str]](Counter)

    def add(self, folder: str, records: int, dropped: Mapping[str, int]) -> None:
        self._records[folder] += records
        self._dropped[folder].update(dropped)

    def total(self, folder: str) -> tuple[int, Counter[str]]:
        return self._records[folder], self._dropped[folder]


@cache
def _tally(job_id: str) -> Any:  # one for each connection to Ray, since an actor is a process
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Where the run itself is, so that no lost node takes it along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(**options)(_Tally).remote()


def _run_job(stage: Stage, name: str, job: _Job, folder: str, tally: Any) -> dict[str, Any]:
    """Do one partition's work on a Ray worker, commit it, and return its marker."""
    address = storage.join(folder, name)
    started = time.monotonic()
    unsent, last_sent = 0, started
    drops, drops_told = Counter[str](), Counter[str]()
    bytes_read = sum(source.size_bytes for source in job.sources)

    def progress(records: int, page_bytes: int = 0, dropped: Mapping[str, int] | None = None) -> None:
        nonlocal unsent, last_sent, bytes_read
        unsent += records
        bytes_read += page_bytes
        drops.update(dropped or {})
        if time.monotonic() - last_sent > 0.5:
            send()

    def send() -> None:
        nonlocal unsent, last_sent
        tally.add.remote(folder, unsent, drops - drops_told)
        unsent, last_sent = 0, time.monotonic()
        drops_told.update(drops - drops_told)

    notes: dict[str, Any] = {}
    try:
        with storage.new_folder(address) as temporary:
            store = storage.join(folder, "store", name)
            addresses = [source.address for source in job.sources]
            counts = stage.work(Task(name, addresses, temporary, stage.options, progress, notes, store))
            files = _checksums(temporary)
            domains = largest_domains(temporary)
            storage.remove(f"{address}.json")  # the marker of what the new folder replaces
    except Exception as error:
        with suppress(Exception):  # on a full disk there is no room for it either
            storage.write_text(f"{address}.error.txt", without_secrets(traceback.format_exc()))
        if storage.is_unreachable(error):
            raise OSError(f"{type(error).__name__}: {error}") from error
        raise
    storage.remove(f"{address}.error.txt")
    drops = Counter(counts.dropped)
    send()
    marker = {
        "fingerprint": job.fingerprint,
        "stage": stage.name,
        "edition": stage.output_version,  # the key that earlier outputs have
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "bytes_read": bytes_read,
        "bytes_written": sum(size for size, _ in files.values()),
        "seconds": round(time.monotonic() - started, 3),
        "files": files,
        "notes": notes,
        "domains": domains,
    }
    storage.write_text(f"{address}.json", json.dumps(marker, indent=1))
    return marker


def _fingerprint(stage: Stage, sources: Sequence[InputFile]) -> str:
    """Hash all that decides what a task writes."""
    options = dataclasses.asdict(stage.options) if stage.options is not None else None
    whole = [
        stage.name,
        stage.output_version,
        options,
        [source.fingerprint for source in sources if source.fingerprint],
    ]
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
        marker = parse_json(storage.read_text(storage.join(folder, f"{name}.json")))
        if marker["fingerprint"] != fingerprint:
            return None
        partition = _partition(folder, name, marker)
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError):  # somebody cut it, or wrote another
        return None
    there = storage.file_sizes(partition.address)
    whole = all(there.get(file) == size for file, (size, _) in partition.files.items())
    return partition if whole else None


def _partition(folder: str, name: str, marker: Mapping[str, Any]) -> Partition:
    """Turn a marker into the partition that it describes."""
    return Partition(
        name=name,
        address=storage.join(folder, name),
        files={file: (size, checksum) for file, (size, checksum) in marker["files"].items()},
        counts=Counts(marker["read"], marker["kept"], marker["dropped"]),
        notes=marker["notes"],
        bytes_read=marker["bytes_read"],
        seconds=marker["seconds"],
        domains=marker.get("domains", {}),  # earlier outputs have none
    )


def _remove_stale(folder: str, names: set[str]) -> None:
    """Remove partitions that an earlier run had and this one has not, so that a glob finds no stale files."""
    for address in storage.list_files(folder, ".json"):
        if address.rsplit("/", 1)[-1].removesuffix(".json") not in names:
            storage.remove(address)
            storage.remove(address.removesuffix(".json"))
