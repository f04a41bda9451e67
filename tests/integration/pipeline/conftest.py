"""What the runner's tests share: a made-up web as files, and an S3 server behind a line that can be cut."""

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_web import all_files, write_web


@pytest.fixture(scope="session")
def web_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dumps and archives of about sixty pages."""
    folder = tmp_path_factory.mktemp("web")
    write_web(folder, 40)
    return folder


@pytest.fixture(scope="session")
def six_partitions(ray: None, web_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a build of these files in six partitions, on one machine, undisturbed."""
    from pipeline.build_webtext import Options, main

    output = tmp_path_factory.mktemp("six")
    dumps, archives = (f"{web_files}/RS_*.zst",), (f"{web_files}/pages-*.warc.gz",)
    main(Options(submissions=dumps, warcs=archives, partitions=6, output=str(output)))
    return output


@pytest.fixture(scope="session")
def built_in_six(six_partitions: Path) -> dict[str, bytes]:
    """The corpus folder of that build."""
    return all_files(six_partitions / "corpus")


class Line(socketserver.ThreadingTCPServer):
    """Passes connections on to a server. It can be cut, and made to lose every so-manieth connection."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.is_cut = False
        self.loses_each: int | None = None
        self.puts = 0
        self.cut_after_puts: int | None = None
        self.lost = 0
        self._connections = 0
        super().__init__(("127.0.0.1", port), _Connection)

    def takes(self) -> bool:
        """Say whether the next connection is passed on."""
        self._connections += 1
        loses = self.is_cut or (self.loses_each is not None and self._connections % self.loses_each == 0)
        self.lost += loses
        return not loses

    def heard(self, request: bytes) -> None:
        """Count what is written; cut the line in the middle of it if that is what was asked for."""
        self.puts += request.startswith(b"PUT ")
        if self.cut_after_puts is not None and self.puts >= self.cut_after_puts:
            self.is_cut = True


class _Connection(socketserver.BaseRequestHandler):
    server: Line

    def handle(self) -> None:
        if not self.server.takes():
            return
        with socket.create_connection(("127.0.0.1", self.server.target)) as server:
            threading.Thread(target=self._pass, args=(server, self.request, False), daemon=True).start()
            self._pass(self.request, server, True)

    def _pass(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if is_request:
                    self.server.heard(data)
                if self.server.is_cut:
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
            source.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def s3_server(ray_folder: None) -> Iterator[Line]:
    """An S3 server in a process of its own, at the address that `AWS_ENDPOINT_URL` names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert server.poll() is None and time.monotonic() < deadline, "the S3 server does not start"
        time.sleep(0.05)
    with Line(int(os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]), port) as line:
        threading.Thread(target=line.serve_forever, daemon=True).start()
        yield line
        line.shutdown()
    server.kill()
    server.wait()


@pytest.fixture
def s3(s3_server: Line, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own."""
    from pipeline.runner import storage

    bucket = f"s3://{request.node.name.replace('_', '-')[:60].strip('-')}"
    filesystem, path = storage.locate(bucket)
    filesystem.mkdir(path)
    yield bucket
    s3_server.is_cut, s3_server.loses_each, s3_server.cut_after_puts = False, None, None
