"""What a crawl wrote, read back as given archives, makes the same corpus."""

import gzip
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.build_webtext import Options, main
from pipeline.crawl.options import CrawlOptions

CRAWL = CrawlOptions(contact="test@example.org", delay_s=0.0, allow_networks=("127.0.0.0/8",), retries=0)
SENTENCE = (
    "The {0} harbour was quiet, {0} as it was, and the {0} boat, number {1} of {0}, lay in the {0} rain. "
)
HOSTS = 3
Answer = tuple[int, dict[str, str], bytes]


def text(name: str, head: str = "") -> str:
    paragraphs = "".join(f"<p>{SENTENCE.format(name, number)}</p>" for number in range(12))
    return (
        f"<html><head>{head}<title>{name}</title></head><body><article>{paragraphs}</article></body></html>"
    )


def page(name: str, head: str = "", **headers: str) -> Answer:
    return 200, headers, text(name, head).encode()


def meta(target: str) -> Answer:
    return 200, {}, f'<meta http-equiv="refresh" content="2; url={target}"><p>Moved.</p>'.encode()


def moved(target: str, status: int = 302, **headers: str) -> Answer:
    return status, {"Location": target, **headers}, b"moved"


def chunked(name: str) -> Answer:
    data = text(name).encode()
    pieces = [data[start : start + 700] for start in range(0, len(data), 700)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return 200, {"Transfer-Encoding": "chunked"}, framed + b"0\r\n\r\n"


def answers(hosts: list[str]) -> dict[str, Answer]:
    """Return what is answered by host's number and path, and the cookie where there is one."""
    first, second, _ = hosts
    zipped = gzip.compress(text("gzipped").encode())
    return {
        "0/plain": page("plain"),
        "0/gzip": (200, {"Content-Encoding": "gzip"}, zipped),
        "0/deflate": (200, {"Content-Encoding": "deflate"}, zlib.compress(text("deflated").encode())[2:-4]),
        "0/twice": (200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(text("twice").encode())),
        "0/none": page("uncoded", **{"Content-Encoding": "none"}),
        "0/chunked": chunked("chunked"),
        "0/utf16": (200, {}, text("wide").encode("utf-16")),
        "0/latin": (200, {"Content-Type": "text/html; charset=latin-1"}, text("caf\u00e9").encode("latin-1")),
        "0/away": moved(f"{second}/there?utm_source=x", 301),
        "1/there?utm_source=x": page("moved"),
        "0/wall": moved("/wall", **{"Set-Cookie": "in=1"}),
        "0/wall in=1": page("walled"),
        "0/paper": moved(f"{second}/login", 303, **{"Set-Cookie": "id=7"}),
        "1/login": moved(f"{first}/paper"),
        "0/paper id=7": page("paper"),
        "2/check": (200, {"Set-Cookie": "ok=1"}, b"<meta http-equiv=refresh content=0><p>Please wait.</p>"),
        "2/check ok=1": page("checked"),
        "0/meta": meta(f"{second}/after-meta"),
        "1/after-meta": page("refreshed"),
        "1/header": (200, {"Refresh": "0;url=/after-header"}, b""),
        "1/after-header": page("headed"),
        "2/app?_escaped_fragment_=/story": page("hashed"),
        "2/app": page("application"),
        "0/noai": page("unwilling", **{"X-Robots-Tag": "noai"}),
        "0/noindex": page("unlisted", '<meta name="robots" content="noindex">'),
        "0/to-noai": moved("/noai"),
        "1/private/page": page("private"),
        "1/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /private/\n"),
        "1/to-private": moved("/private/page"),
        "2/round": moved("/round"),
        "2/missing": (404, {}, b"none"),
    }


KEPT = {
    "0/plain": "plain", "0/gzip": "gzipped", "0/deflate": "deflated", "0/twice": "twice", "0/none": "uncoded",
    "0/chunked": "chunked", "0/utf16": "wide", "0/latin": "caf\u00e9", "0/away": "moved", "0/wall": "walled",
    "0/paper": "paper", "2/check": "checked", "0/meta": "refreshed", "1/header": "headed",
    "2/app#!/story": "hashed",
}  # fmt: skip
LOST = ("0/noai", "0/noindex", "0/to-noai", "1/private/page", "1/to-private", "2/round", "2/missing")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    """Addresses of servers that answer as `answers` says."""
    known: dict[str, Answer] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            place = f"{str(self.server.server_address[0])[-1]}{self.path}"
            cookie = self.headers.get("Cookie", "")
            missing: Answer = (404, {}, b"none")
            status, headers, body = known.get(f"{place} {cookie}", known.get(place, missing))
            self.send_response(status)
            fields: dict[str, Any] = {"Content-Type": "text/html; charset=utf-8"} | headers
            if "Transfer-Encoding" not in headers:
                fields["Content-Length"] = len(body)
            for name, value in fields.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    servers = [ThreadingHTTPServer((f"127.0.1.{number}", 0), Handler) for number in range(HOSTS)]
    addresses = [f"http://{server.server_address[0]!s}:{server.server_port}" for server in servers]
    known.update(answers(addresses))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield addresses
    for server in servers:
        server.shutdown()
        server.server_close()


def documents(output: Path) -> list[dict[str, Any]]:
    files = [*output.glob("corpus/train/*.parquet"), *output.glob("corpus/validation/*.parquet")]
    return sorted(ds.dataset(files).to_table().to_pylist(), key=lambda row: str(row["url"]))


def test_archives_of_a_crawl_make_the_corpus_that_the_crawl_made(
    ray: None, tmp_path: Path, hosts: list[str]
) -> None:
    urls = [hosts[int(place[0])] + place[1:] for place in (*KEPT, *LOST)]
    posts = [{"id": f"a{n}", "url": url, "score": 9 + n, "title": "t"} for n, url in enumerate(urls)]
    (tmp_path / "RS_made").write_bytes(b"\n".join(map(orjson.dumps, posts)))
    dumps, crawled, again = (str(tmp_path / "RS_made"),), tmp_path / "crawled", tmp_path / "again"
    main(Options(submissions=dumps, output=str(crawled), partitions=3, crawl=CRAWL))
    made = documents(crawled)
    logs = [pq.read_table(log).to_pylist() for log in crawled.glob("pages*/*/fetches.parquet")]
    reasons = {row["url"]: row["reason"] for log in logs for row in log}
    assert {row["url"]: row["title"] for row in made} == {
        hosts[int(place[0])] + place[1:].replace("#!", "?_escaped_fragment_="): name
        for place, name in KEPT.items()
    }, reasons
    lost = [reasons[url] for url in urls[len(KEPT) :]]
    assert lost[:3] == ["opt-out noai", "opt-out noindex", "opt-out noai"]
    assert lost[3:] == ["robots.txt", "robots.txt", "redirect loop", "not found"]
    archives = list(crawled.glob("pages*/store/*/*.warc.gz"))
    assert len({archive.name for archive in archives}) == len(archives) >= 4
    main(
        Options(
            submissions=dumps, warcs=tuple(map(str, archives)), output=str(again), partitions=2, crawl=CRAWL
        )
    )
    read = documents(again)
    assert {row.pop("source") for row in made} == {"crawl"}
    assert {row.pop("source") for row in read} == {"WARC files"}
    assert not any(row.pop("captured_at") for row in made)  # a crawl's own page is no older than its fetch
    assert all(row.pop("captured_at") for row in read)
    assert read == made
