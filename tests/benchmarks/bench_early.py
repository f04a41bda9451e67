"""What it saves to extract pages while others are still being fetched: a web with one slow domain.

    python tests/benchmarks/bench_early.py
    python tests/benchmarks/bench_early.py --pages 3000 --crawl-delay-s 10
    python tests/benchmarks/bench_early.py --pages 900 --copies 1 --slow-pages 0    # the demo's pages

Builds the same corpus from a web on loopback, first with all pages fetched before the first is extracted,
then with `--extract-early`. One domain asks for a delay between requests, and so is crawled long after the
others. A third build is killed in the middle, once pages are extracted, and goes on. Prints the seconds of
the first two, and checks that all three made the same bytes.
"""

import argparse
import dataclasses
import hashlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from launch.demo_site.web import ROBOTS, EmbeddedWeb, WebPage, build_pages, write_dump  # noqa: E402


def main() -> None:
    """Build both, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=1_500)
    parser.add_argument("--copies", type=int, default=20, help="of each page's paragraphs: longer pages")
    parser.add_argument("--slow-pages", type=int, default=12)
    parser.add_argument("--crawl-delay-s", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="early") as name, EmbeddedWeb() as web:
        folder = Path(name)
        pages = [_longer(page, options.copies) for page in build_pages(options.pages, web.addresses)]
        web.serve(pages)
        write_dump(folder / "RS_1.zst", pages, web.addresses)
        slow = [page for page in pages if page.body.startswith(b"<!") and page.status == 200]
        slow = [dataclasses.replace(page, karma=50) for page in slow[: options.slow_pages]]
        address = _serve_slowly(slow, options.crawl_delay_s)
        write_dump(folder / "RS_2.zst", slow, [address])
        size_mb = sum(len(page.body) for page in pages) / 1e6
        print(f"{len(pages)} pages, {size_mb:.0f} MB; and {len(slow)} on a domain that is slow")
        seconds = {}
        for early in (False, True):
            output = folder / f"early-{early}"
            started = time.monotonic()
            printed = _build(folder, output, early)
            seconds[early] = time.monotonic() - started
            stages = re.findall(r"^(pages|documents) .*?([\d.]+) s", printed, re.MULTILINE)
            told = ", ".join(f"{stage} {took} s" for stage, took in stages)
            print(
                f"{'--extract-early' if early else '--no-extract-early':<20}{seconds[early]:6.1f} s ({told})"
            )
        _kill_and_go_on(folder, folder / "killed")
        made = {_digest(folder / name) for name in ("early-False", "early-True", "killed")}
        told = "the same bytes, after a kill too" if len(made) == 1 else "OTHER BYTES"
        print(f"saved {1 - seconds[True] / seconds[False]:.0%}; {told}")
        sys.exit(len(made) != 1)


def _kill_and_go_on(dumps: Path, output: Path) -> None:
    """Kill a build with all its processes as soon as it has extracted something early, and start it again."""
    process = subprocess.Popen(
        _command(dumps, output, True), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not any(output.glob("documents/store/early/*/*/*")):
        time.sleep(0.1)
    is_early = process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True) if is_early else []
    for child in children:
        child.kill()
    process.kill()
    process.wait()
    if not is_early:
        sys.exit("nothing was extracted early")
    _build(dumps, output, True)


def _serve_slowly(pages: Sequence[WebPage], crawl_delay_s: int) -> str:
    """Serve pages, well liked all, at an address whose robots.txt asks for a delay; return the address."""
    bodies = {page.path: page.body for page in pages}
    bodies[ROBOTS] = f"User-agent: *\nCrawl-delay: {crawl_delay_s}\n".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/plain" if self.path == ROBOTS else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.1.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.1.1:{server.server_port}"


def _longer(page: WebPage, copies: int) -> WebPage:
    """Return a page with its paragraphs said again and again, so that to extract it takes its time."""
    if page.path == ROBOTS or b"<p>" not in page.body:
        return page
    start, end = page.body.index(b"<p>"), page.body.rindex(b"</p>") + 4
    said = page.body[start:end]
    more = b"".join(said.replace(b"<p>", b"<p>Again, %d: " % number) for number in range(copies))
    return dataclasses.replace(page, body=page.body[:end] + more + page.body[end:])


def _build(dumps: Path, output: Path, early: bool) -> str:
    done = subprocess.run(
        _command(dumps, output, early), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr


def _command(dumps: Path, output: Path, early: bool) -> list[str]:
    command = [
        sys.executable, "pipeline/build_webtext.py",
        "--submissions", dumps / "RS_1.zst", dumps / "RS_2.zst", "--output", output,
        "--contact", "https://example.org/outbound-bench", "--allow-networks", "127.0.0.0/8",
        "--partitions", "8", "--delay-s", "0.01", "--segment-s", "5",
        "--extract-early" if early else "--no-extract-early",
    ]  # fmt: skip
    return list(map(str, command))


def _digest(output: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted((output / "corpus").rglob("*.parquet")):
        digest.update(path.relative_to(output).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
