"""What becomes of one page: decoded, asked whether it opts out or is Wikipedia's, and its text taken out.

All that strangers' bytes decide the cost of happens in here, so that one deadline is for all of it.
"""

import dataclasses
from datetime import date

from pipeline.extract.extraction import Extraction, ExtractOptions, extract_text
from pipeline.filters.wikipedia import REASON as WIKIPEDIA
from pipeline.filters.wikipedia import is_declared_in_html
from pipeline.runner.drops import Drop
from pipeline.web.optout import meta_opt_out
from pipeline.web.page import Page, decoded


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageOptions:
    """How pages become documents. Pages of given archives may opt out as those of a crawl may."""

    extract: ExtractOptions
    languages: tuple[str, ...]
    respect_opt_outs: bool
    drop_wikipedia: bool


def read_text(page: Page, options: PageOptions) -> Extraction | Drop:
    """Return what a page says, or why it is not wanted; a function for the sandbox.

    Args:
        page: its body as it is stored in an archive.
        options: what is wanted.
    """
    found = decoded(page)
    if isinstance(found, Drop):
        return found
    if options.respect_opt_outs and (opt_out := meta_opt_out(found.body)):
        return Drop(opt_out.reason, detail=opt_out.where)
    if options.drop_wikipedia and is_declared_in_html(found.body):
        return Drop(WIKIPEDIA, detail="by its licence")
    return extract_text(found.body, page.charset, day_of(page), options.languages, options.extract.prefilter)


def day_of(page: Page) -> date | None:
    """Return the day on which a page was fetched, or None if the archive does not say."""
    return page.date.date() if page.date.timestamp() else None
