"""Pages from a Common Crawl in small: looked up, chosen, fetched, verified, and told of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from made_common_crawl import Capture, write_common_crawl, write_dump

from pipeline.build_webtext import Options, main
from pipeline.common_crawl.options import ArchiveOptions
from pipeline.corpus.funnel import read_funnel

DAY = timedelta(days=1)
POSTED = datetime(2013, 12, 1, 12, tzinfo=UTC)
OLD, MIDDLE, NEW = "CC-MAIN-2012-10", "CC-MAIN-2013-48", "CC-MAIN-2018-43"


def at(url: str, days: int = 3, crawl: str = MIDDLE, **more: Any) -> Capture:
    return Capture(url=url, crawl=crawl, at=POSTED + days * DAY, **more)


CAPTURES = [
    # several captures: the nearest counts, later before earlier
    at("http://near.example.com/story", 400, NEW),
    at("http://near.example.com/story", 20),
    at("http://near.example.com/story", -300, OLD),
    at("http://tie.example.com/story", -5, OLD),
    at("http://tie.example.com/story", 5),
    # our canonical form alone decides
    at("https://twin.example.com/story"),
    at("http://example.org/with-www"),
    at("http://www.example.net/story/"),
    at("http://example.net/Story"),
    at("http://tracked.example.com/story?utm_source=feed&utm_medium=rss"),
    at("http://tracked.example.com/page?fbclid=abc&id=3"),
    at("http://session.example.com/story;jsessionid=ABCDEF?id=1"),
    # redirects
    at("http://moved.example.com/a", status=301, location="http://www.moved.example.com/a"),
    at("http://www.moved.example.com/a", 4),
    at("http://short.example.com/x", status=302, location="http://long.example.org/story", crawl=NEW),
    at("http://long.example.org/story", 9, OLD),
    at("http://round.example.com/1", status=301, location="/2"),
    at("http://round.example.com/2", status=301, location="/1"),
    at("http://lost.example.com/", status=301, location="http://nowhere.example.com/"),
    at("http://secure.example.com/", status=301, location="https://secure.example.com/"),
    at("http://wiki.example.com/", status=301, location="https://en.wikipedia.org/wiki/Harbour"),
    # what is no page
    at("http://cut.example.com/story", truncated="length", crawl=NEW),
    at("http://whole.example.com/story", 3, truncated="length", crawl=NEW),
    at("http://whole.example.com/story", 90, crawl=MIDDLE),
    at("http://gone.example.com/story", status=404),
    at("http://paper.example.com/story", content_type="application/pdf"),
    at("http://optout.example.com/story", headers={"X-Robots-Tag": "noai"}),
    # what is not as the index says
    at("http://digest.example.com/story", said={"content_digest": "A" * 32}),
    at("http://wrong.example.com/story", said={"warc_record_offset": 0}),
    at("http://beyond.example.com/story", said={"warc_record_offset": 10**9}),
    at(
        "http://missing.example.com/story",
        said={"warc_filename": f"crawl-data/{MIDDLE}/segments/1/warc/none.warc.gz"},
    ),
]
LINKS = {
    "http://near.example.com/story": (MIDDLE, 20),
    "http://tie.example.com/story": (MIDDLE, 5),
    "http://twin.example.com/story": (MIDDLE, 3),
    "http://www.example.org/with-www": "not in the archives",
    "http://www.example.net/story": "not in the archives",
    "http://tracked.example.com/story": (MIDDLE, 3),
    "http://tracked.example.com/page?id=3": (MIDDLE, 3),
    "http://session.example.com/story?id=1": (MIDDLE, 3),
    "http://moved.example.com/a": (MIDDLE, 4),
    "http://short.example.com/x": (OLD, 9),
    "http://round.example.com/1": "redirect loop",
    "http://lost.example.com/": "not in the archives",
    "http://secure.example.com/": "not in the archives",
    "http://wiki.example.com/": "Wikipedia",
    "http://cut.example.com/story": "truncated capture",
    "http://whole.example.com/story": (MIDDLE, 90),
    "http://gone.example.com/story": "not status 200",
    "http://paper.example.com/story": "not HTML",
    "http://optout.example.com/story": "opt-out noai",
    "http://digest.example.com/story": "wrong digest",
    "http://wrong.example.com/story": "wrong record",
    "http://beyond.example.com/story": "outside the archive file",
    "http://missing.example.com/story": "archive file not found",
    "http://nobody.example.com/": "not in the archives",
}


@pytest.fixture(scope="module")
def common_crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `archive` (three crawls, one with a ZipNum index) and a dump."""
    folder = tmp_path_factory.mktemp("common-crawl")
    write_common_crawl(folder / "archive", CAPTURES, zipnum=[OLD], older=[MIDDLE])
    write_dump(folder / "RS_made", dict.fromkeys(LINKS, POSTED))
    return folder


def options(folder: Path, output: Path, root: str | None = None, **more: Any) -> Options:
    archive = ArchiveOptions(
        common_crawl=("CC-MAIN-201*",), archive_root=root or str(folder / "archive"), archive_backoff_s=0.01
    )
    return Options(
        submissions=(str(folder / "RS_made"),), output=str(output), archive=archive,
        **{"partitions": 3} | more,
    )  # fmt: skip


def fetches(output: Path) -> list[dict[str, Any]]:
    stages = [*output.glob("pages*/*/fetches.parquet"), *output.glob("captures*/*/fetches.parquet")]
    return ds.dataset(stages).to_table().to_pylist()


def documents(output: Path) -> dict[str, tuple[str, datetime]]:
    files = [*output.glob("corpus/train/*.parquet"), *output.glob("corpus/validation/*.parquet")]
    rows = ds.dataset(files).to_table().to_pylist()
    return {row["url"]: (row["source"], row["captured_at"]) for row in rows}


@pytest.mark.parametrize("partitions", [1, 3])
def test_each_link_gets_its_nearest_capture_or_a_reason(
    ray: None, common_crawl: Path, tmp_path: Path, partitions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    main(options(common_crawl, tmp_path, partitions=partitions))
    found = documents(tmp_path)
    expected = {url: (end[0], POSTED + end[1] * DAY) for url, end in LINKS.items() if isinstance(end, tuple)}
    reasons = {row["url"]: row["reason"] for row in fetches(tmp_path)}
    for url, end in LINKS.items():
        if end != "opt-out noai":
            assert reasons[url] == (end if isinstance(end, str) else ""), url
    assert found == expected
    steps = {step["step"]: step for step in read_funnel(str(tmp_path / "corpus"))["steps"]}
    assert steps["pages"]["read"] == len(LINKS)
    assert steps["documents"]["dropped"] == {"opt-out noai": 1}
