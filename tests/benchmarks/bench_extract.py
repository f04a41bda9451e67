"""Extraction: quality beside trafilatura's modes, price of the sandbox, WARC to text against datatrove.

    python tests/benchmarks/bench_extract.py [--data FOLDER] [--rounds 3] [--copies 2] [--datatrove PYTHON]

Wants `pages.warc.gz` and `article_truth.json` (address → the article as a person marked it) in the folder.
F1 is of 4-token shingles, multiset overlap a page, precision and recall averaged over pages. datatrove gets
the same WARC and one worker, with its own reader, extractor (precision, a second a page) and sandbox, but
without its deduplication of paragraphs, from which pages that are there several times would suffer. It wants
an older trafilatura than ours, so it needs a Python of its own, which is set up in a temporary folder from
the package index if none is named.
"""

import argparse
import contextlib
import ctypes
import gzip
import io
import json
import os
import pickle
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fastwarc.warc import WarcRecord, WarcRecordType

from pipeline.extract import extraction as extract
from pipeline.extract.characters import decode
from pipeline.extract.extraction import Extraction, ExtractOptions, extract_text
from pipeline.extract.pages import WARM_UP, PageOptions
from pipeline.extract.patches import FORUM
from pipeline.extract.prefilter import PrefilterOptions, prefilter
from pipeline.extract.sandbox import CallFailure, Sandbox
from pipeline.filters.language import detect_language
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import DOCUMENTS, FETCHES, LINKS, Drop
from pipeline.runner.stages import Task
from pipeline.runner.tables import TableWriter
from pipeline.web.optout import header_opt_out, meta_opt_out
from pipeline.web.warc import Page, read_page, scan_pages

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
DATATROVE_NEEDS = (
    "datatrove==0.10.1",
    "trafilatura<1.12",
    "lxml_html_clean",
    "warcio",
    "faust-cchardet",
    "python-magic",
    "orjson",
)
DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter

reader = WarcReader(sys.argv[1], glob_pattern=sys.argv[2])
steps = [reader, Trafilatura(deduplicate=False), JsonlWriter(sys.argv[3], compression=None)]
LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=sys.argv[3] + "/logs").run()
"""
OURS = """
import dataclasses, pickle, sys
from pipeline.extract.stages import extract_pages
task = pickle.load(sys.stdin.buffer)
extract_pages(dataclasses.replace(task, progress=lambda *_, **__: None))
"""

Texts = Mapping[str, str]


# --- quality ---


def f1(found: Texts, truth: Texts) -> tuple[float, float, float]:
    """Return precision, recall and F1 of texts, by address."""
    precision = recall = 0.0
    for url, text in truth.items():
        ours, marked = shingles(found.get(url, "")), shingles(text)
        overlap = (ours & marked).total()
        precision += overlap / max(1, ours.total())
        recall += overlap / max(1, marked.total())
    precision, recall = precision / len(truth), recall / len(truth)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Return the 4-token shingles of a text, with how often each occurs; of a short one, all of it."""
    tokens = re.findall(r"\w+", text)
    return Counter(tuple(tokens[i : i + 4]) for i in range(max(1, len(tokens) - 3)) if tokens)


def ours(page: Page) -> str:
    """Return a page's text as the pipeline takes it out."""
    found = extract_text(page.body, page.charset)
    return found.text if isinstance(found, Extraction) else ""


def extractors() -> Iterator[tuple[str, Callable[[Page], str]]]:
    """Yield our extraction, trafilatura's modes and resiliparse, each with its name."""
    from resiliparse.extract.html2text import extract_plain_text
    from trafilatura import bare_extraction

    def mode(**options: bool) -> Callable[[Page], str]:
        def text(page: Page) -> str:
            document = bare_extraction(page.body, include_comments=False, **options)
            return (document.text or "") if document else ""

        return text

    yield "Outbound", ours
    yield "trafilatura", mode()
    yield "trafilatura, fast", mode(fast=True)
    yield "trafilatura, favor_precision", mode(favor_precision=True)
    yield "trafilatura, favor_recall", mode(favor_recall=True)
    yield "trafilatura, fast, favor_precision", mode(fast=True, favor_precision=True)
    yield (
        "resiliparse, main content",
        lambda page: extract_plain_text(decode(page.body, page.charset), main_content=True, alt_texts=False),
    )


