"""A crawl and an archive as sources of pages, one after the other, and what is told of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from made_common_crawl import Capture, write_common_crawl, write_dump
from range_server import RangeServer, serving

from pipeline.build_webtext import Options, main
from pipeline.common_crawl.options import ArchiveOptions
from pipeline.corpus.funnel import read_funnel
from pipeline.crawl.options import CrawlOptions
from pipeline.show_document import ShowOptions
from pipeline.show_document import main as show

CRAWL = "CC-MAIN-2013-48"
LOOPBACK = CrawlOptions(contact="test@example.org", delay_s=0.0, allow_networks=("127.0.0.0/8",), retries=0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RangeServer]:
    """A live site, of whose pages some are gone, an archive that has some of these, and a dump."""
    folder = tmp_path / "site"
    folder.mkdir()
    with serving(folder) as server:
        for name in ("live", "both", "private"):
            url = f"{server.address}/{name}.html"
            (folder / f"{name}.html").write_bytes(Capture(url=url, crawl="of today").body())
        (folder / "robots.txt").write_text("User-agent: *\nDisallow: /private\n")
        archived = [f"{server.address}/{name}.html" for name in ("both", "dead", "private")]
        write_common_crawl(tmp_path / "archive", [Capture(url=url, crawl=CRAWL) for url in archived])
        names = ("live", "both", "private", "dead", "none")
        links = {f"{server.address}/{name}.html": Capture(url="").at for name in names}
        write_dump(tmp_path / "RS_made", links)
        yield server


def options(folder: Path, *sources: Any) -> Options:
    archive = ArchiveOptions(common_crawl=(CRAWL,), archive_root=str(folder / "archive"))
    return Options(
        submissions=(str(folder / "RS_made"),), output=str(folder / "out"), partitions=2,
        archive=archive, sources=sources, crawl=LOOPBACK,
    )  # fmt: skip


def documents(folder: Path) -> dict[str, tuple[str, bool]]:
    """Where each document is from, by the name of its page, and whether the time of its capture is told."""
    files = [*folder.glob("out/corpus/train/*.parquet"), *folder.glob("out/corpus/validation/*.parquet")]
    rows = ds.dataset(files).to_table().to_pylist()
    return {name_of(row["url"]): (row["source"], row["captured_at"] is not None) for row in rows}


def drops(folder: Path) -> dict[str, str]:
    rows = ds.dataset(list(folder.glob("out/corpus/drops/*/*.parquet"))).to_table().to_pylist()
    return {name_of(row["url"]): row["reason"] for row in rows}


def name_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".html")


def test_what_no_archive_has_is_crawled(
    ray: None, site: RangeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(options(tmp_path, "archive", "crawl"))
    archived = (CRAWL, True)
    assert documents(tmp_path) == {
        "live": ("crawl", False), "both": archived, "dead": archived, "private": archived
    }  # fmt: skip
    assert drops(tmp_path) == {"none": "not found"}
    (step,) = (step for step in read_funnel(f"{tmp_path}/out/corpus")["steps"] if step["step"] == "pages")
    assert step == {
        "step": "pages", "unit": "pages", "read": 5, "kept": 4, "dropped": {"not found": 1},
        "sources": {CRAWL: 3, "crawl": 1},
    }  # fmt: skip
    said = capsys.readouterr()
    assert f"3      from {CRAWL}" in said.out and "rows looked at" in said.err
    card = (tmp_path / "out/corpus/README.md").read_text()
    for told in (
        f"| {CRAWL} | 4 | 3 | 3 |", f"| {CRAWL} | 3 |", "| crawl | 1 |",
        "| 2018 | 5 | 20.0 % | 60.0 % | 20.0 % |",
        f"--common-crawl {CRAWL}", "archive, then crawl",
    ):  # fmt: skip
        assert told in card, told
    assert str(tmp_path) not in card
    report = (tmp_path / "out/corpus/report.html").read_text()
    assert "<td>2018</td><td>5</td><td>20.0 %</td>" in report and f"<span>{CRAWL}</span>" in report
    capsys.readouterr()
    show(ShowOptions(page=f"{site.address}/dead.html", output=f"{tmp_path}/out"))
    assert f"captured by {CRAWL} 2018-10-15 12:00 UTC" in capsys.readouterr().out
    show(ShowOptions(page=f"{site.address}/live.html", output=f"{tmp_path}/out"))
    told = capsys.readouterr().out
    assert told.index("not in the archives") < told.index("status 200")
    main(options(tmp_path, "archive", "crawl"))
    assert "Nothing to do" in capsys.readouterr().out
    assert str(tmp_path) not in (tmp_path / "out/options.json").read_text()


def test_what_the_crawl_lost_is_looked_up_unless_its_owner_does_not_want_it_taken(
    ray: None, site: RangeServer, tmp_path: Path
) -> None:
    main(options(tmp_path, "crawl", "archive"))
    crawled = ("crawl", False)
    assert documents(tmp_path) == {"live": crawled, "both": crawled, "dead": (CRAWL, True)}
    assert drops(tmp_path) == {"none": "not in the archives", "private": "robots.txt"}


def test_output_of_an_earlier_version_opens_and_goes_on(
    ray: None, site: RangeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its logs have no column `source`; the pages that it has are not fetched again."""
    import dataclasses

    import pyarrow.parquet as pq

    asked = dataclasses.replace(options(tmp_path, "crawl"), archive=ArchiveOptions())
    main(asked)
    before = documents(tmp_path)
    for path in tmp_path.glob("out/pages/**/*.parquet"):
        table = pq.read_table(path)
        if "source" in table.column_names:
            metadata = table.schema.metadata
            pq.write_table(table.drop_columns("source").replace_schema_metadata(metadata), path)
    for marker in tmp_path.glob("out/pages/*.json"):
        content = json.loads(marker.read_text())
        for name in content["files"]:
            path = marker.with_suffix("") / name
            content["files"][name][0] = path.stat().st_size
        marker.write_text(json.dumps(content))
    asked_for = site.requests
    for stage in ("documents", "corpus"):
        for marker in tmp_path.glob(f"out/{stage}/*.json"):
            marker.unlink()
    show(ShowOptions(page=f"{site.address}/live.html", output=f"{tmp_path}/out"))
    assert "status 200" in capsys.readouterr().out
    main(asked)
    assert documents(tmp_path) == before and site.requests == asked_for
