"""Where extraction's time goes, by function.

    python tests/benchmarks/profile_extract.py [--data FOLDER] [--functions 15]

Extracts all pages of `pages.warc.gz` and `reader_pages.warc.gz` in the folder once without and once under
cProfile, which makes calls of Python functions dearer than they are: trust the order more than the shares.
The digest is of all titles, texts, dates and addresses: a change of speed alone leaves it as it is.
"""

import argparse
import cProfile
import hashlib
import pstats
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.extract.extraction import extract_text
from pipeline.runner.records import Drop
from pipeline.web.warc import Page, read_page, scan_pages

ARCHIVES = ("pages.warc.gz", "reader_pages.warc.gz")


def read_pages(folder: Path) -> list[Page]:
    """Return the pages of the archives in a folder."""
    paths = [str(folder / name) for name in ARCHIVES if (folder / name).exists()]
    records = (
        (path, record) for path in paths for record in scan_pages(path) if not isinstance(record, Drop)
    )
    pages = (read_page(path, record.offset) for path, record in records)
    return [page for page in pages if isinstance(page, Page)]


def main() -> None:
    """Print pages per second, the digest and the functions with the most time of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--functions", type=int, default=15)
    arguments = parser.parse_args()
    pages = read_pages(arguments.data)
    if not pages:
        sys.exit(f"there are no pages in {arguments.data}: name a folder with pages.warc.gz (--data)")
    extract_text(pages[0].body, pages[0].charset)  # imports
    started = time.process_time()
    found = [extract_text(page.body, page.charset) for page in pages]
    spent = time.process_time() - started
    digest = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    print(f"{len(pages)} pages, {len(pages) / spent:.1f} a second of CPU, digest {digest}")
    with cProfile.Profile() as profile:
        for page in pages:
            extract_text(page.body, page.charset)
    statistics: Any = pstats.Stats(profile)
    print("  own time  with calls   function")
    rows = sorted(statistics.stats.items(), key=lambda row: -row[1][2])
    for (file, _, name), (_, _, own, with_calls, _) in rows[: arguments.functions]:
        place = "" if file == "~" else f" ({Path(file).stem})"
        shares = own / statistics.total_tt, with_calls / statistics.total_tt
        print(f"  {shares[0]:8.1%}  {shares[1]:10.1%}   {name}{place}")


if __name__ == "__main__":
    main()