def compare_quality(pages: Mapping[str, Page], truth: Texts) -> None:
    """Print F1 and speed of each extractor on the pages that a person marked.

    trafilatura's own modes gain by the faster expressions that our extraction has put into it.
    """
    print(f"{len(truth)} marked pages                       precision  recall      F1  pages/s of CPU")
    for name, text in extractors():
        text(next(iter(pages.values())))  # imports
        started = time.process_time()
        found = {url: text(pages[url]) for url in truth}
        rate = len(truth) / (time.process_time() - started)
        print(f"  {name:<38}" + "".join(f"{figure:8.4f}" for figure in f1(found, truth)) + f"{rate:12.1f}")


# --- the price of the sandbox ---


def cpu_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def compare_sandbox(pages: Mapping[str, Page], rounds: int) -> None:
    """Print the sandbox's speed on the same pages and function against a bare loop, round by round."""
    walls, costs = [], []
    bodies = [(page.body, page.charset) for page in pages.values()]
    for _ in range(rounds):
        started, worked = time.perf_counter(), cpu_s()
        for body in bodies:
            extract_text(*body)
        bare = time.perf_counter() - started, cpu_s() - worked
        before = cpu_s()
        with Sandbox(extract_text, (WARM_UP, ""), deadline_s=10.0, memory_bytes=2**30) as sandbox:
            list(sandbox.map([("start", (WARM_UP, ""))]))
            started = time.perf_counter()
            assert not any(
                isinstance(result, CallFailure) for _, result in sandbox.map((0, body) for body in bodies)
            )
            wall = time.perf_counter() - started
        cost = cpu_s() - before
        before = cpu_s()
        with Sandbox(extract_text, (WARM_UP, ""), deadline_s=10.0, memory_bytes=2**30) as sandbox:
            list(sandbox.map([("start", (WARM_UP, ""))]))
        walls.append(bare[0] / wall)
        costs.append(bare[1] / (cost - (cpu_s() - before)))  # once a task: its start is no price a page
    print(f"sandbox against a bare loop over the same {len(bodies)} pages, median of {rounds} rounds")
    print(f"  pages per second                {spread(walls)}")
    print(f"  pages per second of CPU         {spread(costs)}")


def spread(ratios: list[float]) -> str:
    """Return a median with its range."""
    return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# --- where the time goes, and what the cheap look saves ---


def show_steps(archive: Path, offsets: list[int]) -> None:
    """Print MB of pages per second of one core for each step, and its share of the whole."""
    seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        seconds[name] += time.process_time() - started

    size = 0
    with archive.open("rb") as file, tempfile.TemporaryDirectory() as folder:
        writer = TableWriter(Path(folder) / "documents.parquet", DOCUMENTS)
        for offset in offsets:
            with step("read the WARC"):
                page = read_page(file, offset)
            assert isinstance(page, Page)
            size += len(page.body)
            with step("look for opt-outs"):
                header_opt_out(page.headers)
                meta_opt_out(page.body)
            with step("decode"):
                html = decode(page.body, page.charset)
            with step("cheap look"):
                prefilter(html, ("en",), PrefilterOptions())
            with step("parse"):
                tree = extract._parse(html)
            if tree is None:
                continue
            with step("title, date, canonical"):
                extract._title(tree), extract._date(tree, None), extract._canonical(tree)
            with step("main text"):
                text = extract._main_text(tree, is_forum=FORUM in html)
            with step("write Parquet"):
                empty = dict.fromkeys(DOCUMENTS.names)
                writer.write(empty | {"text": text, "url": page.url})
        with step("write Parquet"):
            writer.__exit__(None, None, None)
    whole = sum(seconds.values())
    print(f"{len(offsets)} pages, {size / 1e6:.0f} MB           MB/s per core   share")
    for name, spent in seconds.items():
        print(f"  {name:<32}{size / 1e6 / spent:8.1f} {spent / whole:9.1%}")
    print(f"  {'all':<32}{size / 1e6 / whole:8.1f}")


