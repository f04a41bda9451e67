"""The crawler against Scrapy on one loopback site of 200 hosts, and its memory over ten times the pages.

    python tests/benchmarks/bench_crawl.py [--pages 4000] [--rounds 3] [--scrapy PYTHON]

Both fetch the same pages with robots.txt obeyed, one request at a time to a host and no delay, in turns,
from a server in a process of its own. Ours checks every address, asks for tdmrep.json as well, looks for
opt-outs and compresses each page into a WARC; Scrapy (extra `bench`) appends bare bodies to one file.
"""

import argparse
import asyncio
import html
import importlib.util
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOSTS = 200
PAGE_CHARACTERS = (4_000, 24_000)

SCRAPY_SPIDER = """
import json, sys, time
import scrapy
from scrapy.crawler import CrawlerProcess

class Spider(scrapy.Spider):
    name = "bench"
    links = open(sys.argv[1]).read().split()
    pages = open(sys.argv[2], "wb")
    fetched = 0

    async def start(self):
        for link in self.links:
            yield scrapy.Request(link, callback=self.parse, dont_filter=True)

    def parse(self, response):
        self.pages.write(response.body)
        Spider.fetched += 1

process = CrawlerProcess({
    "LOG_LEVEL": "ERROR", "ROBOTSTXT_OBEY": True, "DOWNLOAD_DELAY": 0, "TELNETCONSOLE_ENABLED": False,
    "CONCURRENT_REQUESTS": 500, "CONCURRENT_REQUESTS_PER_DOMAIN": 1, "AUTOTHROTTLE_ENABLED": False,
    "COOKIES_ENABLED": False,
})
process.crawl(Spider)
started, worked = time.perf_counter(), time.process_time()
process.start()
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
print(json.dumps({"pages": Spider.fetched, "seconds": seconds, "cpu_seconds": cpu_seconds}))
"""

OUR_CRAWL = """
import json, resource, sys, time
from pipeline.crawl.crawler import CrawlOptions, crawl
links = (line.strip() for line in open(sys.argv[1]))
options = CrawlOptions(contact="bench@example.org", delay_s=0.0, allow_networks=("127.0.0.0/8",))
started, worked = time.perf_counter(), time.process_time()
counts = crawl(links, sys.argv[2], options)
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
figures = {"pages": counts.pages, "seconds": seconds, "cpu_seconds": cpu_seconds}
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({**figures, "peak_bytes": peak_bytes}))
"""


class Site(asyncio.Protocol):
    """Answers any GET with one of a few hundred pages, as fast as Python can."""

    pages: tuple[bytes, ...] = ()
    robots = b""
    missing = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        if path.startswith(b"/page/"):
            self._transport.write(self.pages[int(path[6:]) % len(self.pages)])
        else:
            self._transport.write(self.robots if path == b"/robots.txt" else self.missing)


def _answer(status: str, content_type: str, body: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    return head.encode() + body.encode()


def _pages(count: int) -> Iterator[bytes]:
    """Make pages of the standard library's sources, which compress about as real pages do."""
    sources = sorted(Path(json.__file__).parents[1].glob("*.py"))[:100]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    chance = random.Random(0)
    for number in range(count):
        length = chance.randint(*PAGE_CHARACTERS)
        begin = chance.randrange(len(text) - length)
        paragraphs = html.escape(text[begin : begin + length]).split("\n\n")
        body = "".join(f'<p class="text">{paragraph}</p>\n' for paragraph in paragraphs)
        page = f"<html><head><title>Page {number}</title></head><body>{body}</body></html>"
        yield _answer("200 OK", "text/html; charset=utf-8", page)


def serve(port_found: "multiprocessing.Queue[int]") -> None:
    """Serve one port on as many loopback addresses as there are hosts, until killed."""
    Site.pages = tuple(_pages(300))
    Site.robots = _answer("200 OK", "text/plain", "User-agent: *\nDisallow: /private/\n")
    Site.missing = _answer("404 Not Found", "text/plain", "none")

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        first = socket.create_server((_host(0), 0), backlog=1024)
        port = first.getsockname()[1]
        others = [socket.create_server((_host(number), port), backlog=1024) for number in range(1, HOSTS)]
        for listening in (first, *others):
            await loop.create_server(Site, sock=listening)
        port_found.put(port)
        await asyncio.Event().wait()

    asyncio.run(listen())


def _host(number: int) -> str:
    return f"127.0.0.{1 + number % HOSTS}"


def links_to(port: int, pages: int) -> list[str]:
    """Return links to crawl, host by host in turn; an address is a domain of its own."""
    return [f"http://{_host(number)}:{port}/page/{number}" for number in range(pages)]


def run(python: str, script: str, links: list[str]) -> dict[str, Any]:
    """Crawl in a fresh process and return its figures; its start-up is left out."""
    with tempfile.TemporaryDirectory() as name:
        listed, program = Path(name) / "links.txt", Path(name) / "program.py"
        listed.write_text("\n".join(links))
        program.write_text(script)
        command = [python, str(program), str(listed), str(Path(name) / "pages")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["pages"] == len(links), figures
    return figures


def compare_with_scrapy(python: str, port: int, pages: int, rounds: int) -> None:
    """Print pages per second and per second of one core's work, of both, and their ratios.

    The first is what a user sees; the second stays true on a machine that has other work to do.
    """
    links = links_to(port, pages)
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(run(python, SCRAPY_SPIDER, links))
        ours.append(run(sys.executable, OUR_CRAWL, links))
    print(f"{pages:,} pages of {HOSTS} hosts, median of {rounds} rounds:   Scrapy    Outbound    ratio")
    for unit, name in (("seconds", "pages per second"), ("cpu_seconds", "pages per second of CPU")):
        ratios = [other[unit] / mine[unit] for other, mine in zip(theirs, ours, strict=True)]
        rates = [pages / statistics.median(figures[unit] for figures in side) for side in (theirs, ours)]
        spread = f"{statistics.median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:<45}{rates[0]:8,.0f}    {rates[1]:8,.0f} {spread}")


def compare_memory(port: int, pages: int) -> None:
    """Print the crawler's peak memory on some pages and on ten times as many."""
    few = run(sys.executable, OUR_CRAWL, links_to(port, pages))["peak_bytes"]
    many = run(sys.executable, OUR_CRAWL, links_to(port, 10 * pages))["peak_bytes"]
    print(f"peak memory of {pages:,} pages and of {10 * pages:,}:")
    print(f"  {few / 1e6:.0f} MB and {many / 1e6:.0f} MB, ratio {many / few:.2f}")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scrapy", default=sys.executable, help="a Python that has Scrapy")
    arguments = parser.parse_args()
    port_found: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port_found,), daemon=True)
    server.start()
    port = port_found.get(timeout=60)
    if arguments.scrapy != sys.executable or importlib.util.find_spec("scrapy"):
        compare_with_scrapy(arguments.scrapy, port, arguments.pages, arguments.rounds)
    else:
        print("Scrapy is not installed: pip install -e .[bench], or name a Python that has it (--scrapy)")
    compare_memory(port, arguments.pages)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
