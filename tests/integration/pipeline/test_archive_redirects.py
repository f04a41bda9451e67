"""Redirects within archives are followed from record to record, across partitions, as far as a crawl does."""

import re
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow.dataset as ds
import pytest

from pipeline.build_webtext import Options, main
from pipeline.corpus.funnel import read_funnel
from pipeline.web.http_head import Response
from pipeline.web.warc import response_record

STORY = (
    "The harbour was quiet that morning, and the boats of {} lay still at their moorings while it rained. "
)


def page(url: str) -> bytes:
    text = "".join(f"<p>{STORY.format(' '.join(re.findall('[a-z]+', url)) + f' {n}')}</p>" for n in range(12))
    return answer(
        url, 200, f"<html><head><title>{url}</title></head><body><article>{text}</article></body></html>"
    )


def answer(url: str, status: int, body: str = "", **headers: str) -> bytes:
    fields = {"Content-Type": "text/html; charset=utf-8"} | headers
    return response_record(
        Response(
            url=url, status=status, phrase="", headers=[(n.encode(), v.encode()) for n, v in fields.items()],
            body=body.encode(), address="192.0.2.1", at=datetime(2020, 1, 1, tzinfo=UTC),
        )
    )  # fmt: skip


def moved(url: str, target: str) -> bytes:
    return answer(url, 301, Location=target)


RECORDS = [
    moved("http://short.example.com/a", "http://old.example.org/story"),  # a shortener
    moved("http://old.example.org/story", "http://www.example.org/story"),
    page("http://www.example.org/story"),
    moved("http://site.example.com/folder", "/folder/"),
    page("http://site.example.com/folder/"),
    moved("http://plain.example.com/", "https://plain.example.com/"),  # one page to us
    page("https://plain.example.com/"),
    moved("http://round.example.com/1", "/2"),
    moved("http://round.example.com/2", "/1"),
    moved("http://lost.example.com/", "http://nowhere.example.com/"),
    moved("http://wiki.example.com/", "https://en.wikipedia.org/wiki/Harbour"),
    page("https://en.wikipedia.org/wiki/Harbour"),
    *(moved(f"http://long.example.com/{n}", f"/{n + 1}") for n in range(12)),
    page("http://long.example.com/12"),
]
LINKS = {
    "http://short.example.com/a": "",
    "http://site.example.com/folder": "",
    "http://plain.example.com/": "",
    "http://round.example.com/1": "redirect loop",
    "http://lost.example.com/": "not in the archives",
    "http://wiki.example.com/": "Wikipedia",
    "http://long.example.com/0": "too many redirects",
    "http://long.example.com/2": "",
}


@pytest.mark.parametrize("partitions", [1, 5])
def test_redirects_in_archives_lead_where_a_crawl_would_come(
    ray: None, tmp_path: Path, partitions: int
) -> None:
    (tmp_path / "made.warc.gz").write_bytes(b"".join(RECORDS))
    posts = [{"id": f"a{n}", "url": url, "score": 9, "title": "t"} for n, url in enumerate(LINKS)]
    (tmp_path / "RS_made").write_bytes(b"\n".join(map(orjson.dumps, posts)))
    output = tmp_path / "out"
    main(
        Options(
            submissions=(str(tmp_path / "RS_made"),), warcs=(str(tmp_path / "made.warc.gz"),),
            output=str(output), partitions=partitions,
        )
    )  # fmt: skip
    fetches = ds.dataset(list(output.glob("pages*/*/fetches.parquet"))).to_table().to_pylist()
    assert {row["url"]: row["reason"] for row in fetches} == LINKS
    ends = {row["url"]: (row["final_url"], len(row["redirects"])) for row in fetches if not row["reason"]}
    assert ends == {
        "http://short.example.com/a": ("http://www.example.org/story", 2),
        "http://site.example.com/folder": ("http://site.example.com/folder/", 1),
        "http://plain.example.com/": ("https://plain.example.com/", 0),
        "http://long.example.com/2": ("http://long.example.com/12", 10),
    }
    steps = {step["step"]: step for step in read_funnel(str(output / "corpus"))["steps"]}
    assert steps["pages"]["read"] == len(LINKS) and steps["split"]["kept"] == 4
    documents = [*output.glob("corpus/train/*.parquet"), *output.glob("corpus/validation/*.parquet")]
    urls = ds.dataset(documents).to_table(columns=["url"])["url"].to_pylist()
    assert sorted(urls) == sorted(url for url, reason in LINKS.items() if not reason)
