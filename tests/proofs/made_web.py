"""A small web as files: archives of its pages, and dumps that link to them. No page of it was ever online."""

from datetime import UTC, datetime
from pathlib import Path

from launch.demo_site.web import WebPage, build_pages, write_dump
from pipeline.web.http_head import Response
from pipeline.web.warc import response_record

HOSTS = ["www.made-up-0.org", "www.made-up-1.org"]
ARCHIVES = 3


def write_web(folder: Path, pages: int) -> list[str]:
    """Write `RS_*.zst` and `pages-*.warc.gz`; return the options that name them to the pipeline's command."""
    web = build_pages(pages, HOSTS)
    for number in range(2):
        write_dump(folder / f"RS_{number}.zst", web[number::2], HOSTS)
    html = [page for page in web if page.status == 200 and page.content_type.startswith("text/html")]
    for number in range(ARCHIVES):
        records = [_record(host, page) for page in html[number::ARCHIVES] for host in HOSTS]
        (folder / f"pages-{number}.warc.gz").write_bytes(b"".join(records))
    return ["--submissions", f"{folder}/RS_*.zst", "--warcs", f"{folder}/pages-*.warc.gz"]


def _record(host: str, page: WebPage) -> bytes:
    headers = [(b"Content-Type", page.content_type.encode())]
    headers += [(name.encode(), value.encode()) for name, value in page.headers.items()]
    return response_record(
        Response(
            url=f"http://{host}{page.path}", status=200, phrase="OK", address="192.0.2.1",
            headers=headers, body=page.body, at=datetime(2020, 1, 1, tzinfo=UTC),
        )
    )  # fmt: skip


def all_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name from there."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