def show_look(pages: Mapping[str, Page]) -> None:
    """Print how many pages the cheap look drops, the time it saves, and whether it loses a document."""
    refine = RefineOptions()
    dropped = lost = unwanted = 0
    with_look = without = 0.0
    for page in pages.values():
        started = time.process_time()
        found = extract_text(page.body, page.charset)
        between = time.process_time()
        seen = extract_text(page.body, page.charset, None, refine.languages)
        without, with_look = without + between - started, with_look + time.process_time() - between
        kept = isinstance(found, Extraction) and not isinstance(
            judge(found.text, page.url, refine, found.title), Drop
        )
        looked_out = isinstance(seen, Drop) and seen.reason == "other language"
        dropped, lost, unwanted = dropped + looked_out, lost + (looked_out and kept), unwanted + (not kept)
    print(
        f"cheap look: {dropped} of {len(pages)} pages dropped ({unwanted} would be in the end), {lost} lost"
    )
    print(f"  time with it / without           {with_look / without:.2f}")


# --- WARC to text, against datatrove ---


def write_copies(folder: Path, pages: Mapping[str, Page], copies: int) -> tuple[Path, list[str]]:
    """Write a WARC with each page several times over, and the links and fetch log that our stage reads.

    Each copy after the first has an address and words of its own, so that nobody gains by remembering. As
    in Common Crawl's archives, records say that they are HTML: where none does, datatrove asks libmagic,
    which does not recognise a quarter of these pages.
    """
    archive, rows = folder / "copies.warc.gz", []
    with archive.open("wb") as file:
        for number in range(copies):
            for url, page in pages.items():
                address = f"{url}{'&' if '?' in url else '?'}copy={number}" if number else url
                rows.append({"url": address, "reason": "", "archive": str(archive), "offset": file.tell()})
                file.write(html_record(address, page, varied(page.body, number) if number else page.body))
    links = [{"url": row["url"], "domain": row["url"]} for row in rows]
    for name, table, schema in (("links", links, LINKS), ("fetches", rows, FETCHES)):
        pq.write_table(pa.Table.from_pylist(table, schema), folder / f"{name}.parquet")
    return archive, [str(folder / "links.parquet"), str(folder / "fetches.parquet")]


def varied(body: bytes, number: int) -> bytes:
    """Return a page with other words in its title and first paragraph, and bytes of its own at its end."""
    for end in (b"</title>", b"</p>"):
        body = body.replace(end, b" variant%d%s" % (number, end), 1)
    return body + b"<!-- copy %d -->" % number


def html_record(url: str, page: Page, body: bytes) -> bytes:
    """Return a response record, as one gzip member."""
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.record_date = page.date
    record.headers["WARC-Target-URI"] = url
    record.headers["WARC-Identified-Payload-Type"] = "text/html"
    record.is_http = True
    charset = f"; charset={page.charset}" if page.charset else ""
    record.set_bytes_content(f"HTTP/1.1 200 OK\r\nContent-Type: text/html{charset}\r\n\r\n".encode() + body)
    buffer = io.BytesIO()
    record.write(buffer)
    return gzip.compress(buffer.getvalue(), mtime=0)


def timed(command: list[str], standard_input: bytes = b"") -> tuple[float, float]:
    """Run a command; return its seconds by the clock and of processor time, its descendants' with them.

    A sandbox's template outlives the command for a moment: this process becomes its parent and waits for it.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started, worked = time.perf_counter(), cpu_s()
    ended = subprocess.run(command, check=False, input=standard_input, capture_output=True)
    wall = time.perf_counter() - started
    assert ended.returncode == 0, ended.stderr.decode()
    with contextlib.suppress(ChildProcessError):  # there is none left
        while True:
            os.wait()
    return wall, cpu_s() - worked


def run_ours(sources: list[str], languages: tuple[str, ...]) -> tuple[tuple[float, float], Texts]:
    """Run our stage in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        options = PageOptions(
            extract=ExtractOptions(), languages=languages, respect_opt_outs=False, drop_wikipedia=False
        )
        task = Task(
            name="0",
            inputs=sources,
            folder=Path(name),
            options=options,
            progress=print,  # which can be pickled; `OURS` puts another in its place
            notes={},
            store="",
        )
        spent = timed([sys.executable, "-c", OURS], pickle.dumps(task))
        table = pq.read_table(Path(name) / "documents.parquet", columns=["url", "text"])
        return spent, dict(zip(*(table[column].to_pylist() for column in ("url", "text")), strict=True))


