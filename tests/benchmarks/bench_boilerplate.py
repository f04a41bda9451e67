"""Boilerplate: what is taken out of real sites, whether it was any page's own, and what the stages cost.

    python tests/benchmarks/bench_boilerplate.py SITE... [--pages 700] [--whole-pages] [--keep FOLDER]
    python tests/benchmarks/bench_boilerplate.py --paragraphs 500000

A SITE is a folder with a tree of HTML pages, and stands for one domain. Debian's packages of documentation
have such trees (`apt-get download git-doc; dpkg -x git-doc_*.deb sites/git-doc`). Of each, up to --pages
pages, spread evenly, are extracted and filtered as in a build, put into four partitions whatever their site
is, and go through the stages. With --whole-pages the text is all that a page shows, with its navigation and
footer, instead of what extraction leaves.

Told of each site: the share of the characters that are in lines which stand on many of its pages (as many as
the thresholds ask for), anywhere, before and after; documents shortened and dropped; and how many lines that
stand on one page only were lost, counted here anew, with another notion of a line than the stages'. Then the
paragraphs that went from most pages.

Without a SITE so many paragraphs of one made-up domain, and four times as many, are counted and trimmed, each
stage in a process of its own: seconds of processor time for a million paragraphs, and the peak of the memory.
"""

import argparse
import dataclasses
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.boilerplate import stages as steps
from pipeline.boilerplate.trimming import BoilerplateOptions
from pipeline.extract.characters import decode, tidy
from pipeline.extract.extraction import extract_text
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.buckets import bucket_file
from pipeline.runner.records import DOCUMENTS, Drop
from pipeline.runner.stages import Task
from pipeline.runner.tables import TableWriter, read_rows

PARTITIONS = 4
LARGEST_PAGE_BYTES = 1_000_000
SHOWN_A_SITE = 4
SHOWN_CHARACTERS = 90
WORDS_A_PARAGRAPH, PARAGRAPHS_A_PAGE = 40, 20
STAGES = ("paragraphs", "near_edges", "runs", "at_edges", "trimmed")
Document = dict[str, Any]


