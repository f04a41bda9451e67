"""Pages to what they say: opt-outs honoured, exact copies recognised, all that is costly behind a wall."""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pipeline.extract.extraction import Extraction, absolute
from pipeline.extract.reading import PageOptions, day_of, read_text
from pipeline.extract.sandbox import CallFailure, Sandbox
from pipeline.filters.wikipedia import REASON as WIKIPEDIA
from pipeline.filters.wikipedia import is_wikipedia_address
from pipeline.runner.drops import Drop
from pipeline.web.optout import header_opt_out
from pipeline.web.page import Page

__all__ = ["PageExtractor", "PageOptions"]

TIMED_OUT, FAILED = "extraction timed out", "extraction failed"
REMEMBERED_CHARACTERS = 32 * 2**20  # of results, in case a copy of their page comes

SANDBOX_KEPT_S = 10.0  # for the next task of this process
# Makes the extractor import and compile whatever it needs for a page.
WARM_UP = b"""<!DOCTYPE html><html lang="en"><head><title>A first page</title></head><body><article>
<h1>A first page</h1><p>It was published on 1 May 2001, so that the search for a date is warm as well, and it
has a paragraph that is long enough to be taken for one.</p><table><tr><td>1</td><td>2</td></tr></table>
<ul><li>One</li><li>Two</li></ul></article></body></html>"""


_WARM_UP_PAGE = Page(
    url="", status=200, content_type="text/html", charset="", date=datetime(2002, 1, 1, tzinfo=UTC),
    headers=(), body=WARM_UP,
)  # fmt: skip


class PageExtractor:
    """Extracts pages in a sandbox. Use it in a `with`."""

    def __init__(self, options: PageOptions) -> None:
        self._options = options
        self._sandbox = Sandbox(
            read_text,
            (_WARM_UP_PAGE, options),
            deadline_s=options.extract.extract_deadline_s,
            memory_bytes=options.extract.extract_memory_bytes,
            kept_s=SANDBOX_KEPT_S,
        )
        self._copies = _Copies()

    def __enter__(self) -> Self:
        self._sandbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.__exit__(kind, error, trace)

    def extract(self, pages: Iterable[tuple[str, Page | Drop]]) -> Iterator[tuple[str, Extraction | Drop]]:
        """Take pages with their links' addresses; yield for each link what its page says, in any order."""
        settled: list[tuple[str, Extraction | Drop]] = []
        for (url, page_url, key), outcome in self._sandbox.map(self._calls(pages, settled)):
            found = _found(outcome)
            self._copies.put(key, found)
            settled.append((url, self._of_page(found, url, page_url)))
            yield from settled
            settled.clear()
        yield from settled

    def _calls(
        self, pages: Iterable[tuple[str, Page | Drop]], settled: list[tuple[str, Extraction | Drop]]
    ) -> Iterator[tuple[tuple[str, str, bytes], tuple[Any, ...]]]:
        """Yield the calls that the sandbox is to make; the pages that need none go to `settled`."""
        for url, page in pages:
            if (drop := self._drop_for(page)) is not None:
                settled.append((url, Drop(drop.reason, url, drop.detail)))
                continue
            assert isinstance(page, Page)
            key = _key(page)
            if (found := self._copies.get(key)) is not None:
                settled.append((url, self._of_page(found, url, page.url)))
                continue
            yield (url, page.url, key), (page, self._options)

    def _drop_for(self, page: Page | Drop) -> Drop | None:
        """Say why a page is not even to be looked at, or None."""
        if isinstance(page, Drop):
            return page
        if self._options.respect_opt_outs and (opt_out := header_opt_out(page.headers)):
            return Drop(opt_out.reason, detail=opt_out.where)
        if self._options.drop_wikipedia and is_wikipedia_address(page.url):
            return Drop(WIKIPEDIA, detail=page.url)
        return None

    def _of_page(self, found: Extraction | Drop, url: str, page_url: str) -> Extraction | Drop:
        """Bring a result, which may be an exact copy's, together with a page's addresses."""
        if isinstance(found, Drop):
            return Drop(found.reason, url, found.detail)
        canonical = absolute(found.canonical, page_url) if found.canonical else ""
        if self._options.drop_wikipedia and is_wikipedia_address(canonical):
            return Drop(WIKIPEDIA, url, canonical)
        return dataclasses.replace(found, canonical=canonical)


class _Copies:
    """What the latest pages came to, for those that are the same to the byte."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Extraction | Drop] = OrderedDict()
        self._characters = 0

    def get(self, key: bytes) -> Extraction | Drop | None:
        return self._known.get(key)

    def put(self, key: bytes, found: Extraction | Drop) -> None:
        if key in self._known:
            return
        self._known[key] = found
        self._characters += _size(found)
        while self._characters > REMEMBERED_CHARACTERS:
            _, oldest = self._known.popitem(last=False)
            self._characters -= _size(oldest)


def _size(found: Extraction | Drop) -> int:
    return 1_000 + (len(found.text) if isinstance(found, Extraction) else 0)  # an object has a size too


def _key(page: Page) -> bytes:
    """Return a digest of all that an extraction depends on."""
    hints = [
        value for name, value in page.headers if name.lower() in ("content-encoding", "transfer-encoding")
    ]
    return hashlib.sha256(repr((day_of(page), page.charset, hints)).encode() + page.body).digest()


def _found(outcome: Extraction | Drop | CallFailure) -> Extraction | Drop:
    if not isinstance(outcome, CallFailure):
        return outcome
    return Drop(TIMED_OUT if outcome.timed_out else FAILED, detail=outcome.detail)
