"""Mends what old pages do to HTML, so that text stands in blocks, where extractors look for it."""

import re
from typing import TYPE_CHECKING

from pipeline.extract.code_blocks import mark_code
from pipeline.extract.shaping import shape

if TYPE_CHECKING:
    from lxml.html import HtmlElement

# What follows the end tags is the body's to a browser, and lost to libxml2. For browsers without frames
# `<noframes>` was the page; others take what is in it for text, tags and all.
_MISUNDERSTOOD = re.compile(r"<(?:/(?:body|html)[^<>]*>|(/?)noframes\b)", re.IGNORECASE)

CELL_CHARACTERS = 200  # a table is layout if a cell has so much text
_BLOCKS = ("p", "pre", "div", "table", "ul", "ol", "blockquote", "h1", "h2", "h3", "br")
_TABLE = ("table", "tbody", "thead", "tfoot", "tr", "td", "th")


def mend_source(page: str) -> str:
    """Return a page whose tags mean to a parser what they mean to a browser."""
    return _MISUNDERSTOOD.sub(lambda tag: "" if tag[1] is None else f"<{tag[1]}div", page)


def mend_tree(tree: "HtmlElement") -> None:
    """Make tables that are layout into blocks, and take into an article what stands right behind it.

    Preformatted text is marked, so that it keeps its lines and spaces. Then the rest is shaped.
    """
    from lxml.etree import SubElement

    mark_code(tree)
    shape(tree)
    for article in tree.iter("article"):
        if article.tail and article.tail.strip():  # one end tag too many
            behind = SubElement(article, "p")
            behind.text, article.tail = article.tail, None
    for table in [table for table in tree.iter("table") if _is_layout(table)]:
        for element in [table, *_parts(table)]:
            is_paragraph = element.tag in ("td", "th") and next(element.iter(*_BLOCKS), None) is None
            element.tag = "p" if is_paragraph else "div"


def _is_layout(table: "HtmlElement") -> bool:
    """Say whether a table arranges a page: a cell of it holds blocks, and much text; or it holds code."""
    cells = [part for part in _parts(table) if part.tag in ("td", "th")]
    return any(cell.find(".//pre") is not None for cell in cells) or any(
        (len("".join(cell.itertext())) >= CELL_CHARACTERS and next(cell.iter(*_BLOCKS), None) is not None)
        or len("".join(cell.itertext())) >= 2 * CELL_CHARACTERS
        for cell in cells
    )


def _parts(table: "HtmlElement") -> "list[HtmlElement]":
    """Return a table's rows and cells, not those of tables within it."""
    found, waiting = [], list(table)
    while waiting:
        part = waiting.pop()
        if part.tag in _TABLE and part.tag != "table":
            found.append(part)
            if part.tag not in ("td", "th"):
                waiting.extend(part)
    return found
