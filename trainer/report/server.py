"""Shows runs while they go on: a server on loopback that reads their files anew for each request."""

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from trainer.report.page import page, read_runs

RELOAD_S = 5
HOST = "127.0.0.1"  # other machines reach it through ssh -L; there is nothing here that asks who they are


def serve(folders: Sequence[Path], *, port: int) -> None:
    """Serve the page of these runs until interrupted, and print its address.

    Raises:
        ValueError: a folder holds no run, or there are too many.
        OSError: the port is taken.
    """
    with make_server(folders, port=port) as server:
        print(f"http://{HOST}:{server.server_port}/  (Ctrl-C to stop)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_server(folders: Sequence[Path], *, port: int) -> ThreadingHTTPServer:
    """Return the server, which listens already."""
    page(read_runs(folders))  # so that a mistake ends the command
    reading = threading.Lock()  # one page at a time, however often it is asked for

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page of another site could send a browser here under that site's name (DNS rebinding).
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if host not in (HOST, "localhost") or self.path.partition("?")[0] != "/":
                self.send_error(404)
                return
            try:
                with reading:
                    body = page(read_runs(folders), reload_s=RELOAD_S).encode()
            except (ValueError, OSError) as error:
                self.send_error(503, explain=str(error))
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing for a request."""

    return ThreadingHTTPServer((HOST, port), Handler)
