"""The crawler against Scrapy on one loopback site of 200 hosts, and its memory over ten times the pages.

    python tests/benchmarks/bench_crawl.py [--pages 4000] [--rounds 3] [--scrapy PYTHON]

Both fetch the same pages with robots.txt obeyed, one request at a time to a host and no delay, in turns,
from a server in a process of its own. Ours checks every address, asks for tdmrep.json as well, looks for
opt-outs and compresses each page into a WARC; Scrapy (extra `bench`) appends bare bodies to one file.
"""

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HOSTS = 200
PAGE_WORDS = (800, 3_200)  # 5 to 20 kB of HTML
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "was",
    "on",
    "as",
    "with",
    "be",
    "by",
    "at",
    "from",
    "this",
    "have",
    "or",
    "which",
    "one",
    "had",
]

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
started = time.perf_counter()
process.start()
print(json.dumps({"pages": Spider.fetched, "seconds": time.perf_counter() - started}))
"""

OUR_CRAWL = """
import json, resource, sys, time
from pipeline.gather.crawl import CrawlOptions, crawl
links = (line.strip() for line in open(sys.argv[1]))
options = CrawlOptions(contact="bench@example.org", delay_s=0.0, allow_networks=("127.0.0.0/8",))
started = time.perf_counter()
counts = crawl(links, sys.argv[2], options)
seconds = time.perf_counter() - started
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"pages": counts.pages, "seconds": seconds, "peak_bytes": peak_bytes}))
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


def _page(number: int) -> bytes:
    chance = random.Random(number)
    length = chance.randint(*PAGE_WORDS)
    text = " ".join(f"{chance.choice(WORDS)}{chance.randrange(300)}" for _ in range(length))
    html = f"<html><head><title>Page {number}</title></head><body><p>{text}</p></body></html>"
    return _answer("200 OK", "text/html; charset=utf-8", html)


def serve(port_found: "multiprocessing.Queue[int]") -> None:
    """Serve one port on as many loopback addresses as there are hosts, until killed."""
    Site.pages = tuple(_page(number) for number in range(300))
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
    """Print pages per second of both, and their ratio round by round."""
    links = links_to(port, pages)
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(pages / run(python, SCRAPY_SPIDER, links)["seconds"])
        ours.append(pages / run(sys.executable, OUR_CRAWL, links)["seconds"])
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    print(f"{pages:,} pages of {HOSTS} hosts, median of {rounds} rounds:")
    print(f"  Scrapy, bare bodies    {statistics.median(theirs):8,.0f} pages/s")
    print(f"  Outbound, WARC         {statistics.median(ours):8,.0f} pages/s")
    print(
        f"  ratio                  {statistics.median(ratios):8.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
    )


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
    port = port_found.get()
    if arguments.scrapy != sys.executable or importlib.util.find_spec("scrapy"):
        compare_with_scrapy(arguments.scrapy, port, arguments.pages, arguments.rounds)
    else:
        print("Scrapy is not installed: pip install -e .[bench], or name a Python that has it (--scrapy)")
    compare_memory(port, arguments.pages)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