def main() -> None:
    """Measure sites, or what the stages cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sites", nargs="*", type=Path)
    parser.add_argument("--pages", type=int, default=700)
    parser.add_argument("--whole-pages", action="store_true", help="their navigation and footers too")
    parser.add_argument("--keep", type=Path, help="a folder for the texts of the pages, for the next time")
    parser.add_argument("--min-pages", type=int, default=BoilerplateOptions().min_boilerplate_pages)
    parser.add_argument("--min-share", type=float, default=BoilerplateOptions().min_boilerplate_share)
    parser.add_argument("--shown", type=int, default=SHOWN_A_SITE, help="paragraphs of each site")
    parser.add_argument("--paragraphs", type=int, default=500_000)
    parser.add_argument("--work", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], Path(arguments.work[1]))
    elif arguments.sites:
        options = BoilerplateOptions(
            min_boilerplate_pages=arguments.min_pages, min_boilerplate_share=arguments.min_share
        )
        with tempfile.TemporaryDirectory() as name:
            keep = arguments.keep or Path(name)
            texts = {
                site.name: site_documents(site, arguments.pages, arguments.whole_pages, keep)
                for site in arguments.sites
            }
            measure_sites(texts, options, arguments.shown)
    else:
        measure_cost(arguments.paragraphs)


# --- pages ---


def site_documents(site: Path, most: int, whole: bool, keep: Path) -> list[Document]:
    """Return the documents of a site, which are made once for each folder of texts."""
    keep.mkdir(parents=True, exist_ok=True)
    kept = keep / f"{site.name}-{most}{'-whole' if whole else ''}.json"
    if not kept.exists():
        pages = sorted(
            path
            for path in site.rglob("*")
            if path.suffix in (".html", ".htm", ".en") and path.is_file() and not path.is_symlink()
        )
        pages = [path for path in pages if path.stat().st_size <= LARGEST_PAGE_BYTES]
        pages = pages[:: max(1, -(-len(pages) // most))]
        with ProcessPoolExecutor(2) as pool:
            found = pool.map(page_document, pages, [whole] * len(pages), chunksize=8)
            documents = [
                document | {"domain": site.name, "url": f"http://{site.name}/{path.relative_to(site)}"}
                for path, document in zip(pages, found, strict=True)
                if document is not None
            ]
        kept.write_text(json.dumps(documents), encoding="utf-8")
    content: list[Document] = json.loads(kept.read_text(encoding="utf-8"))
    return content


def page_document(path: Path, whole: bool) -> Document | None:
    """Return the text of a page, if it is one that a build would keep."""
    refine = RefineOptions()
    if whole:
        text, title = shown_text(path.read_bytes()), ""
    else:
        found = extract_text(path.read_bytes(), "", None, refine.languages)
        if isinstance(found, Drop):
            return None
        text, title = found.text, found.title
    verdict = judge(text, "", refine, title)
    if isinstance(verdict, Drop):
        return None
    return document(text) | {"title": title, "language": verdict[0], "language_score": verdict[1]}


def shown_text(html: bytes) -> str:
    """Return all that a page shows."""
    from resiliparse.extract.html2text import extract_plain_text

    return tidy(extract_plain_text(decode(html, ""), main_content=False, alt_texts=False))


def document(text: str) -> Document:
    """Return a row of a text."""
    row: Document = dict.fromkeys(DOCUMENTS.names)
    return row | {
        "id": hashlib.sha256(text.encode()).hexdigest()[:32],
        "text": text,
        "title": "",
        "characters": len(text),
    }


# --- the stages ---


def run_stages(documents: Sequence[Document], folder: Path, options: BoilerplateOptions) -> list[Path]:
    """Put documents through the stages; return the folders of the trimmed partitions."""
    texts = []
    for number in range(PARTITIONS):
        texts.append(folder / f"documents-{number}.parquet")
        with TableWriter(texts[-1], DOCUMENTS) as writer:
            for row in documents[number::PARTITIONS]:
                writer.write(row)
    cut = steps.ScatterOptions(paragraphs=options.max_boilerplate_paragraphs, partitions=PARTITIONS)
    limits = steps.CountOptions(pages=options.min_boilerplate_pages, share=options.min_boilerplate_share)
    counted: list[Path] = []
    for turn in range(2):
        scattered = [
            run(steps.scatter_paragraphs, [path, *counted], cut, folder / f"scattered-{turn}-{path.stem}")
            for path in texts
        ]
        counted = []
        for bucket in range(PARTITIONS):
            rows = [path / bucket_file(bucket) for path in scattered if (path / bucket_file(bucket)).exists()]
            place = folder / f"counted-{turn}-{bucket}"
            counted.append(run(steps.count_paragraphs, rows, limits, place) / steps.COUNTED)
    trim = steps.TrimOptions(boilerplate=options, refine=RefineOptions())
    return [
        run(steps.trim_documents, [path, *counted], trim, folder / f"trimmed-{path.stem}") for path in texts
    ]


def run(stage: Any, inputs: Sequence[Path], options: Any, folder: Path) -> Path:
    """Run one task."""
    folder.mkdir()
    stage(Task("0", [str(path) for path in inputs], folder, options, lambda *_: None, {}, ""))
    return folder


# --- sites ---


@dataclass
class Site:
    """What became of one."""

    name: str
    documents: int = 0
    characters: int = 0
    shortened: int = 0
    dropped: int = 0
    repeated_before: int = 0
    repeated_after: int = 0
    taken: int = 0
    lost: int = 0


def line_key(line: str) -> str:
    """Return a line without its case and white space."""
    return "".join(line.lower().split())


def measure_sites(texts: dict[str, list[Document]], options: BoilerplateOptions, shown: int) -> None:
    """Print what the stages do to the sites."""
    with tempfile.TemporaryDirectory() as name:
        everything = [row for documents in texts.values() for row in documents]
        random.Random(0).shuffle(everything)
        folders = run_stages(everything, Path(name), options)
        after = {
            row["url"]: row["text"]
            for path in folders
            for row in read_rows(str(path / "documents.parquet"), ["url", "text"])
        }
        taken = {
            row["url"]: row
            for path in folders
            for row in read_rows(str(path / steps.TAKEN), steps.TAKEN_ROWS.names)
        }
        samples = [row for path in folders for row in read_rows(str(path / steps.REPEATED))]
    print(f"{options.min_boilerplate_pages} pages and {options.min_boilerplate_share:.0%} of a site's")
    print(
        f"{'site':<26}{'documents':>10}{'characters':>12}{'repeated':>10}{'after':>8}"
        f"{'taken':>8}{'shortened':>11}{'dropped':>9}{'own lines lost':>16}"
    )
    sites = [compare(name, documents, after, taken, options) for name, documents in texts.items()]
    for site in [*sites, total(sites)]:
        shares = (site.repeated_before, site.repeated_after, site.taken)
        before, left, gone = (f"{share / max(1, site.characters):.2%}" for share in shares)
        print(
            f"{site.name:<26}{site.documents:>10,}{site.characters:>12,}{before:>10}{left:>8}"
            f"{gone:>8}{site.shortened:>11,}{site.dropped:>9,}{site.lost:>16,}"
        )
    for name in texts if shown else ():
        print(f"\n{name}")
        show(name, samples, shown)


def compare(
    name: str,
    documents: Sequence[Document],
    after: dict[str, str],
    taken: dict[str, Document],
    options: BoilerplateOptions,
) -> Site:
    """Compare the documents of a site before and after."""
    site = Site(name, documents=len(documents))
    pages = Counter(key for text in {row["text"] for row in documents} for key in keys_of(text))
    different = len({row["text"] for row in documents})
    many = max(options.min_boilerplate_pages, options.min_boilerplate_share * different)
    for row in documents:
        text, gone = row["text"], taken.get(row["url"])
        site.characters += len(text)
        site.repeated_before += repeated(text, pages, many)
        left = text
        if gone is not None:
            parts = [gone["beginning"], gone["end"]]
            site.taken += sum(map(len, parts))
            site.shortened += row["url"] in after
            site.dropped += row["url"] not in after
            site.lost += sum(pages[key] == 1 for part in parts for key in keys_of(part))
            left = text.removeprefix(f"{parts[0]}\n").removesuffix(f"\n{parts[1]}" if parts[1] else "")
            assert after.get(row["url"], left) == left, row["url"]
        site.repeated_after += repeated(left, pages, many)
    return site


def keys_of(text: str) -> set[str]:
    """Return the different lines of a text."""
    return {key for key in map(line_key, text.split("\n")) if key}


def repeated(text: str, pages: Counter[str], many: float) -> int:
    """Return how many characters are in lines that stand on many pages."""
    return sum(len(line) for line in text.split("\n") if pages[line_key(line)] >= many)


def total(sites: Sequence[Site]) -> Site:
    """Add the sites up."""
    names = [field.name for field in dataclasses.fields(Site) if field.name != "name"]
    return Site("all", **{name: sum(getattr(site, name) for site in sites) for name in names})


def show(name: str, samples: Sequence[Document], most: int) -> None:
    """Print the paragraphs that went from most of a site's pages."""
    found = Counter[tuple[str, str]]()
    for row in samples:
        if row["domain"] == name:
            found[row["edge"], " / ".join(row["paragraph"].split("\n"))] += row["documents"]
    for (edge, paragraph), pages in found.most_common(most):
        cut = paragraph if len(paragraph) <= SHOWN_CHARACTERS else f"{paragraph[:SHOWN_CHARACTERS]} …"
        print(f"  {pages:>5,}  {edge:<9}  {cut}")


