"""A real S3 server on loopback, behind a line that can be cut."""

import contextlib
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

OVERLOADED = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Line(socketserver.ThreadingTCPServer):
    """Passes connections on to a server.

    It can be cut, and made to lose every so-manieth connection, to break one in the middle after every
    so-manieth piece of data, or to answer every so-manieth with the error of an overloaded store.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.is_cut = False
        self.loses_each: int | None = None
        self.breaks_each: int | None = None
        self.refuses_each: int | None = None
        self.puts = 0
        self.cut_after_puts: int | None = None
        self.lost = 0
        self._connections = self._pieces = 0
        super().__init__(("127.0.0.1", port), _Connection)

    def takes(self) -> bool:
        """Say whether the next connection is passed on."""
        self._connections += 1
        loses = self.is_cut or (self.loses_each is not None and self._connections % self.loses_each == 0)
        self.lost += loses
        return not loses

    def refuses(self) -> bool:
        """Say whether this connection is answered with an error."""
        refuses = self.refuses_each is not None and self._connections % self.refuses_each == 1
        self.lost += refuses
        return refuses

    def breaks(self) -> bool:
        """Say whether the line breaks in the middle of this piece of data."""
        self._pieces += 1
        breaks = self.breaks_each is not None and self._pieces % self.breaks_each == 0
        self.lost += breaks
        return breaks

    def heal(self) -> None:
        """Pass everything on from now on."""
        self.is_cut = False
        self.loses_each = self.breaks_each = self.refuses_each = self.cut_after_puts = None

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
        if self.server.refuses():
            with contextlib.suppress(OSError):
                self.request.recv(2**16)
                self.request.sendall(OVERLOADED)
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
                if self.server.breaks():
                    target.sendall(data[: len(data) // 2])
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
            source.shutdown(socket.SHUT_RDWR)


@contextmanager
def s3_behind_a_line(port: int) -> Iterator[Line]:
    """Run an S3 server in a process of its own; it is reached at this port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(own)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", own)):
            assert server.poll() is None and time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.05)
        with Line(port, own) as line:
            threading.Thread(target=line.serve_forever, daemon=True).start()
            yield line
            line.shutdown()
    finally:
        server.kill()
        server.wait()
