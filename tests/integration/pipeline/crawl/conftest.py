"""A small web on loopback: made-up hosts, a resolver that knows them, and a log of what they were asked."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

Handler = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    """One request as the server saw it; times are of the server's clock."""

    host: str
    path: str
    headers: dict[str, str]
    started: float
    ended: float = float(
        "inf"
    )  # right before the end of its answer is written: the client cannot know sooner


@dataclass
class Web:
    """Serves hosts by name on one port, each path by a handler or by fixed bytes."""

    port: int = 0
    sites: dict[str, dict[str, bytes | Handler]] = field(default_factory=dict)
    addresses: dict[str, list[list[str]]] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)

    def site(self, host: str, paths: dict[str, bytes | Handler]) -> None:
        """Add a host; it has no robots.txt unless one of its paths is."""
        self.sites.setdefault(host, {}).update(paths)

    def resolve_to(self, host: str, *answers: list[str]) -> None:
        """Let a name have these addresses: the first answer at the first look-up, the last one ever after."""
        self.addresses[host] = list(answers)

    def url(self, host: str, path: str = "/") -> str:
        """Return the address of a path."""
        return f"http://{host}:{self.port}{path}"

    def asked(self, host: str, path: str | None = None) -> list[Asked]:
        """Return the requests that a host got."""
        return [asked for asked in self.log if asked.host == host and path in (None, asked.path)]

    @staticmethod
    def answer(
        body: bytes | str = b"", *headers: str, status: str = "200 OK", kind: str = "text/html"
    ) -> bytes:
        """Return a complete answer."""
        body = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        if kind:
            lines.append(f"Content-Type: {kind}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    @classmethod
    def page(cls, text: str, *headers: str) -> bytes:
        """Return an HTML page."""
        return cls.answer(f"<html><head></head><body><p>{text}</p></body></html>", *headers)

    @classmethod
    def redirect(cls, location: str, status: str = "302 Found") -> bytes:
        """Return a redirect."""
        return cls.answer(b"moved", f"Location: {location}", status=status)

    @classmethod
    def robots(cls, text: str) -> bytes:
        """Return a robots.txt."""
        return cls.answer(text, kind="text/plain")

    def resolver(self) -> AbstractResolver:
        """Return a resolver that knows the web's hosts and no others."""
        return _Resolver(self)

    def crawl(self, links: Iterable[str], folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
        """Crawl with impatient options and return the fetch log's rows by address."""
        from pipeline.crawl.crawler import CrawlOptions, crawl
        from pipeline.crawl.segments import fetch_log

        arguments = {
            name: options.pop(name) for name in ("drop_for", "owns", "tls", "on_progress") if name in options
        }
        crawl(links, folder, CrawlOptions(**{**IMPATIENT, **options}), resolver=self.resolver(), **arguments)
        return {row["url"]: row for row in fetch_log(folder).to_pylist()}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        host = headers["Host"].rpartition(":")[0] or headers["Host"]
        asked = Asked(host, head[0].split(" ")[1], headers, time.monotonic())
        self.log.append(asked)
        answer = self.sites.get(host, {}).get(asked.path, self.answer(b"none", status="404 Not Found"))
        if isinstance(answer, bytes):
            asked.ended = time.monotonic()
            writer.write(answer)
            await writer.drain()
        else:
            await answer(asked, writer)
        return isinstance(answer, bytes) and headers.get("Connection") != "close"


IMPATIENT = {
    "contact": "tests@example.org",
    "delay_s": 0.0,
    "deadline_s": 1.5,
    "robots_deadline_s": 1.0,
    "connect_timeout_s": 1.0,
    "rate_grace_s": 0.3,
    "min_bytes_per_second": 5_000.0,
    "max_compressed_bytes": 100_000,
    "max_decompressed_bytes": 1_000_000,
    "retries": 0,
    "backoff_s": 0.05,
    "allow_networks": ("127.0.0.1/32",),
}


class _Resolver(AbstractResolver):
    def __init__(self, web: Web) -> None:
        self._web = web

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answers = self._web.addresses.get(host, [["127.0.0.1"]] if host in self._web.sites else [])
        if not answers:
            raise OSError(None, f"no such host: {host}")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web of its own for each test file."""
    web = Web()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stopping = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(web.serve, "127.0.0.1", 0, limit=1 << 20)
        web.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await stopping.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait()
    yield web
    loop.call_soon_threadsafe(stopping.set)
    thread.join()
    loop.close()
