"""Pages of Wikipedia go, wherever in them it shows, before and after their text is extracted."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.crawl.responses import Response
from pipeline.extract.extraction import ExtractOptions
from pipeline.extract.pages import PageOptions
from pipeline.extract.stages import extract_pages
from pipeline.runner.records import FETCHES, LINKS
from pipeline.runner.stages import Task
from pipeline.web.warc import response_record

STORY = "The harbour of the town was closed after the storm, and the boats went elsewhere. " * 20
FOOT = {"http://licensed.example/": "<footer>It uses material from the Wikipedia article Harbour.</footer>"}


def extract(folder: Path, *, drop_wikipedia: bool) -> dict[str, str]:
    """Take the pages below through the stage, and return each link's reason, or none if it stays."""
    pages = {  # link: where its redirects ended, what the page has in its head
        "http://plain.example/": ("http://plain.example/", ""),
        "http://short.example/x": ("https://en.wikipedia.org/wiki/Harbour", ""),
        "http://copy.example/": (
            "http://copy.example/",
            "<link rel=canonical href='https://en.wikipedia.org/wiki/Harbour'>",
        ),
        "http://licensed.example/": ("http://licensed.example/", ""),
        "http://fans.example/": ("http://fans.example/", "<link rel=canonical href='/wiki/Harbour'>"),
    }
    links, fetches, archive = [], [], b""
    for link, (url, head) in pages.items():
        foot = FOOT.get(link, "")
        body = f"<html><head>{head}</head><body><article><p>{STORY}</p></article>{foot}</body></html>"
        response = Response(
            url=url, status=200, phrase="OK", address="192.0.2.1",
            headers=[(b"Content-Type", b"text/html")], body=body.encode(), at=datetime.now(UTC),
        )  # fmt: skip
        links.append({"url": link, "domain": link})
        fetches.append({"url": link, "reason": "", "archive": "pages.warc.gz", "offset": len(archive)})
        archive += response_record(response)
    (folder / "pages.warc.gz").write_bytes(archive)
    for name, rows, schema in (("links", links, LINKS), ("fetches", fetches, FETCHES)):
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet")
    output = folder / "output"
    output.mkdir()
    task = Task(
        name="0",
        inputs=[str(folder / "links.parquet"), str(folder / "fetches.parquet")],
        folder=output,
        options=PageOptions(
            extract=ExtractOptions(), languages=(), respect_opt_outs=True, drop_wikipedia=drop_wikipedia
        ),
        progress=lambda *_, **__: None,
        notes={},
        store="",
    )
    extract_pages(task)
    kept = pq.read_table(output / "documents.parquet", columns=["url"])["url"].to_pylist()
    drops = pq.read_table(output / "drops.parquet").to_pylist()
    return dict.fromkeys(kept, "") | {drop["url"]: drop["reason"] for drop in drops}


def test_page_goes_if_redirect_canonical_link_or_licence_leads_to_wikipedia(tmp_path: Path) -> None:
    assert extract(tmp_path, drop_wikipedia=True) == {
        "http://plain.example/": "",
        "http://short.example/x": "Wikipedia",
        "http://copy.example/": "Wikipedia",
        "http://licensed.example/": "Wikipedia",
        "http://fans.example/": "",
    }


def test_pages_of_wikipedia_stay_if_that_is_asked_for(tmp_path: Path) -> None:
    assert set(extract(tmp_path, drop_wikipedia=False).values()) == {""}
