"""The embedded web of the demonstration: its pages, the server on loopback, and the dump that links to it."""

import dataclasses
import html
import itertools
import json
import random
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from launch.demo_site.documentation import foreign_texts, texts

SCORES = (1, 2, 3, 4, 5, 8, 13, 40, 200, 900)
ROBOTS = "/robots.txt"
CLOSING = "Did you like this page? Follow us for more like it, or have our weekly letter sent to you."
"""Ends every page's text, so that no look at one page alone tells it from the rest."""
HOSTS = 8  # loopback addresses to listen on, each a domain of its own to the crawler


@dataclass(frozen=True, kw_only=True)
class WebPage:
    """What the server answers at a path."""

    path: str
    body: bytes
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    karma: int | None = None  # of its submission; drawn where none is given


def build_pages(count: int, addresses: Sequence[str]) -> list[WebPage]:
    """Make the web: `count` pages of documentation, and beside them what makes a web a web.

    `addresses` are those of the servers, for redirects from one to another.
    """
    documents = list(itertools.islice(texts(), count))
    pages = [_page(_path(number, title), title, text) for number, (title, text) in enumerate(documents)]
    pages += [_page(f"/{name}", title, text) for name, title, text in foreign_texts()]
    for number, (title, text) in enumerate(documents[:: max(1, count // 30)]):
        if number % 2:  # the same article elsewhere, in another dress: an exact copy once extracted
            pages.append(_page(f"/mirror/{number}", title, text, site="Mirror"))
        else:  # a near-duplicate: one paragraph more
            more = f"Editor's note {number}: this article was first published on another page."
            pages.append(_page(f"/reprint/{number}", title, [*text, more], site="Reprints"))
    target = pages[0].path
    special = [
        _redirect("/moved", 301, "/moved-again"),
        _redirect("/moved-again", 302, target),
        *(_redirect(f"/to-{n}", 302, f"http://{host}{pages[n].path}") for n, host in enumerate(addresses)),
        _redirect("/round", 302, "/round"),
        _redirect("/to-router", 302, "http://192.168.0.1/admin"),
        _redirect("/to-encyclopedia", 302, "https://en.wikipedia.org/wiki/Reddit"),
        _page("/broken", "Broken", ["This server has a bad day."], status=500),
        _page("/gone", "Gone", ["There was something here once."], status=410),
        _page("/private/diary", *documents[1 % len(documents)]),
        _page("/no-training", *documents[2 % len(documents)], headers={"X-Robots-Tag": "noai"}),
        WebPage(path="/data", body=b'{"answer": 42}', content_type="application/json"),
        WebPage(path=ROBOTS, body=b"User-agent: *\nDisallow: /private/\n", content_type="text/plain"),
    ]
    # Each special case is to be seen, so none of them falls to low karma.
    return pages + [dataclasses.replace(page, karma=50) for page in special]


def _path(number: int, title: str) -> str:
    return f"/{number:04d}/{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}"


def _page(
    path: str,
    title: str,
    paragraphs: Sequence[str],
    *,
    site: str = "The Manual",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> WebPage:
    """Dress a text as a web page: navigation, header, teasers and footer around it."""
    text = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    links = "".join(
        f'<li><a href="/{name}">{name.title()}</a></li>' for name in ("home", "news", "topics", "about")
    )
    body = f"""<!doctype html>
<html><head><meta charset="utf-8"><title>{html.escape(title)} - {site}</title>
<script>var tracker = {{"page": "{path}"}};</script><style>nav li {{ display: inline }}</style></head>
<body><nav><ul>{links}</ul></nav>
<header><h1>{site}</h1><form action="/search"><input name="q"><button>Search</button></form></header>
<main><article><h2>{html.escape(title)}</h2>
{text}
<p>{CLOSING}</p>
</article></main>
<aside><h3>Read on</h3><ul><li><a href="/a">Ten things</a></li><li><a href="/b">Sign up</a></li></ul></aside>
<footer><p>Copyright {site}. Terms, privacy, cookies.</p></footer></body></html>"""
    return WebPage(path=path, body=body.encode(), status=status, headers=headers or {})


def _redirect(path: str, status: int, location: str) -> WebPage:
    return WebPage(path=path, body=b"", status=status, headers={"Location": location})


# --- server ---


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up, as crawlers do."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class EmbeddedWeb:
    """HTTP servers on a few loopback addresses that all answer with the same pages. Use it in a `with`."""

    def __init__(self) -> None:
        self.requests: list[str] = []  # every path that was asked for
        self._pages: dict[str, WebPage] = {}
        self._servers: list[ThreadingHTTPServer] = []

    @property
    def addresses(self) -> list[str]:
        """Where the web is: `127.0.0.1:40001` and so on."""
        return [f"{server.server_address[0]!s}:{server.server_port}" for server in self._servers]

    def __enter__(self) -> Self:
        handler = _handler(self._pages, self.requests)
        for number in range(1, HOSTS + 1):
            try:
                self._servers.append(_Server((f"127.0.0.{number}", 0), handler))
            except OSError:  # not every system answers on all of 127.0.0.0/8
                break
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def serve(self, pages: Sequence[WebPage]) -> None:
        """Answer with these pages from now on."""
        self._pages.update({page.path: page for page in pages})


def _handler(pages: Mapping[str, WebPage], requests: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            requests.append(self.path)
            path = self.path.partition("?")[0]
            page = pages.get(path) or _page(path, "Not found", ["There is no such page."], status=404)
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing: the fetch log has it all."""

    return Handler


# --- dump ---


def write_dump(path: Path, pages: Sequence[WebPage], addresses: Sequence[str]) -> int:
    """Write a zstd-compressed dump in Reddit's layout that links to the pages; return its submissions."""
    import zstandard

    chance = random.Random(20171231)
    links = []
    for page in (page for page in pages if page.path != ROBOTS):
        karma = chance.choice(SCORES) if page.karma is None else page.karma
        links.append((f"http://{chance.choice(addresses)}{page.path}", karma))
    web = [url for url, _ in links]
    links += [(f"{url}?utm_source=reddit&utm_medium=social", 7) for url in chance.sample(web, len(web) // 10)]
    links += [(f"{url}#comments", 2) for url in chance.sample(web, len(web) // 20)]
    links += [
        ("https://en.wikipedia.org/wiki/Web_crawler", 50),
        ("https://de.m.wikipedia.org/wiki/Suchmaschine", 12),
        (f"http://{addresses[0]}/figures/plot.png", 30),
        ("https://i.imgur.com/abcdefg.jpg", 4000),
        ("https://www.youtube.com/watch?v=abcdefghijk", 900),
        ("http://10.0.0.1/status", 9),
        ("http://192.168.1.1/", 5),
        ("http://169.254.169.254/latest/meta-data/", 77),
        ("http://0x7f.1:9/", 3),
        ("ftp://example.org/pub/README", 6),
        ("/r/python/comments/abc/relative/", 8),
        ("https://www.reddit.com/r/python/", 15),
        ("javascript:alert(1)", 4),
        ("http://[broken", 4),
        ("", 3),
    ]
    submissions = [_submission(number, url, score) for number, (url, score) in enumerate(links)]
    submissions += [_submission(len(links) + number, "", 20, is_self=True) for number in range(40)]
    chance.shuffle(submissions)
    lines = [json.dumps(submission) for submission in submissions]
    lines.insert(len(lines) // 2, '{"id": "cut", "url": "http://example.org/')
    path.write_bytes(zstandard.compress("\n".join(lines).encode() + b"\n"))
    return len(lines)


def _submission(number: int, url: str, score: int, *, is_self: bool = False) -> dict[str, Any]:
    name = f"{number + 1_000_000:x}"
    permalink = f"/r/manuals/comments/{name}/"
    return {
        "id": name,
        "url": f"https://www.reddit.com{permalink}" if is_self else url,
        "score": score,
        "title": f"Submission {number}",
        "subreddit": "manuals",
        "created_utc": 1_500_000_000 + 60 * number,
        "is_self": is_self,
        "over_18": False,
        "author": "demo",
        "permalink": permalink,
        "num_comments": score // 3,
    }
