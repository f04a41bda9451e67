"""The shell of what came and went: documents, drops and links of two builds, brought together by address.

First everything is scattered by address, and documents by their texts' ids too; then texts are looked for
under other addresses; then each bucket of addresses is judged by itself.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compare.changes import Fate, Tally, key_of, order_of
from pipeline.compare.sides import SIDES, Build
from pipeline.compare.stages import RESULT
from pipeline.corpus.split import SPLITS
from pipeline.runner import storage
from pipeline.runner.buckets import bucket_of
from pipeline.runner.names import named
from pipeline.runner.records import DROPS
from pipeline.runner.stages import Counts, InputFile, Task, output_version
from pipeline.runner.tables import read_rows

DOCUMENTS_A_BUCKET: Final = 100_000
ROWS_HELD: Final = 50_000  # before they are written
KINDS: Final = ("documents", "ids", "fates", "moved")

DOCUMENT_ROWS: Final = pa.schema(
    [
        ("key", pa.string()),
        ("side", pa.int8()),  # 0: the newer build, 1: the earlier one
        ("id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("characters", pa.int64()),
    ]
)
ID_ROWS: Final = pa.schema([("id", pa.string()), ("side", pa.int8()), ("url", pa.string())])
FATE_ROWS: Final = pa.schema(
    [
        ("key", pa.string()),
        ("side", pa.int8()),
        ("order", pa.int16()),  # of the step that dropped it
        ("stage", pa.string()),  # empty: it is a link
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
MOVED_ROWS: Final = pa.schema([("key", pa.string()), ("side", pa.int8()), ("url", pa.string())])
# What is read of a build, which somebody may have handed over: without these, nothing can be told.
CORPUS_COLUMNS: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("characters", pa.int64(), nullable=False),
    ]
)
LINK_COLUMNS: Final = pa.schema([pa.field("url", pa.string(), nullable=False)])
DROP_COLUMNS: Final = pa.schema([pa.field(name, pa.string(), nullable=False) for name in DROPS.names])
SCHEMAS: Final = dict(zip(KINDS, (DOCUMENT_ROWS, ID_ROWS, FATE_ROWS, MOVED_ROWS), strict=True))


def bucket_name(kind: str, bucket: int) -> str:
    """The file of one kind of rows that belong to one bucket."""
    return f"{kind}-{bucket:04d}.parquet"


def kind_of(address: str) -> str:
    """Return the kind of rows that a bucket's file holds."""
    return address.rpartition("/")[2].partition("-")[0]


OF_CORPUS: Final = "documents of the corpus"
OF_LINKS: Final = "links of the build"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where some files of a build are from."""

    stage: str
    """That dropped what is in them; `OF_CORPUS` and `OF_LINKS` for the others."""
    order: int
    """Of the stage's step."""


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """Into how many buckets files go, and where each is from.

    They travel with every task, so they hold nothing of a single file: a task's name says which origin its
    file has (`task_name`).
    """

    buckets: int
    origins: tuple[Sequence[Origin], Sequence[Origin]]
    """Of the files of the newer and of the earlier build."""

    def of_task(self, name: str) -> tuple[int, Origin]:
        """Return the side and the origin of a task's file."""
        side = SIDES.index(name[0])
        return side, self.origins[side][int(name[1:].partition("-")[0])]


def task_name(side: int, origin: int, file: str) -> str:
    """Name the task that scatters a file, by its side and the number of its origin there."""
    return f"{SIDES[side]}{origin:02d}-{file}"


@dataclass(frozen=True, kw_only=True)
class BuildFiles:
    """The files of two builds that are brought together, by the name of a task."""

    inputs: Mapping[str, Sequence[InputFile]]
    options: ScatterOptions
    knows_links: tuple[bool, bool]
    """Whether each build's links are there."""


def build_files(newer: Build, earlier: Build, buckets: int) -> BuildFiles:
    """Find documents, drops and links of two builds."""
    inputs = dict[str, list[InputFile]]()
    first, second = (_find(build, side, inputs) for side, build in enumerate((newer, earlier)))
    return BuildFiles(
        inputs=inputs,
        options=ScatterOptions(buckets=buckets, origins=(first[0], second[0])),
        knows_links=(first[1], second[1]),
    )


def _find(build: Build, side: int, inputs: dict[str, list[InputFile]]) -> tuple[list[Origin], bool]:
    """Add the files of a build to the inputs; return their origins, and whether its links are there."""
    links = _links(build.folder)
    documents = [file for split in SPLITS for file in _files(build.corpus, split)]
    found = {OF_CORPUS: documents, OF_LINKS: links} | _drops(build.corpus)
    for origin, files in enumerate(found.values()):
        for name, file in named(files).items():
            inputs[task_name(side, origin, name)] = [InputFile.of(file)]
    orders = order_of(found, build.steps)
    return [Origin(stage=stage, order=orders[stage]) for stage in found], bool(links)


def _files(corpus: str, split: str) -> list[str]:
    return storage.list_files(storage.join(corpus, split), ".parquet")


def _links(build: str) -> list[str]:
    names = sorted(storage.file_sizes(storage.join(build, "links")))
    return [storage.join(build, "links", name) for name in names if name.endswith("/links.parquet")]


def _drops(corpus: str) -> dict[str, list[str]]:
    """Return the files of drops by stage."""
    found = defaultdict[str, list[str]](list)
    for name in sorted(storage.file_sizes(storage.join(corpus, "drops"))):
        folder, _, _ = name.partition("/")
        if folder.startswith("stage=") and name.endswith(".parquet"):
            found[folder.removeprefix("stage=")].append(storage.join(corpus, "drops", name))
    return dict(found)


