"""A segment is all there or can be finished, wherever a kill fell."""

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.crawl.cookies import unpacked
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.segments import (
    FinishedLinks,
    SegmentWriter,
    committed_logs,
    fetch_log,
    finish_interrupted,
)
from pipeline.runner.records import FETCHES
from pipeline.web.http_head import Response
from pipeline.web.warc import Page, read_page, scan_pages

OPTIONS = CrawlOptions(contact="tests@example.org")
ROWS = 8


def row(number: int, reason: str = "") -> dict[str, object]:
    return {
        "url": f"http://site.example/{number}",
        "final_url": f"http://site.example/{number}",
        "redirects": (),
        "status": 200,
        "reason": reason,
        "detail": "",
        "bytes": 0,
        "seconds": 0.5,
        "fetched_at": 1_700_000_000 + number,
    }


def page(number: int) -> Response:
    return Response(
        url=f"http://site.example/{number}",
        status=200,
        phrase="OK",
        headers=((b"Content-Type", b"text/html"),),
        body=random.Random(number).randbytes(200),
        address="192.0.2.1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def interrupted(folder: Path) -> tuple[Path, Path]:
    """Leave a segment unfinished; every third link has no page. Return its WARC and journal."""
    folder.mkdir(exist_ok=True)
    writer = SegmentWriter(folder, OPTIONS, [("software", "test")])
    for number in range(ROWS):
        if number % 3 == 2:
            writer.add(row(number, "not found"))
        else:
            writer.add(row(number), [page(number)])
    writer.abandon()
    return next(folder.glob(".*.warc.gz.partial")), next(folder.glob(".*.jsonl.partial"))


def check_first_rows(folder: Path, at_least: int) -> int:
    """Check that what was finished is the first rows and their pages; return how many rows."""
    log = fetch_log(folder).to_pylist()
    assert len(log) >= at_least
    assert [entry["url"] for entry in log] == [row(number)["url"] for number in range(len(log))]
    with_page = [entry for entry in log if entry["reason"] == ""]
    for entry in with_page:
        found = read_page(str(folder / entry["archive"]), entry["offset"])
        assert isinstance(found, Page) and found.url == entry["url"]
    archived = [found for archive in folder.glob("*.warc.gz") for found in scan_pages(str(archive))]
    assert len(archived) == len(with_page)  # and no damage among them
    assert not list(folder.glob(".*.partial"))
    return len(log)


def test_interrupted_segment_is_finished_whole(tmp_path: Path) -> None:
    interrupted(tmp_path)
    assert not committed_logs(tmp_path)
    finish_interrupted(tmp_path)
    assert check_first_rows(tmp_path, ROWS) == ROWS
    finish_interrupted(tmp_path)
    assert check_first_rows(tmp_path, ROWS) == ROWS


@pytest.mark.parametrize("which", [0, 1])
def test_segment_cut_anywhere_is_finished_as_far_as_it_is_whole(tmp_path: Path, which: int) -> None:
    counts = []
    size_bytes = interrupted(tmp_path / "measured")[which].stat().st_size
    for cut in range(0, size_bytes + 1, 97):
        folder = tmp_path / str(cut)
        file = interrupted(folder)[which]
        with file.open("r+b") as opened:
            opened.truncate(cut)
        finish_interrupted(folder)
        counts.append(check_first_rows(folder, 0))
    assert counts == sorted(counts)
    assert counts[0] == 0 and len(set(counts)) > ROWS / 2


def test_commit_that_was_stopped_between_its_steps_is_finished(tmp_path: Path) -> None:
    warc, _ = interrupted(tmp_path / "renamed")
    warc.rename(warc.with_name(warc.name.removeprefix(".").removesuffix(".partial")))
    finish_interrupted(tmp_path / "renamed")
    assert check_first_rows(tmp_path / "renamed", ROWS) == ROWS

    _, journal = interrupted(tmp_path / "logged")
    kept = journal.read_bytes()
    finish_interrupted(tmp_path / "logged")
    journal.write_bytes(kept)
    finish_interrupted(tmp_path / "logged")
    assert check_first_rows(tmp_path / "logged", ROWS) == ROWS


def test_page_outranks_a_failure_and_the_last_failure_an_earlier_one(tmp_path: Path) -> None:
    reasons = [
        ("too slow", "deadline", ""),
        ("not found", "", "too large"),
        ("not found", "server error", ""),
    ]
    for crawl, by_link in enumerate(reasons):
        writer = SegmentWriter(tmp_path, CrawlOptions(contact="x", retries=crawl), [])
        for number, reason in enumerate(by_link):
            writer.add(row(number, reason), [] if reason else [page(number)])
        writer.close()
    assert fetch_log(tmp_path)["reason"].to_pylist() == ["not found", "", ""]


def test_finished_are_pages_and_what_failed_under_the_same_options(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, OPTIONS, [])
    writer.add(row(0), [page(0)])
    writer.add(row(1, "not found"))
    writer.close()
    faster = CrawlOptions(contact="other@example.org", delay_s=9.0, max_connections=1)
    patient = CrawlOptions(contact="tests@example.org", deadline_s=600.0)
    for options, finished in [(OPTIONS, [0, 1]), (faster, [0, 1]), (patient, [0])]:
        found = FinishedLinks(tmp_path, options.fingerprint())
        assert [number for number in range(3) if f"http://site.example/{number}" in found] == finished
        assert len(found) == len(finished)


def test_log_of_nothing_is_empty(tmp_path: Path) -> None:
    assert fetch_log(tmp_path).num_rows == 0
    assert "http://site.example/" not in FinishedLinks(tmp_path, "any")


def test_files_of_two_crawls_that_begin_at_once_have_two_names(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        writer = SegmentWriter(tmp_path / folder, OPTIONS, [("software", "test")])
        writer.add(row(0), [page(0)])
        writer.close()
    archives = list(tmp_path.glob("*/*.warc.gz"))
    assert len({archive.name for archive in archives}) == 2
    for archive in archives:
        assert f"WARC-Filename: {archive.name}".encode() in gzip.decompress(archive.read_bytes())


def test_crawls_of_earlier_versions_are_read_and_go_on(tmp_path: Path) -> None:
    """Their names had no token at the end, and their logs nothing about cookies."""
    writer = SegmentWriter(tmp_path, OPTIONS, [("software", "test")])
    for number in range(ROWS):
        writer.add(row(number), [page(number)])
    writer.close()
    (log,) = committed_logs(tmp_path)
    old = tmp_path / f"{log.stem.rpartition('-')[0]}.parquet"
    pq.write_table(pq.read_table(log).select(FETCHES.names), old)
    log.unlink()
    found = fetch_log(tmp_path)
    assert found["url"].to_pylist() == [row(number)["url"] for number in range(ROWS)]
    assert found["carried"].null_count == ROWS
    assert unpacked(found["carried"][0].as_py()) == ()
    assert len(FinishedLinks(tmp_path, OPTIONS.fingerprint())) == ROWS
