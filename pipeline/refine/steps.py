"""The shell of the refine stages: read a partition, call the pure functions, write a partition."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.gather.optout import header_opt_out, meta_opt_out
from pipeline.gather.warc import Page, read_page
from pipeline.records import DOCUMENTS, LINKS, Drop
from pipeline.refine.extract import Extraction, ExtractOptions, extract_text
from pipeline.refine.quality import RefineOptions, judge
from pipeline.refine.sandbox import Sandbox, SandboxCrashError, SandboxTimeoutError
from pipeline.refine.wikipedia import REASON as WIKIPEDIA
from pipeline.refine.wikipedia import is_declared_in_html, is_wikipedia_address
from pipeline.stages import Counts, Task, edition
from pipeline.tables import Sieve, read_rows

PAGES_AT_ONCE = 1_000  # whose documents are held in memory to bring them into their order


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """How pages become documents. Pages of given archives may opt out as those of a crawl may."""

    extract: ExtractOptions
    respect_opt_outs: bool
    drop_wikipedia: bool


@edition(2, "trafilatura", "htmldate", "lxml")
def extract_pages(task: Task) -> Counts:
    """Turn the pages of a fetch log into documents. Inputs: links, fetch log."""
    links_address, fetches_address = task.inputs
    options: PageOptions = task.options
    links = {row["url"]: row for row in read_rows(links_address, LINKS.names)}
    fetches = [row for row in read_rows(fetches_address) if not row["reason"]]
    fetches.sort(key=lambda row: row["url"])  # never the order in which the pages happened to come
    folder = fetches_address.rpartition("/")[0]
    sandbox = Sandbox(
        extract_text,
        deadline_s=options.extract.extract_deadline_s,
        memory_bytes=options.extract.extract_memory_bytes,
    )
    with sandbox, Sieve(task.folder, "documents.parquet", DOCUMENTS) as sieve:
        for start in range(0, len(fetches), PAGES_AT_ONCE):
            results = {}
            for fetch, page in _pages(fetches[start : start + PAGES_AT_ONCE], folder):
                results[fetch["url"]] = _document(page, links[fetch["url"]], sandbox, options)
                task.progress(1, len(page.body) if isinstance(page, Page) else 0)
            for _, result in sorted(results.items()):
                sieve.put(result)
    return sieve.counts


def _pages(fetches: list[dict[str, Any]], folder: str) -> Iterator[tuple[dict[str, Any], Page | Drop]]:
    """Read some pages, each archive once and forwards."""
    ordered = sorted(fetches, key=lambda row: (row["archive"], row["offset"]))
    for archive, fetches_there in itertools.groupby(ordered, key=lambda row: row["archive"]):
        with storage.open_read(storage.resolve(folder, archive)) as file:
            for fetch in fetches_there:
                yield fetch, read_page(file, fetch["offset"])


def _document(
    page: Page | Drop, link: dict[str, Any], sandbox: Sandbox, options: PageOptions
) -> dict[str, Any] | Drop:
    """Extract one page's text."""
    url = link["url"]
    if isinstance(page, Drop):
        return Drop(page.reason, url, page.detail)
    opt_out = (header_opt_out(page.headers) or meta_opt_out(page.body)) if options.respect_opt_outs else None
    if opt_out is not None:
        return Drop(opt_out.reason, url, opt_out.where)
    if options.drop_wikipedia and is_wikipedia_address(page.url):
        return Drop(WIKIPEDIA, url, page.url)
    if options.drop_wikipedia and is_declared_in_html(page.body):
        return Drop(WIKIPEDIA, url, "by its licence")
    try:
        found = sandbox.call(
            page.body, page.charset, page.url, favour_precision=options.extract.favour_precision
        )
    except SandboxTimeoutError as error:
        return Drop("extraction timed out", url, str(error))
    except SandboxCrashError as error:
        return Drop("extraction failed", url, str(error))
    if isinstance(found, Drop):
        return Drop(found.reason, url, found.detail)
    assert isinstance(found, Extraction)
    if options.drop_wikipedia and is_wikipedia_address(found.canonical):
        return Drop(WIKIPEDIA, url, found.canonical)
    return {
        "id": hashlib.sha256(found.text.encode()).hexdigest()[:32],
        "text": found.text,
        "url": url,
        "domain": link["domain"],
        "title": found.title,
        "date": found.date,
        "language": "",
        "language_score": 0.0,
        "karma": link["karma"],
        "subreddit": link["subreddit"],
        "first_seen": link["first_seen"],
        "characters": len(found.text),
    }


@edition(2, "pycld2")
def refine_documents(task: Task) -> Counts:
    """Keep the documents that pass `judge`, with their language. Input: documents."""
    options: RefineOptions = task.options
    with Sieve(task.folder, "documents.parquet", DOCUMENTS) as sieve:
        for document in read_rows(task.inputs[0], DOCUMENTS.names):
            verdict = judge(document["text"], document["url"], options, document["title"])
            if isinstance(verdict, Drop):
                sieve.put(verdict)
            else:
                document["language"], document["language_score"] = verdict
                sieve.put(document)
            task.progress(1)
    return sieve.counts
