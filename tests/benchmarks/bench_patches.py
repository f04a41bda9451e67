"""What each patch of the libraries under extraction saves, and that it changes no text.

    python tests/benchmarks/bench_patches.py [--data FOLDER] [--rounds 3] [--every 1]

Extracts the pages of the archives in the folder in processes of their own: with all patches of
`pipeline/extract/patches.py`, without each, and without any. Prints the processor time without, relative to
the same round's time with all, and how many pages have another text, title, date or address.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

from profile_extract import read_pages

from pipeline.extract import patches
from pipeline.extract.extraction import extract_text
from pipeline.extract.pages import WARM_UP

ALL, NONE = "all", "none"


def extract(folder: Path, every: int, without: str) -> None:
    """Print seconds, and a digest of what each page says, as JSON: the child's part."""
    kept = tuple(patch for patch in patches.PATCHES if without not in (NONE, patch.__name__))
    with mock.patch.object(patches, "PATCHES", kept):
        extract_text(WARM_UP, "")
    pages = read_pages(folder)[::every]
    started = time.process_time()
    found = [extract_text(page.body, page.charset) for page in pages]
    spent = time.process_time() - started
    print(json.dumps([spent, [hashlib.sha256(repr(each).encode()).hexdigest() for each in found]]))


def main() -> None:
    """Print a line for each patch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="which pages: every third, say")
    parser.add_argument("--without", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.without:
        extract(arguments.data, arguments.every, arguments.without)
        return
    if not read_pages(arguments.data):
        sys.exit(f"there are no pages in {arguments.data}: name a folder with pages.warc.gz (--data)")
    names = [ALL, *(patch.__name__ for patch in patches.PATCHES), NONE]
    ratios, digests = defaultdict(list), {}
    for _ in range(arguments.rounds):
        seconds = {}
        for name in names:
            command = [
                sys.executable,
                __file__,
                "--data",
                str(arguments.data),
                "--every",
                str(arguments.every),
            ]
            child = subprocess.run([*command, "--without", name], check=True, capture_output=True, text=True)
            seconds[name], digests[name] = json.loads(child.stdout)
            ratios[name].append(seconds[name] / seconds[ALL])
    print(
        f"{len(digests[ALL])} pages, median of {arguments.rounds} rounds           time   pages that differ"
    )
    for name in names[1:]:
        label = "without any" if name == NONE else f"without {name}"
        ratio = statistics.median(ratios[name])
        spread = f"({min(ratios[name]):.2f} to {max(ratios[name]):.2f})"
        differing = sum(one != other for one, other in zip(digests[name], digests[ALL], strict=True))
        print(f"  {label:<32}{ratio:6.2f} {spread} {differing:6}")


if __name__ == "__main__":
    main()
