"""Looking links up in an index such as Common Crawl's, and fetching records, beside other ways to do it.

    python tests/benchmarks/bench_archive.py [--rows 100_000_000] [--files 300] [--links 1_000_000]

The index is made (sorted, gzip, Common Crawl's columns), and so are the links, seven in ten of which it has.
Told: seconds and bytes of our look-up on Ray and of DuckDB's join of the same files, with the same cores;
what one look-up a link takes by cdx_toolkit, from a CDX server on loopback; the memory of a
worker with ten times the links; and records fetched a second from loopback, beside a plain loop and beside
one that verifies and stores as well, by one task and by a task a core, with ratios of CPU time.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import http.client
import http.server
import json
import mmap
import multiprocessing
import multiprocessing.pool
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b32encode
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
PAGES_A_HOST = 200
PARTITIONS = 16
CORES = 2
EPOCH = 1_400_000_000
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
BASE32 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", np.uint8)
Numbers = npt.NDArray[np.int64]


# --- the index ---


def addresses(rows: Numbers) -> tuple[pa.Array, pa.Array]:
    """Return SURTs, which sort as their numbers do, and addresses; each fourth has a query."""
    host, page = rows // PAGES_A_HOST, rows % PAGES_A_HOST
    slug = _slug(rows)
    query = np.where(rows % 4 == 0, "?id=7&page=2", "").astype("S12")
    head = _text(b"com,site%9d)/2014/%3d/", host, page)
    surts = _joined(head, slug, query)
    head = _text(b"http://www.site%9d.com/2014/%3d/", host, page)
    return surts, _joined(head, slug, query)


def _slug(rows: Numbers) -> pa.Array:
    """Letters that a row's number decides: as good as random to a compressor."""
    state = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    letters = np.empty((len(rows), 26), np.uint8)
    for place in range(26):
        state = (state ^ (state >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        letters[:, place] = LETTERS[(state >> np.uint64(40)) % np.uint64(26)]
    letters[:, [5, 11, 18]] = ord("-")
    return _strings(letters)


def _text(template: bytes, *numbers: Numbers) -> pa.Array:
    """Fill numbers into a template, each with the digits that its `%Nd` says."""
    parts = template.split(b"%")
    widths = [int(part[:1]) for part in parts[1:]]
    line = parts[0] + b"".join(b"0" * width + part[2:] for width, part in zip(widths, parts[1:], strict=True))
    cells = np.tile(np.frombuffer(line, np.uint8), (len(numbers[0]), 1))
    at = len(parts[0])
    for width, part, values in zip(widths, parts[1:], numbers, strict=True):
        for place in range(width):
            cells[:, at + place] += (values // 10 ** (width - 1 - place) % 10).astype(np.uint8)
        at += width + len(part) - 2
    return _strings(cells)


def _strings(cells: npt.NDArray[np.uint8]) -> pa.Array:
    rows, width = cells.shape
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    return pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(np.ascontiguousarray(cells)))


def _joined(*parts: Any) -> pa.Array:
    parts = tuple(pa.array(part.astype(str)) if isinstance(part, np.ndarray) else part for part in parts)
    return pc.binary_join_element_wise(*parts, "")


def write_index(folder: Path, rows: int, files: int) -> None:
    """Write the files of an index, a worker a core."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, rows, files + 1).astype(int).tolist()
    jobs = [(folder, number, bounds[number], bounds[number + 1]) for number in range(files)]
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        pool.starmap(_write_file, jobs)


def _write_file(folder: Path, number: int, first: int, end: int) -> None:
    path = folder / f"part-{number:05d}.c000.gz.parquet"
    if path.exists():
        return
    chance = np.random.default_rng(number)
    count = end - first
    surts, urls = addresses(np.arange(first, end))
    repeated = pa.array([0] * count, pa.int32())
    table = pa.table(
        {
            "url_surtkey": surts,
            "url": urls,
            "fetch_time": pa.array(EPOCH * 1000 + chance.integers(0, 10**10, count)).cast(
                pa.timestamp("ms", "UTC")
            ),
            "fetch_status": pa.array(np.full(count, 200, np.int16)),
            "fetch_redirect": pa.nulls(count, pa.string()),
            "content_digest": _strings(BASE32[chance.integers(0, 32, (count, 32), dtype=np.uint8)]),
            "content_mime_type": pa.DictionaryArray.from_arrays(repeated, pa.array(["text/html"])),
            "content_mime_detected": pa.DictionaryArray.from_arrays(repeated, pa.array(["text/html"])),
            "content_languages": pa.DictionaryArray.from_arrays(
                pa.array(chance.integers(0, 3, count, dtype=np.int32)), pa.array(["eng", "deu", "fra,eng"])
            ),
            "content_truncated": pa.nulls(count, pa.string()),
            "warc_filename": pa.DictionaryArray.from_arrays(
                pa.array(chance.integers(0, 2_000, count, dtype=np.int32)), _file_names()
            ),
            "warc_record_offset": pa.array(chance.integers(0, 10**9, count, dtype=np.int32)),
            "warc_record_length": pa.array(chance.integers(500, 50_000, count, dtype=np.int32)),
        }
    )
    unfinished = path.with_suffix(".partial")
    pq.write_table(table, unfinished, compression="gzip", compression_level=1, row_group_size=200_000)
    unfinished.rename(path)


def _file_names() -> pa.Array:
    folder = "crawl-data/CC-MAIN-2014-41/segments/1410657102753.15/warc"
    name = folder + "/CC-MAIN-20140914011142-{:05d}-ip-10.warc.gz"
    return pa.array([name.format(number) for number in range(2_000)])


# --- the links ---


def write_links(folder: Path, rows: int, links: int) -> list[Path]:
    """Write links in partitions, as the links' stage does: most have their page in the index, once."""
    from pipeline.runner.records import LINKS

    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(links)
    chosen = np.sort(chance.choice(rows, min(links, rows), replace=False))
    chosen = np.where(chance.random(len(chosen)) < 0.7, chosen, chosen + rows)
    paths = []
    for number in range(PARTITIONS):
        part = chosen[number::PARTITIONS]
        _, urls = addresses(part)
        count = len(part)
        columns = {
            "url": urls, "domain": pa.array(["x"] * count), "karma": pa.array([3] * count, pa.int32()),
            "submissions": pa.array([1] * count, pa.int32()),
            "first_seen": pa.array(np.full(count, EPOCH)).cast(pa.timestamp("s", "UTC")),
            "subreddit": pa.array(["r"] * count), "title": pa.array([""] * count),
            "submission_id": pa.array(["a"] * count),
        }  # fmt: skip
        folder_of = folder / f"{number:05d}"
        folder_of.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns, schema=LINKS), folder_of / "links.parquet", compression="zstd")
        paths.append(folder_of / "links.parquet")
    return paths


