"""The shell of the extracting stage: turn the pages of a partition into documents."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.extract.early import EarlyResults, early_folder
from pipeline.extract.extraction import Extraction
from pipeline.extract.pages import PageExtractor, PageOptions
from pipeline.runner import storage
from pipeline.runner.names import file_name, named
from pipeline.runner.records import DOCUMENTS, LINKS, SOURCE_CRAWL, SOURCE_WARCS, Drop
from pipeline.runner.stages import Counts, Task, output_version, version_of
from pipeline.runner.tables import FilterWriter, read_rows
from pipeline.sources.batches import content_id
from pipeline.web.page import Page
from pipeline.web.warc import read_coded_page

_TABLES = ("links.parquet", "fetches.parquet")
PAGES_AT_ONCE = 1_000  # whose documents are held in memory to bring them into their order


@output_version(9, "trafilatura", "htmldate", "lxml", "resiliparse", "pycld2")
def extract_pages(task: Task) -> Counts:
    """Turn the pages of fetch logs into documents. Inputs: links, fetch logs, archives that these name."""
    options: PageOptions = task.options
    inputs = {name: [address for address in task.inputs if file_name(address) == name] for name in _TABLES}
    links = {
        row["url"]: row for address in inputs["links.parquet"] for row in read_rows(address, LINKS.names)
    }
    places = named([address for address in task.inputs if file_name(address) not in _TABLES])
    fetches = []
    for address in inputs["fetches.parquet"]:
        having_pages = [row for row in read_rows(address) if not row["reason"]]
        fetches += having_pages
        for name in {row["archive"] for row in having_pages} - places.keys():
            places[name] = storage.resolve(address.rpartition("/")[0], name)
    by_url = {row["url"]: row for row in fetches}
    fetches.sort(key=lambda row: row["url"])  # never the order in which the pages happened to come
    early = early_folder(storage.resolve(task.store, "../early"), options, version_of(extract_pages))
    task.notes["early"] = 0
    with (
        EarlyResults(early) as results_there,
        PageExtractor(options) as extractor,
        FilterWriter(task.folder, "documents.parquet", DOCUMENTS) as writer,
    ):
        for start in range(0, len(fetches), PAGES_AT_ONCE):
            batch = fetches[start : start + PAGES_AT_ONCE]
            results = dict(_extracted_early(batch, results_there, task))
            missing = [fetch for fetch in batch if fetch["url"] not in results]
            results |= extractor.extract(_pages(missing, places, task))
            for url, found in sorted(results.items()):
                writer.put(found if isinstance(found, Drop) else _document(found, links[url], by_url[url]))
            drops = (found.reason for found in results.values() if isinstance(found, Drop))
            task.progress(0, dropped=Counter(drops))
    return writer.counts


def _extracted_early(
    fetches: list[dict[str, Any]], early: EarlyResults, task: Task
) -> Iterator[tuple[str, Extraction | Drop]]:
    """Yield what is known already of some pages, with their links' addresses."""
    ordered = sorted(fetches, key=lambda row: (row["archive"], row["offset"]))
    for archive, fetches_there in itertools.groupby(ordered, key=lambda row: row["archive"]):
        by_offset = {fetch["offset"]: fetch for fetch in fetches_there}
        for offset, found in early.find(archive, list(by_offset)):
            fetch = by_offset[offset]
            task.notes["early"] += 1
            task.progress(1, fetch["bytes"])
            if isinstance(found, Drop):
                yield fetch["url"], Drop(found.reason, fetch["url"], found.detail)
            else:
                yield fetch["url"], found


def _pages(
    fetches: list[dict[str, Any]], places: Mapping[str, str], task: Task
) -> Iterator[tuple[str, Page | Drop]]:
    """Read some pages, each archive once and forwards; yield them with their links' addresses."""
    ordered = sorted(fetches, key=lambda row: (row["archive"], row["offset"]))
    for archive, fetches_there in itertools.groupby(ordered, key=lambda row: row["archive"]):
        with storage.open_read(places[archive]) as file:
            for fetch in fetches_there:
                page = read_coded_page(file, fetch["offset"])
                task.progress(1, len(page.body) if isinstance(page, Page) else 0)
                yield fetch["url"], page


def _document(found: Extraction, link: dict[str, Any], fetch: dict[str, Any]) -> dict[str, Any]:
    """Put together what the page says, what is known of its link, and where the page is from."""
    is_crawled = not fetch.get("source") and "/" in fetch["archive"]  # into an archive beside the fetch log
    return {
        "id": content_id(found.text.encode()),
        "text": found.text,
        "url": link["url"],
        "domain": link["domain"],
        "title": found.title,
        "date": found.date,
        "language": "",
        "language_score": 0.0,
        "karma": link["karma"],
        "subreddit": link["subreddit"],
        "first_seen": link["first_seen"],
        "characters": len(found.text),
        "source": fetch.get("source") or (SOURCE_CRAWL if is_crawled else SOURCE_WARCS),
        "captured_at": None if is_crawled else fetch["fetched_at"],
    }
