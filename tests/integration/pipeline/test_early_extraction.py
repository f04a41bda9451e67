"""Pages are extracted while others are still being fetched, and the documents are the same."""

import dataclasses
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.segments import SegmentWriter, fetch_log
from pipeline.extract import early
from pipeline.extract.early import EarlyExtraction, EarlyResults, early_folder, extract_early
from pipeline.extract.extraction import Extraction, ExtractOptions
from pipeline.extract.pages import PageOptions
from pipeline.extract.stages import extract_pages
from pipeline.runner import storage
from pipeline.runner.executor import run_stage
from pipeline.runner.records import FETCHES, LINKS, Drop
from pipeline.runner.stages import Counts, InputFile, SideTask, Stage, Task, version_of
from pipeline.web.http_head import Response

OPTIONS = PageOptions(extract=ExtractOptions(), languages=(), respect_opt_outs=True, drop_wikipedia=True)
STORY = "<p>The ferry was late on day {}, and those who waited there printed each other the reason why.</p>"
HEADS = {
    2: "<meta name=robots content=noai>",
    5: "<link rel=canonical href=https://en.wikipedia.org/wiki/Ferry>",
}


def body(number: int) -> bytes:
    if number == 3:
        return b"<html><body></body></html>"
    story = "".join(STORY.format(number * 100 + day) for day in range(5))
    return (
        f"<html><head>{HEADS.get(number, '')}</head><body><article>{story}</article></body></html>".encode()
    )


def write_store(store: Path, numbers: range, *, warc_bytes: int) -> None:
    """Write a crawl's segments, as a crawl does; the page 4 was not found."""
    store.mkdir(parents=True, exist_ok=True)
    writer = SegmentWriter(store, CrawlOptions(warc_bytes=warc_bytes), [])
    for number in numbers:
        url = f"http://a.org/{number:02d}"
        row: dict[str, Any] = dict.fromkeys(FETCHES.names) | {
            "url": url, "final_url": url, "redirects": [], "status": 200, "detail": "", "bytes": 9,
            "reason": "not found" if number == 4 else "", "seconds": 0.1,
            "fetched_at": 1_700_000_000, "carried": "",
        }  # fmt: skip
        response = Response(
            url=url, status=200, phrase="OK", headers=[(b"Content-Type", b"text/html")], body=body(number),
            address="192.0.2.1", at=datetime(2023, 11, 14, tzinfo=UTC),
        )  # fmt: skip
        writer.add(row, [] if number == 4 else [response])
    writer.close()


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build's folder with one partition of pages in several segments, each of them worth a task."""
    monkeypatch.setattr(early, "LEAST_PAGES", 1)
    store = tmp_path / "pages" / "store" / "00000"
    write_store(store, range(12), warc_bytes=1_500)
    log = fetch_log(store)
    assert len({name for name in log["archive"].to_pylist() if name}) >= 3
    partition = tmp_path / "pages" / "00000"
    partition.mkdir()
    archives = pa.array([f"../store/00000/{name}" if name else "" for name in log["archive"].to_pylist()])
    log = log.select(FETCHES.names).set_column(FETCHES.names.index("archive"), "archive", archives)
    pq.write_table(log.cast(FETCHES), partition / "fetches.parquet")
    links = [{"url": url, "domain": "a.org"} for url in log["url"].to_pylist()]
    pq.write_table(pa.Table.from_pylist(links, LINKS), partition / "links.parquet")
    return tmp_path


def documents(output: Path, name: str) -> tuple[bytes, bytes, int]:
    """Run the stage; return both of its files, and how many pages it found extracted."""
    folder = output / name
    folder.mkdir()
    pages = output / "pages" / "00000"
    task = Task(
        name="0", inputs=[str(pages / "links.parquet"), str(pages / "fetches.parquet")], folder=folder,
        options=OPTIONS, progress=lambda *_, **__: None, notes={},
        store=str(output / "documents" / "store" / "0"),
    )  # fmt: skip
    counts = extract_pages(task)
    assert counts == Counts(11, 8, {"Wikipedia": 1, "no text found": 1, "opt-out noai": 1})
    files = (folder / "documents.parquet", folder / "drops.parquet")
    return files[0].read_bytes(), files[1].read_bytes(), task.notes["early"]


def place(output: Path) -> str:
    return early_folder(str(output / "documents" / "store" / "early"), OPTIONS, version_of(extract_pages))


def tasks(output: Path) -> Iterator[SideTask]:
    found = EarlyExtraction(str(output / "pages" / "store"), place(output), OPTIONS)
    while (task := found.next_task(["00000"])) is not None:
        yield task


