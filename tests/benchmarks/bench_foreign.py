"""What `--skip-foreign-captures` saves, and what it loses, on real pages in many languages.

    python tests/benchmarks/bench_foreign.py [--data FOLDER]

Writes pages of the folder's `pages.warc.gz` as a Common Crawl, whose index names up to three languages of
each that CLD2 is sure of, as Common Crawl's own does. Then builds a corpus from a server on loopback, with
and without the option: what is fetched, seconds of the tasks of both stages, and documents that it lost.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pycld2

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "proofs")]

from made_common_crawl import Capture, write_common_crawl, write_dump  # noqa: E402
from range_server import RangeServer, serving  # noqa: E402

from pipeline.common_crawl.languages import three_letter  # noqa: E402
from pipeline.runner.records import Drop  # noqa: E402
from pipeline.web.warc import Page, read_page, scan_pages  # noqa: E402

CRAWL = "CC-MAIN-2018-43"


@dataclass(frozen=True, kw_only=True)
class RealPage(Capture):
    """A capture of a page that was there."""

    page: bytes

    def body(self) -> bytes:
        return self.page


def real_pages(archive: Path) -> list[RealPage]:
    """Return the pages of a WARC file, with the languages that an index would name."""
    found = []
    for record in scan_pages(str(archive)):
        if isinstance(record, Drop):
            continue
        page = read_page(str(archive), record.offset)
        assert isinstance(page, Page)
        content_type = f"text/html; charset={page.charset}" if page.charset else "text/html"
        found.append(
            RealPage(
                url=record.url if "://" in record.url else f"http://{len(found)}.example.com/",
                crawl=CRAWL, page=page.body, content_type=content_type,
                languages=languages_of(page.body),
            )
        )  # fmt: skip
    return found


def languages_of(body: bytes) -> str:
    """Return what CLD2 says of a page: ISO 639-3 codes, the most used first; nothing if it is not sure."""
    text = body.decode("utf-8", "replace")
    text = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", " ", text)
    try:
        reliable, _, details = pycld2.detect(text, isPlainText=False)
    except pycld2.error:
        return ""
    codes: list[str] = []
    for _, code, _, _ in details if reliable else ():
        with contextlib.suppress(ValueError):  # one that has no code of two letters, or "un"
            codes += three_letter([code.partition("-")[0]])
    return ",".join(dict.fromkeys(codes))


def build(server: RangeServer, folder: Path, output: Path, more: Sequence[str]) -> tuple[str, set[str]]:
    """Build a corpus; return a line about it, and the addresses of its documents."""
    server.requests = 0
    server.ranges.clear()
    command = [
        sys.executable, "pipeline/build_webtext.py", "--submissions", folder / "RS_made", "--output", output,
        "--archive-root", server.address, "--common-crawl", CRAWL, "--no-extract-early", *more,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    fetched = ds.dataset(list(output.glob("pages*/*/fetches.parquet"))).to_table()
    size = sum(row["bytes"] for row in fetched.to_pylist() if not row["reason"])
    records = sum(not reason for reason in fetched["reason"].to_pylist())
    told = f"{records:>9,}{size / 1e6:>8.1f}{len(server.ranges):>10}"
    for stage in ("pages_archive", "documents"):
        row = re.search(rf"^{stage} +(?:[\d,]+ +){{5}}[\d.]+ +([\d.]+)", done.stderr, re.MULTILINE)
        assert row is not None, done.stderr
        told += f"{float(row[1]):>11.1f}"
    documents = ds.dataset(list(output.glob("corpus/*/*.parquet"))).to_table(columns=["url"])
    return told, set(documents["url"].to_pylist())


def main() -> None:
    """Build both ways, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    archive = parser.parse_args().data.resolve() / "pages.warc.gz"
    if not archive.exists():
        sys.exit(f"there is no {archive}: name a folder with pages.warc.gz (--data)")
    pages = real_pages(archive)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_common_crawl(folder / "archive", pages)
        write_dump(folder / "RS_made", {page.url: page.at for page in pages})
        foreign = sum(bool(page.languages) and "eng" not in page.languages.split(",") for page in pages)
        print(
            f"{len(pages)} pages; of {sum(bool(page.languages) for page in pages)} the index names languages,"
        )
        print(f"of {foreign} none of them English")
        print(f"{'':<26}{'records':>9}{'MB':>8}{'requests':>10}{'fetch, s':>11}{'extract, s':>11}")
        with serving(folder / "archive") as server:
            told, all_found = build(server, folder, folder / "all", [])
            print(f"{'all':<26}{told}")
            told, found = build(server, folder, folder / "some", ["--skip-foreign-captures"])
            print(f"{'--skip-foreign-captures':<26}{told}")
        print(f"documents: {len(all_found)} and {len(found)}; lost: {', '.join(all_found - found) or 'none'}")


if __name__ == "__main__":
    main()
