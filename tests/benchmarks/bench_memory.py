"""Memory of the pipeline's second half, at so many pages and at ten times as many.

    python tests/benchmarks/bench_memory.py

Pages of made-up words are put into archives and built into a corpus, in two partitions each time. Told: the
largest memory that any one worker and any one extracting child ever had (the peak of its resident set, by the
kernel's count), and the ratios. Flat memory is a ratio near 1.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.web.http_head import Response  # noqa: E402  # the packages lie beside `tests`
from pipeline.web.warc import response_record  # noqa: E402  # the packages lie beside `tests`

WORDS_A_PAGE = 800
WORDS = 5_000
ENGLISH = "the of and to in is that it was for on are with as they at be this have"
PARTS = ("worker", "extracting child")


def main() -> None:
    """Build twice, and print both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=250)
    pages = parser.parse_args().pages
    few, many = peaks(pages), peaks(10 * pages)
    print(f"{'peak memory of one':<20}{f'{pages:,} pages':>16}{f'{10 * pages:,} pages':>16}{'ratio':>8}")
    for part in PARTS:
        printed = f"{few[part] / 1e6:>13,.0f} MB{many[part] / 1e6:>13,.0f} MB"
        print(f"{part:<20}{printed}{many[part] / few[part]:>8.2f}")


def peaks(pages: int) -> dict[str, int]:
    """Build a corpus of so many pages; return each part's peak in bytes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        write_archive(Path(folder) / "pages.warc.gz", pages)
        command = [sys.executable, str(ROOT / "pipeline" / "build_webtext.py"), "--partitions", "2"]
        command += ["--warcs", f"{folder}/pages.warc.gz", "--output", f"{folder}/out"]
        environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
        build = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        highest = dict.fromkeys(PARTS, 0)
        while build.poll() is None:
            for child in psutil.Process(build.pid).children(recursive=True):
                part, size_bytes = measure(child.pid)
                if part:
                    highest[part] = max(highest[part], size_bytes)
            time.sleep(0.2)
        if build.returncode:
            sys.exit(f"the build failed: {build.communicate()[1]}")
        assert all(highest.values()), f"nothing seen of some part: {highest}"
        return highest


def measure(pid: int) -> tuple[str, int]:
    """Return what a process is to us, and the peak of its resident set in bytes."""
    try:
        words = psutil.Process(pid).cmdline()
        status = Path(f"/proc/{pid}/status").read_text()
    except (psutil.Error, OSError):  # it has just ended
        return "", 0
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")] or ["VmHWM: 0 kB"]
    size_bytes = int(peak.split()[1]) * 1024
    if words and words[0].startswith("ray::_run_job"):
        return "worker", size_bytes
    is_child = any("pipeline.extract.sandbox" in word for word in words)
    return ("extracting child" if is_child else ""), size_bytes


def write_archive(path: Path, pages: int) -> None:
    """Write pages of random made-up words, with enough English among them to be taken for it."""
    chance = random.Random(0)
    made_up = ["".join(chance.choices("abcdefghilmnoprstuvw", k=chance.randint(3, 9))) for _ in range(WORDS)]
    vocabulary = made_up + ENGLISH.split() * 250
    with path.open("wb") as file:
        for number in range(pages):
            words = chance.choices(vocabulary, k=WORDS_A_PAGE)
            paragraphs = (" ".join(words[start : start + 80]) for start in range(0, WORDS_A_PAGE, 80))
            text = "".join(f"<p>{paragraph.capitalize()}.</p>" for paragraph in paragraphs)
            body = f"<html><body><article><h1>Page {number}</h1>{text}</article></body></html>"
            page = Response(
                url=f"http://www.made-up-{number % 50}.org/{number}", status=200, phrase="OK",
                address="192.0.2.1", headers=[(b"Content-Type", b"text/html")], body=body.encode(),
                at=datetime(2020, 1, 1, tzinfo=UTC),
            )  # fmt: skip
            file.write(response_record(page))


if __name__ == "__main__":
    main()