def test_what_was_extracted_early_gives_the_same_bytes(output: Path) -> None:
    late = documents(output, "late")
    assert late[2] == 0
    some, *others = tasks(output)
    some.work(*some.arguments)
    partly = documents(output, "partly")
    assert 0 < partly[2] < 11
    for task in others:
        task.work(*task.arguments)
    whole = documents(output, "whole")
    assert whole[2] == 11
    assert late[:2] == partly[:2] == whole[:2]


def test_each_committed_file_is_extracted_once_whatever_was_killed(output: Path) -> None:
    every = list(tasks(output))
    assert len(every) >= 3
    every[0].work(*every[0].arguments)
    assert [task.arguments for task in tasks(output)] == [task.arguments for task in every[1:]]
    (output / "pages" / "store" / "00000" / ".outbound-1.jsonl.partial").write_text("{")  # of no commit
    unfinished = Path(place(output)) / f"{Path(every[1].arguments[2]).name}.d4ec1daa.partial"
    unfinished.mkdir()
    (unfinished / "results.sqlite").write_bytes(b"cut")
    assert len(list(tasks(output))) == len(every) - 1
    assert documents(output, "after")[2] == len(every[0].arguments[1])


def test_a_few_pages_are_left_to_the_stage(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST_PAGES", 3)
    sizes = [len(task.arguments[1]) for task in tasks(output)]
    assert sizes
    assert min(sizes) >= 3
    monkeypatch.setattr(early, "LEAST_PAGES", 100)
    assert not list(tasks(output))


@pytest.mark.parametrize("left", [0, 1_000, 5_000])
def test_damaged_results_are_made_again(output: Path, left: int) -> None:
    expected = documents(output, "late")
    for task in tasks(output):
        task.work(*task.arguments)
        results = Path(task.arguments[2]) / "results.sqlite"
        results.write_bytes(results.read_bytes()[:left])
    assert documents(output, "damaged")[:2] == expected[:2]


def test_what_fails_early_is_tried_again(output: Path) -> None:
    (task, *_) = tasks(output)
    archive, offsets, folder, options = task.arguments
    hasty = dataclasses.replace(options, extract=ExtractOptions(extract_deadline_s=1e-6))
    extract_early(archive, offsets, folder, hasty)
    with EarlyResults(str(Path(folder).parent)) as results:
        assert not [found for _, found in results.find(archive, offsets) if isinstance(found, Extraction)]
        assert "extraction timed out" not in {
            found.reason for _, found in results.find(archive, offsets) if isinstance(found, Drop)
        }


def test_other_options_find_nothing(output: Path) -> None:
    for task in tasks(output):
        task.work(*task.arguments)
    other = PageOptions(
        extract=ExtractOptions(), languages=("en",), respect_opt_outs=True, drop_wikipedia=True
    )
    base = str(output / "documents" / "store" / "early")
    assert early_folder(base, other, version_of(extract_pages)) != place(output)
    assert early_folder(base, OPTIONS, {"edition": 0}) != place(output)


def test_results_come_back_from_a_store_that_is_not_local(output: Path) -> None:
    (task, *_) = tasks(output)
    archive, offsets, _, options = task.arguments
    extract_early(archive, offsets, f"memory://early{output}/{Path(task.arguments[2]).name}", options)
    with EarlyResults(f"memory://early{output}") as results:
        found = dict(results.find(f"elsewhere/{Path(archive).name}", [*offsets, offsets[-1] + 1]))
    assert list(found) == list(offsets)
    assert isinstance(found[offsets[0]], Extraction)


# --- beside a stage on Ray ---


def wait_for_file(task: Task) -> Counts:
    """Work that cannot end before a side task has."""
    file = Path(task.inputs[0]).parent / "side.txt"
    for _ in range(600):
        if file.exists():
            (task.folder / "words.txt").write_text(file.read_text())
            return Counts(1, 1)
        time.sleep(0.1)
    raise ValueError("no side task came")


def write_file(path: str) -> None:
    Path(path).write_text("done beside")


def fail() -> None:
    raise ValueError("nobody hears this")


class Two:
    """One that fails, and one that does not."""

    def __init__(self, folder: Path) -> None:
        self.left = [SideTask(write_file, (str(folder / "side.txt"),)), SideTask(fail, ())]
        self.asked: set[str] = set()

    def next_task(self, partitions: Collection[str]) -> SideTask | None:
        self.asked |= set(partitions)
        return self.left.pop() if self.left else None


@pytest.mark.usefixtures("ray")
def test_side_tasks_are_done_while_the_stage_is_and_may_fail(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    stage = Stage(name="waiting", work=wait_for_file)
    beside = Two(tmp_path)
    output = run_stage(
        stage, {"a": [InputFile.of(str(tmp_path / "a.txt"))]}, str(tmp_path / "out"), beside=beside
    )
    assert storage.read_text(output.files("words.txt")[0].address) == "done beside"
    assert beside.asked == {"a"}