# --- our look-up ---


def timed_look_up(task: Any) -> Any:
    """Look up, and note how long that kept a core busy: the machine may have other work."""
    from pipeline.common_crawl.stages import look_up

    started = time.process_time()
    counts = look_up(task)
    task.notes["cpu"] = time.process_time() - started
    return counts


def look_up_on_ray(index: Path, links: list[Path], output: Path) -> dict[str, float]:
    """Look links up on Ray, and return seconds and bytes."""
    from pipeline.common_crawl.captures import Wanted
    from pipeline.common_crawl.index_batch import IndexTally
    from pipeline.common_crawl.sought import SOUGHT_FILE
    from pipeline.common_crawl.stages import seek_links
    from pipeline.runner.executor import run_stage
    from pipeline.runner.stages import InputFile, Stage

    files = sorted(index.iterdir())
    step = min(16, max(1, len(files) // (4 * CORES)))
    inputs = {path.parent.name: [InputFile.of(str(path))] for path in links}
    sought = run_stage(Stage(name="sought", work=seek_links), inputs, str(output))
    ours = sought.files(SOUGHT_FILE)
    parts = {
        f"{number:05d}": [*ours, *(InputFile.of(str(path)) for path in files[number : number + step])]
        for number in range(0, len(files), step)
    }
    found = run_stage(Stage(name="lookup", work=timed_look_up, options=Wanted()), parts, str(output))
    tally = IndexTally()
    cpu = sum(partition.notes["cpu"] for partition in found.partitions)
    for partition in found.partitions:
        tally.add(IndexTally(**partition.notes["index"]))
    print(f"  {tally}")
    return {
        "seconds": found.seconds, "sorting": sought.seconds, "cpu": cpu,
        "bytes": tally.bytes_read, "captures": found.counts.kept,
    }  # fmt: skip


DUCKDB = """
import json, sys, time
import duckdb
index, sought, output, cores = sys.argv[1:]
connection = duckdb.connect(config={"threads": int(cores)})
read = lambda: int(open("/proc/self/io").read().split("rchar: ")[1].split()[0])
started, worked, before = time.perf_counter(), time.process_time(), read()
connection.execute(f'''
    COPY (
        SELECT l.link, l.key, l.first_seen, i.url, i.fetch_time, i.fetch_status, i.fetch_redirect,
               i.content_digest, i.content_mime_type, i.content_mime_detected, i.content_languages,
               i.content_truncated, i.warc_filename, i.warc_record_offset, i.warc_record_length
        FROM read_parquet('{index}/*.parquet') i JOIN read_parquet('{sought}') l ON i.url_surtkey = l.surt
    ) TO '{output}' (FORMAT parquet, COMPRESSION zstd)
''')
seconds, cpu = time.perf_counter() - started, time.process_time() - worked
captures = connection.execute(f"SELECT count(*) FROM read_parquet('{output}')").fetchone()[0]
print(json.dumps({"seconds": seconds, "bytes": read() - before, "captures": captures, "cpu": cpu}))
"""


def join_in_duckdb(index: Path, output: Path) -> dict[str, float]:
    """Join the same files in DuckDB, in a process of its own; the SURTs of the links are given to it."""
    sought = f"{output}/sought/*/sought.parquet"
    command = [sys.executable, "-c", DUCKDB, str(index), sought, str(output / "duckdb.parquet"), str(CORES)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # after its progress bar
    return figures


def compare_joins(index: Path, links: list[Path], folder: Path, rounds: int) -> float:
    """Print both joins' figures; return our seconds."""
    import ray

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    ray.init(
        address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    ours, theirs = [], []
    for number in range(rounds):
        output = folder / f"lookup-{number}"
        ours.append(look_up_on_ray(index, links, output))
        theirs.append(join_in_duckdb(index, output))
        shutil.rmtree(output)
    ray.shutdown()
    mine, other = min(ours, key=lambda f: f["seconds"]), min(theirs, key=lambda f: f["seconds"])
    assert abs(mine["captures"] - other["captures"]) <= 0.001 * other["captures"], (mine, other)
    found = int(mine["captures"])
    print(f"{found:,} captures found     ours on Ray      DuckDB    ratio (above 1: ours is less)")
    for name, unit, scale in (("seconds", "s", 1), ("cpu", "CPU s", 1), ("bytes", "MB read", 1e6)):
        ratio = other[name] / mine[name]
        print(f"  {unit:<24}{mine[name] / scale:>12,.1f}{other[name] / scale:>12,.1f}{ratio:>9.2f}")
    print(f"  sorting the links by SURT: {mine['sorting']:.1f} s more, of which DuckDB was spared")
    return mine["seconds"]


# --- one look-up a link ---


class ZipNum:
    """A ZipNum index in one file: gzip members of 3,000 lines, and the SURTs that they begin with."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._blocks: list[tuple[int, int]] = []
        self._firsts: list[str] = []
        surts, urls = (column.to_pylist() for column in addresses(np.arange(lines)))
        fields = {"mime": "text/html", "status": "200", "digest": "A" * 32, "length": "9", "offset": "9"}
        with path.open("wb") as file:
            for first in range(0, lines, 3_000):
                rows = zip(surts[first : first + 3_000], urls[first : first + 3_000], strict=True)
                text = "".join(
                    f"{surt} 20140914000000 {json.dumps({'url': url, **fields, 'filename': 'f' * 100})}\n"
                    for surt, url in rows
                )
                data = gzip.compress(text.encode(), 6)
                self._blocks.append((file.tell(), len(data)))
                self._firsts.append(surts[first])
                file.write(data)

    def lines_of(self, surt: str) -> list[bytes]:
        """Return the lines of a SURT, as a CDX server finds them: it reads and unpacks a block."""
        offset, size = self._blocks[bisect_right(self._firsts, surt) - 1]
        with self._path.open("rb") as file:
            file.seek(offset)
            block = gzip.decompress(file.read(size))
        return [line for line in block.splitlines() if line.startswith(surt.encode() + b" ")]


def serve_cdx(index: ZipNum, port_found: "multiprocessing.Queue[int]") -> None:
    """Answer as pywb's CDX server does, until killed."""
    from pipeline.common_crawl.surt import surt_of

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = parse_qs(urlsplit(self.path).query)["url"][0]
            found = index.lines_of(surt_of(url.partition("://")[2]))
            body = b"\n".join(b"{" + line.partition(b"{")[2] for line in found)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port_found.put(server.server_port)
    server.serve_forever()


def look_up_one_by_one(folder: Path, lines: int, links: int, seconds: float, all_links: int) -> None:
    """Print what one look-up a link costs by cdx_toolkit from a server on loopback, and its part of it."""
    os.environ["CDXT_DEFAULT_MIN_RETRY_INTERVAL"] = "0"  # else it waits three seconds after each
    from cdx_toolkit import CDXFetcher
    from cdx_toolkit.settings import CC_INDEX_MIN_RETRY_INTERVAL

    index = ZipNum(folder / "cdx-00000.gz", lines)
    chosen = np.random.default_rng(0).choice(lines, links)
    surts, urls = (column.to_pylist() for column in addresses(chosen))
    started = time.perf_counter()
    assert all(len(index.lines_of(surt)) == 1 for surt in surts)
    served = (time.perf_counter() - started) / links
    port_found: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve_cdx, args=(index, port_found), daemon=True)
    server.start()
    fetcher = CDXFetcher(source=f"http://127.0.0.1:{port_found.get(timeout=60)}/cdx")
    started = time.perf_counter()
    assert all([capture["url"] for capture in fetcher.get(url)] == [url] for url in urls)
    each = (time.perf_counter() - started) / links
    server.kill()
    server.join()
    print(f"one look-up a link by cdx_toolkit, from a CDX server on loopback: {1000 * each:.1f} ms,")
    print(f"  of which finding the lines, on the server: {1000 * served:.1f} ms")
    for what, each_s in (
        ("as fast as it can", each),
        ("as it asks Common Crawl", CC_INDEX_MIN_RETRY_INTERVAL),
    ):
        hours, ratio = each_s * all_links / 3600, each_s * all_links / seconds
        print(f"  {what}, for {all_links:,} links {hours:,.1f} h, {ratio:,.0f} times the join's")


# --- memory ---

MEMORY = """
import json, resource, sys
from pathlib import Path
from pipeline.common_crawl.captures import Wanted
from pipeline.common_crawl.stages import look_up
from pipeline.runner.stages import Task
folder, *inputs = sys.argv[1:]
Path(folder).mkdir()
counts = look_up(Task("00000", inputs, Path(folder), Wanted(), lambda *given: None, {}, ""))
print(json.dumps({"kept": counts.kept, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def compare_memory(index: Path, folder: Path, rows: int, links: int) -> None:
    """Print the peak memory of a worker that looks up links, and ten times as many, in the same files."""
    from pipeline.common_crawl.stages import seek_links
    from pipeline.runner.stages import Task

    files = [str(path) for path in sorted(index.iterdir())[:16]]
    peaks = []
    for count in (links, 10 * links):
        sought = []
        for path in write_links(folder / f"links-{count}", rows, count):
            place = folder / f"sought-{count}" / path.parent.name
            place.mkdir(parents=True)
            seek_links(Task(path.parent.name, [str(path)], place, None, lambda *given: None, {}, ""))
            sought.append(str(place / "sought.parquet"))
        command = [sys.executable, "-c", MEMORY, str(folder / f"found-{count}"), *sought, *files]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        figures = json.loads(done.stdout)
        peaks.append(figures["peak"])
        print(f"  {count:>12,} links: {figures['peak'] / 1e6:,.0f} MB, {figures['kept']:,} captures found")
    print(f"memory of a worker with ten times the links: {peaks[1] / peaks[0]:.2f}")


# --- records ---


class Store(asyncio.Protocol):
    """Answers range requests out of one file in memory, some milliseconds after they came."""

    data: bytes | mmap.mmap = b""
    latency_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._held = transport, b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, self._held = self._held.partition(b"\r\n\r\n")
            span = head.lower().split(b"range: bytes=")[1].split(b"\r\n")[0]
            first, last = (int(number) for number in span.split(b"-"))
            body = self.data[first : last + 1]
            answer = (
                b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
            )
            whole = answer % (first, first + len(body) - 1, len(self.data), len(body)) + body
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self._transport.write, whole)
            else:
                self._transport.write(whole)


def serve(path: str, latency_s: float, port_found: "multiprocessing.Queue[int]") -> None:
    """Serve one file until killed."""
    with Path(path).open("rb") as file:
        Store.data, Store.latency_s = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), latency_s

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Store, "127.0.0.1", 0, backlog=256)
        port_found.put(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(listen())


def write_warc(path: Path, records: int, gap: int = 0) -> list[dict[str, Any]]:
    """Write a WARC file of pages of the standard library's sources; return captures of them.

    With a `gap` there are so many bytes before each record, which nobody asks for.
    """
    from pipeline.web.http_head import Response
    from pipeline.web.warc import response_record

    text = "".join(source.read_text() for source in sorted(Path(json.__file__).parents[1].glob("*.py"))[:100])
    chance = random.Random(0)
    captures = []
    with path.open("wb") as file:
        for number in range(records):
            file.seek(gap, os.SEEK_CUR)
            begin = chance.randrange(len(text) - 40_000)
            paragraph = text[begin : begin + chance.randint(5_000, 40_000)]
            body = f"<html><body><p>{paragraph}</p></body></html>".encode()
            url, offset, at = (
                f"http://site.example.com/{number}",
                file.tell(),
                datetime(2014, 9, 14, tzinfo=UTC),
            )
            headers = [(b"Content-Type", b"text/html")]
            file.write(response_record(Response(
                url=url, status=200, phrase="OK", headers=headers, body=body, address="192.0.2.1", at=at
            )))  # fmt: skip
            captures.append({
                "id": url, "link": url, "url": url, "hops": [], "source": "CC", "fetch_time": at,
                "content_digest": b32encode(hashlib.sha1(body).digest()).decode(), "warc_filename": path.name,
                "warc_record_offset": offset, "warc_record_length": file.tell() - offset,
            })  # fmt: skip
    return captures


def plain_loop(port: int, captures: list[dict[str, Any]], output: Path | None = None) -> float:
    """Ask for one record after the other over one connection, decompress it, and return the seconds.

    With `output` it does what a careful script would: verify address, status and digest, and write record and
    log. Ours also knows records that are damaged, chunked or coded, and can be killed at any moment.
    """
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((output / name).open("wb")) for name in ("w", "log")] if output else []
        for capture in captures:
            begin = capture["warc_record_offset"]
            end = begin + capture["warc_record_length"] - 1
            span = {"Range": f"bytes={begin}-{end}"}
            connection.request("GET", f"/{capture['warc_filename']}", headers=span)
            member = connection.getresponse().read()
            record = gzip.decompress(member)
            assert record.startswith(b"WARC/")
            if files:
                _write_verified(capture, member, record, *files)
    return time.perf_counter() - started


def _write_verified(
    capture: dict[str, Any], member: bytes, record: bytes, warc: IO[bytes], log: IO[bytes]
) -> None:
    head, _, block = record.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert headers[b"warc-target-uri"].decode() == capture["url"]
    http_head, _, body = block[: int(headers[b"content-length"])].partition(b"\r\n\r\n")
    assert http_head.split(b" ", 2)[1] == b"200" and b"text/html" in http_head
    assert b32encode(hashlib.sha1(body).digest()).decode() == capture["content_digest"]
    row = {"url": capture["id"], "offset": warc.tell(), "bytes": len(body), "source": capture["source"]}
    log.write(json.dumps(row).encode() + b"\n")
    warc.write(member)


def our_fetch(port: int, captures: list[dict[str, Any]], folder: Path) -> float:
    """Fetch, verify and store the same records as a task does, and return the seconds."""
    from pipeline.common_crawl.fetching import fetch_captures
    from pipeline.common_crawl.options import RecordOptions
    from pipeline.crawl.segments import fetch_log

    options = RecordOptions(
        connections=64, requests_per_second=0, retries=4, backoff_s=1.0, max_body_bytes=2**24,
        max_record_bytes=2**22, warc_bytes=2**30, segment_s=1_800.0,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    started = time.perf_counter()
    fetch_captures(
        captures, f"http://127.0.0.1:{port}", folder, options, lambda *given: "", lambda fetched: None
    )
    seconds = time.perf_counter() - started
    assert set(fetch_log(folder)["reason"].to_pylist()) == {""}
    return seconds


def _timed(way: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds, and the seconds of a core, that a way takes; those of the server are not ours."""
    worked = time.process_time()
    return way(), time.process_time() - worked


HELD: list[dict[str, Any]] = []  # captures, in a process that fetches some of them


def hold(captures: list[dict[str, Any]]) -> None:
    """Keep the captures of which this process fetches a part."""
    HELD.extend(captures)


def fetch_part(port: int, number: int, folder: Path) -> float:
    """Fetch one task's part of the captures, and return the seconds of a core that it takes."""
    worked = time.process_time()
    step = len(HELD) // CORES
    our_fetch(port, HELD[number * step :][:step], folder / f"task-{number}")
    return time.process_time() - worked


def our_tasks(pool: multiprocessing.pool.Pool, port: int, folder: Path) -> tuple[float, float]:
    """Fetch with a task a core, as a build's stage does; return the seconds, and those of cores."""
    started = time.perf_counter()
    cores = pool.starmap(fetch_part, [(port, number, folder) for number in range(CORES)], chunksize=1)
    return time.perf_counter() - started, sum(cores)


def compare_fetches(folder: Path, records: int) -> None:
    """Print records a second, of neighbours and of records far apart, with and without a store's latency."""
    from pipeline.common_crawl.ranges import GAP_BYTES

    print(f"records a second from loopback{'plain loop':>36}{'ours':>10}{'ratio':>8}")
    for name, gap in (("neighbours", 0), ("far apart", GAP_BYTES + 1)):
        path = folder / "pages.warc.gz"
        captures = write_warc(path, records, gap)
        for latency_ms in (0, 20):
            port_found: multiprocessing.Queue[int] = multiprocessing.Queue()
            server = multiprocessing.Process(
                target=serve, args=(str(path), latency_ms / 1000, port_found), daemon=True
            )
            server.start()
            chosen = captures[: min(1_000, records) if latency_ms else records]
            _compare_fetches(folder, port_found.get(timeout=60), chosen, f"{name}, after {latency_ms} ms")
            server.terminate()
            server.join()


def _compare_fetches(folder: Path, port: int, captures: list[dict[str, Any]], what: str) -> None:
    folders = [folder / name for name in ("plain", "segments")]
    for each in folders:
        each.mkdir(exist_ok=True)
    ways = (
        partial(plain_loop, port, captures),
        partial(plain_loop, port, captures, folders[0]),
        partial(our_fetch, port, captures, folders[1]),
    )
    with multiprocessing.get_context("spawn").Pool(CORES, hold, (captures,)) as pool:
        our_tasks(pool, port, folder)  # imports
        rounds = [
            [*(_timed(way) for way in ways), our_tasks(pool, port, folder)]
            for _ in range(1 if "20 ms" in what else 5)
        ]
    (bare, bare_cpu), (full, full_cpu), (ours, ours_cpu), (tasks, tasks_cpu) = np.median(rounds, 0).tolist()
    for beside, theirs, their_cpu, mine, my_cpu in (
        ("plain", bare, bare_cpu, ours, ours_cpu),
        ("verifying", full, full_cpu, ours, ours_cpu),
        (f"plain; {CORES} tasks at once", bare, bare_cpu, tasks, tasks_cpu),
    ):
        rates = f"{len(captures) / theirs:>10,.0f}{len(captures) / mine:>10,.0f}"
        row = f"  {len(captures):,} {what}, {beside}"
        print(f"{row:<56}{rates}{theirs / mine:>8.2f}  CPU {their_cpu / my_cpu:.2f}", flush=True)


def main() -> None:
    """Make the index, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--links", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--records", type=int, default=12_000)
    parser.add_argument("--folder", type=Path, help="keeps the index for another run; some 90 bytes a row")
    parser.add_argument("--parts", nargs="*", default=["joins", "single", "memory", "fetches"])
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = (arguments.folder or folder) / f"index-{arguments.rows}-{arguments.files}"
        seconds = float("nan")
        if {"joins", "memory"} & set(arguments.parts):
            started = time.perf_counter()
            write_index(index, arguments.rows, arguments.files)
            size = sum(path.stat().st_size for path in index.iterdir())
            print(
                f"an index of {arguments.rows:,} rows in {arguments.files} files, {size / 1e9:.1f} GB",
                flush=True,
            )
            print(f"  made in {time.perf_counter() - started:.0f} s; {arguments.links:,} links", flush=True)
        if "joins" in arguments.parts:
            links = write_links(folder / "links", arguments.rows, arguments.links)
            seconds = compare_joins(index, links, folder, arguments.rounds)
        if "single" in arguments.parts:
            look_up_one_by_one(folder, 150_000, 300, seconds, arguments.links)
        if "memory" in arguments.parts:
            compare_memory(index, folder, arguments.rows, arguments.links)
        if "fetches" in arguments.parts:
            compare_fetches(folder, arguments.records)


if __name__ == "__main__":
    main()
