"""Records near each other are asked for together, each byte of them, and nothing far from any."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common_crawl.ranges import Pace, Place, RangeError, reader_of, requests_for

PLACES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 500), st.integers(1, 60)), max_size=30)


@given(PLACES, st.integers(0, 40), st.integers(50, 200))
def test_requests_hold_every_record_once_and_no_gap_longer_than_allowed(
    found: list[tuple[str, int, int]], gap: int, most: int
) -> None:
    places = [Place(file, offset, size, number) for number, (file, offset, size) in enumerate(sorted(found))]
    requests = list(requests_for(places, gap, most))
    assert [place for request in requests for place in request.places] == places
    for request in requests:
        assert len(request.places) == 1 or request.end - request.begin <= most + 60
        covered: set[int] = set()
        for place in request.places:
            assert place.file == request.file and request.begin <= place.offset < place.end <= request.end
            covered.update(range(place.offset, place.end))
        missing = [byte for byte in range(request.begin, request.end) if byte not in covered]
        runs = [missing[n : n + gap + 1] for n in range(len(missing) - gap)]
        assert not any(run[-1] - run[0] == gap for run in runs)


def test_local_archive_is_not_left_by_a_name_in_an_index(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.warc.gz").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    reader = reader_of(str(tmp_path / "archive"), 1)
    assert asyncio.run(reader.read("a.warc.gz", 2, 5)) == b"234"
    assert asyncio.run(reader.read("a.warc.gz", 8, 20)) == b"89"
    for name, reason in (("../secret", "archive forbidden"), ("none", "archive file not found")):
        with pytest.raises(RangeError) as caught:
            asyncio.run(reader.read(name, 0, 5))
        assert caught.value.reason == reason


def test_pace_lets_requests_begin_evenly() -> None:
    async def times() -> list[float]:
        pace, loop = Pace(50.0), asyncio.get_running_loop()
        began = []

        async def ask() -> None:
            await pace.wait()
            began.append(loop.time())

        await asyncio.gather(*(ask() for _ in range(10)))
        return began

    began = asyncio.run(times())
    assert began[-1] - began[0] >= 0.95 * 9 / 50


@pytest.fixture
def asked() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    """A server's port, and the path and credentials of each request to it; it answers with "234"."""
    requests: list[tuple[str, str | None]] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers["Authorization"]))
            self.send_response(206)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"234")

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, requests
        server.shutdown()


@pytest.mark.parametrize("place", ["none", "home", "NETRC", "http_proxy"])
def test_proxies_and_netrc_of_the_environment_count(
    place: str,
    asked: tuple[int, list[tuple[str, str | None]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, requests = asked
    for name in ("NETRC", "http_proxy", "HTTP_PROXY", "https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if place in ("home", "NETRC"):
        netrc = tmp_path / (".netrc" if place == "home" else "elsewhere")
        netrc.write_text("machine 127.0.0.1 login ann password secret\n")
        netrc.chmod(0o600)
    if place == "NETRC":
        monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    root = f"http://127.0.0.1:{port}/archive"
    if place == "http_proxy":
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        root = "http://archive.example/archive"

    async def read() -> bytes:
        reader = reader_of(root, 1)
        try:
            return await reader.read("a.warc.gz", 2, 5)
        finally:
            await reader.close()

    assert asyncio.run(read()) == b"234"
    path = f"{root}/a.warc.gz" if place == "http_proxy" else "/archive/a.warc.gz"
    credentials = "Basic YW5uOnNlY3JldA==" if place in ("home", "NETRC") else None
    assert requests == [(path, credentials)]