# --- cost ---


def measure_cost(paragraphs: int) -> None:
    """Print seconds and memory of each stage, for one domain of so many paragraphs, and of 4 × as many."""
    print(f"{'paragraphs of one domain':<26}{'stage':<18}{'CPU s per million':>18}{'peak memory':>14}")
    for count in (paragraphs, 4 * paragraphs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with TableWriter(folder / "documents.parquet", DOCUMENTS) as writer:
                for row in made_up(count // PARAGRAPHS_A_PAGE):
                    writer.write(row)
            for stage in STAGES:
                command = [sys.executable, __file__, "--work", stage, str(folder)]
                told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                seconds = told["seconds"] / count * 1e6
                print(f"{count:<26,}{stage:<18}{seconds:>18.1f}{told['bytes'] / 1e6:>11,.0f} MB", flush=True)


def made_up(pages: int) -> Iterator[Document]:
    """Yield pages of one domain: a line at the beginning and three at the end are the same on all."""
    chance = random.Random(0)
    words = ["".join(chance.choices("aeioulmnrst", k=chance.randint(2, 9))) for _ in range(5_000)]
    pool = [f"{' '.join(chance.choices(words, k=WORDS_A_PARAGRAPH)).capitalize()}." for _ in range(3_000)]
    footer = [f"Follow us on {place}, and never miss a story." for place in ("one", "two", "three")]
    for number in range(pages):
        own = [f"{chance.choice(pool)} It was {number} at {place}." for place in range(PARAGRAPHS_A_PAGE - 4)]
        text = "\n".join(["The Daily Example, all the news of the day", *own, *footer])
        yield document(text) | {"url": f"http://example.org/{number}", "domain": "example.org"}


def work(stage: str, folder: Path) -> None:
    """Do one task and print what it took."""
    options, place = BoilerplateOptions(), folder / stage
    cut = steps.ScatterOptions(paragraphs=options.max_boilerplate_paragraphs, partitions=1)
    limits = steps.CountOptions(pages=options.min_boilerplate_pages, share=options.min_boilerplate_share)
    # The filters' benchmarks judge languages; here no word of the text is English.
    trim = steps.TrimOptions(boilerplate=options, refine=RefineOptions(languages=()))
    documents = folder / "documents.parquet"
    started = processor_s()
    match stage:
        case "paragraphs":
            run(steps.scatter_paragraphs, [documents], cut, place)
        case "near_edges":
            run(steps.count_paragraphs, [folder / "paragraphs" / bucket_file(0)], limits, place)
        case "runs":
            run(steps.scatter_paragraphs, [documents, folder / "near_edges" / steps.COUNTED], cut, place)
        case "at_edges":
            run(steps.count_paragraphs, [folder / "runs" / bucket_file(0)], limits, place)
        case "trimmed":
            run(steps.trim_documents, [documents, folder / "at_edges" / steps.COUNTED], trim, place)
            assert all(row["end"].count("\n") == 2 for row in read_rows(str(place / steps.TAKEN)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": processor_s() - started, "bytes": peak}))


def processor_s() -> float:
    """Return this process's seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