class _Buckets:
    """Files of several kinds of rows, one of each for every bucket that has some. Use it in a `with`.

    However many buckets there are, so many rows are held and no more.
    """

    def __init__(self, task: Task, buckets: int) -> None:
        self._folder, self._stack, self._buckets, self._held = task.folder, ExitStack(), buckets, 0
        self._writers: dict[tuple[str, int], pq.ParquetWriter] = {}
        self._rows = defaultdict[tuple[str, int], list[dict[str, Any]]](list)

    def __enter__(self) -> "_Buckets":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def write(self, kind: str, by: str, row: dict[str, Any]) -> None:
        """Write a row where all with the same value `by` go."""
        self._rows[kind, bucket_of(by, self._buckets)].append(row)
        self._held += 1
        if self._held >= ROWS_HELD:
            self._flush()

    def _flush(self) -> None:
        for (kind, number), rows in self._rows.items():
            if (kind, number) not in self._writers:
                path = self._folder / bucket_name(kind, number)
                file = pq.ParquetWriter(path, SCHEMAS[kind], compression="zstd")
                self._writers[kind, number] = self._stack.enter_context(file)
            self._writers[kind, number].write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[kind]))
        self._rows.clear()
        self._held = 0


@output_version(1)
def scatter_build(task: Task) -> Counts:
    """Scatter a file of documents, drops or links by address; documents by id, too. Input: the file."""
    options: ScatterOptions = task.options
    side, origin = options.of_task(task.name)
    stage, read = origin.stage, 0
    with _Buckets(task, options.buckets) as buckets:
        for row in _rows(task.inputs[0], stage):
            read += 1
            if stage == OF_CORPUS:
                key = key_of(row["url"])
                buckets.write("documents", key, {"key": key, "side": side, **row})
                buckets.write("ids", row["id"], {"id": row["id"], "side": side, "url": row["url"]})
            else:
                key = key_of(row["url"], is_raw=stage == "submissions")
                of_link = {"stage": "", "reason": "", "detail": ""}
                fate = of_link if stage == OF_LINKS else {"stage": stage, **row}
                fate = {name: fate[name] for name in ("stage", "reason", "detail")}
                buckets.write("fates", key, {"key": key, "side": side, "order": origin.order, **fate})
            task.progress(1)
    return Counts(read, read)


def _rows(address: str, stage: str) -> Iterator[dict[str, Any]]:
    return read_rows(address, {OF_CORPUS: CORPUS_COLUMNS, OF_LINKS: LINK_COLUMNS}.get(stage, DROP_COLUMNS))


@output_version(1)
def find_moved(task: Task) -> Counts:
    """Find the texts of one bucket of ids that the other build has under another address.

    Inputs: the bucket's file of each scattering task.
    """
    options: ScatterOptions = task.options
    places: dict[str, tuple[set[str], set[str]]] = {}
    read = 0
    for address in task.inputs:
        for row in read_rows(address):
            places.setdefault(row["id"], (set(), set()))[row["side"]].add(row["url"])
            read += 1
    with _Buckets(task, options.buckets) as buckets:
        for urls in places.values():
            for side in (0, 1):
                others = {key_of(url): url for url in sorted(urls[1 - side])}
                for url in sorted(urls[side]) if others else ():
                    key = key_of(url)
                    if key not in others:
                        row = {"key": key, "side": side, "url": min(others.values())}
                        buckets.write("moved", key, row)
    task.progress(read)
    return Counts(read, read)


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """What is known of the builds."""

    knows_links: tuple[bool, bool]
    """Whether each build's links are there."""


@output_version(1)
def judge_changes(task: Task) -> Counts:
    """Say of each document of a bucket of addresses what became of it: `RESULT`.

    Inputs: the bucket's documents, drops and links, and texts that moved; which is which is in their names.
    """
    options: JudgeOptions = task.options
    files = defaultdict[str, list[str]](list)
    for address in task.inputs:
        files[kind_of(address)].append(address)
    documents: list[dict[str, dict[str, Any]]] = [{}, {}]
    for address in files["documents"]:
        for row in read_rows(address):
            documents[row["side"]][row["key"]] = row
    read = sum(map(len, documents))
    task.progress(read)
    alone: list[dict[str, Fate]] = [
        {key: Fate() for key in documents[side].keys() - documents[1 - side].keys()} for side in (0, 1)
    ]
    for address in files["fates"]:
        for row in read_rows(address):
            fate = alone[1 - row["side"]].get(row["key"])  # it explains what the other build has alone
            if fate is not None and row["stage"]:
                fate.add_drop(row["order"], row["stage"], row["reason"], row["detail"])
            elif fate is not None:
                fate.has_link = True
    moved = {
        (row["side"], row["key"]): row["url"] for address in files["moved"] for row in read_rows(address)
    }
    tally = Tally()
    for side in (0, 1):
        for key, fate in sorted(alone[side].items()):
            rule = fate.rule(options.knows_links[1 - side])
            tally.add_document(side, documents[side][key], rule, fate.detail, moved.get((side, key), ""))
    for key in sorted(documents[0].keys() & documents[1].keys()):
        tally.add_common(documents[0][key], documents[1][key])
    (task.folder / RESULT).write_text(json.dumps(tally.to_json()), encoding="utf-8")
    return Counts(read, read)