def run_datatrove(python: str, archive: Path) -> tuple[tuple[float, float], Texts]:
    """Run datatrove's reader, extractor and writer."""
    with tempfile.TemporaryDirectory() as name:
        spent = timed([python, "-c", DATATROVE, str(archive.parent), archive.name, name])
        texts = {}
        for file in Path(name).glob("*.jsonl"):
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                texts[row["metadata"]["url"].strip("<>")] = row["text"]
        return spent, texts


def compare_datatrove(python: str, pages: Mapping[str, Page], truth: Texts, copies: int, rounds: int) -> None:
    """Print what both make of the same WARC, in documents per second of processor time, start-up included."""
    results: dict[str, list[tuple[float, float]]] = defaultdict(list)
    texts: dict[str, Texts] = {}
    with tempfile.TemporaryDirectory() as name:
        archive, sources = write_copies(Path(name), pages, copies)
        runs = {
            "datatrove": lambda: run_datatrove(python, archive),
            "Outbound, all languages": lambda: run_ours(sources, ()),
            "Outbound, English": lambda: run_ours(sources, ("en",)),
        }
        for _ in range(rounds):
            for side, run in runs.items():
                spent, texts[side] = run()
                results[side].append(spent)
    print(
        f"WARC to text: {len(pages)} pages, each {copies} times with other words; one worker and its start;\n"
        f"median of {rounds} rounds and of their ratios. F1 is of all marked pages, and of those that gave\n"
        "a text. English is what our judge of languages says of both sides' texts: a corpus of English\n"
        "throws the others away; here before they are extracted, where a look at the page can tell.\n"
        "                            F1   of these           per s of CPU (ratio)   per s (ratio)"
    )
    english = {side: sum(detect_language(text)[0] == "en" for text in texts[side].values()) for side in texts}
    for side, spent in results.items():
        given = {url: text for url, text in truth.items() if url in texts[side]}
        print(f"  {side:<23}{f1(texts[side], truth)[2]:8.4f} {f1(texts[side], given)[2]:8.4f}")
        for what, counts in (
            ("texts", {side: len(found) for side, found in texts.items()}),
            ("English texts", english),
        ):
            print(f"    {counts[side]:6,} {what:<36}", end="")
            show_rates(counts[side], spent, counts["datatrove"], results["datatrove"])


def show_rates(
    count: int, spent: list[tuple[float, float]], their_count: int, theirs: list[tuple[float, float]]
) -> None:
    """Print documents per second, by processor time and by the clock, with the ratio to the other side's."""
    for kind in (1, 0):
        rates = [count / seconds[kind] for seconds in spent]
        ratios = [rate / their_count * other[kind] for rate, other in zip(rates, theirs, strict=True)]
        print(f"{statistics.median(rates):10.1f} ({statistics.median(ratios):.2f})", end="")
    print()


def set_up_datatrove(folder: Path) -> str:
    """Make a Python that has datatrove and what it asks for; return its path, or nothing if that fails."""
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *DATATROVE_NEEDS]
    return python if subprocess.run(install, check=False).returncode == 0 else ""


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=beside)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=2, help="of each page, for the run against datatrove")
    parser.add_argument("--datatrove", help="a Python that has it, with " + " ".join(DATATROVE_NEEDS[1:]))
    arguments = parser.parse_args()
    archive = arguments.data.resolve() / "pages.warc.gz"
    if not archive.exists():
        sys.exit(f"there is no {archive}: name a folder with pages.warc.gz and article_truth.json (--data)")
    truth = json.loads((arguments.data / "article_truth.json").read_text(encoding="utf-8"))
    found = {record.url: record.offset for record in scan_pages(str(archive)) if not isinstance(record, Drop)}
    pages = {url: read_page(str(archive), offset) for url, offset in found.items()}
    whole: dict[str, Any] = {url: page for url, page in pages.items() if isinstance(page, Page)}
    offsets = [found[url] for url in whole]
    compare_quality(whole, truth)
    compare_sandbox(whole, arguments.rounds)
    show_steps(archive, offsets)
    show_look(whole)
    with tempfile.TemporaryDirectory() as name:
        python = arguments.datatrove or set_up_datatrove(Path(name))
        if python and shutil.which(python):
            compare_datatrove(python, whole, truth, arguments.copies, arguments.rounds)
        else:
            print("datatrove could not be installed: name a Python that has it (--datatrove)")


if __name__ == "__main__":
    main()
