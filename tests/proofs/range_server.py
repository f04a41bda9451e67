"""A folder over HTTP, by ranges, as Common Crawl serves one; it can fail in every way that archives do."""

import functools
import http.server
import itertools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RangeServer(http.server.ThreadingHTTPServer):
    """Serves a folder. What it does wrong is told by its fields."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.requests = 0
        self.ranges: list[tuple[str, int, int]] = []
        self.at: list[float] = []  # when ranges of WARC files were asked for
        self.loses_each: int | None = None  # connections, in the middle of the body
        self.busy_each: int | None = None  # answered with 503
        self.statuses: dict[str, int] = {}  # by a part of the path
        self.ignores_ranges = False
        self.garbage = ""  # a part of the paths whose bytes are others
        self._counter = itertools.count(1)
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder)))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self) -> int:
        with self._lock:
            self.requests = next(self._counter)
            return self.requests


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder until the end of the block."""
    with RangeServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        server, number = self.server, self.server.count()
        path = Path(self.translate_path(self.path))
        failing = next((status for part, status in server.statuses.items() if part in self.path), 0)
        if server.busy_each and number % server.busy_each == 0:
            failing = 503
        if failing or not path.is_file():
            self.send_response(failing or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = path.read_bytes()
        if server.garbage and server.garbage in self.path:
            body = bytes(255 - byte for byte in body)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not server.ignores_ranges:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            if first >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if with_body and path.name.endswith(".warc.gz"):
                server.at.append(time.monotonic())
                server.ranges.append((path.name, first, last + 1))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            body = body[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Accept-Ranges", "none" if server.ignores_ranges else "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        if server.loses_each and number % server.loses_each == 0:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
