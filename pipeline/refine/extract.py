"""The main text of one HTML page, with its title and date, by trafilatura.

`fast=True` skips trafilatura's comparison with two other extractors: on the public article-extraction
benchmark it is a third quicker and no worse. `deduplicate` stays off, since it makes the text of one
page depend on the pages before it.
"""

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from pipeline.records import Drop

if TYPE_CHECKING:
    from lxml.html import HtmlElement


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How text is taken out of pages."""

    extract_deadline_s: float = 20.0
    """Seconds that one page may take; what takes longer is dropped."""
    extract_memory_bytes: int = 2 * 2**30
    """Address space that the extracting process may take."""
    favour_precision: bool = False
    """Keep less of what may be boilerplate."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a page says: its text, a paragraph a line; the rest is empty where the page does not tell."""

    text: str
    title: str
    date: str  # ISO 8601 day
    canonical: str  # the absolute address that the page gives as its own


def extract_text(html: bytes, charset: str, url: str, *, favour_precision: bool = False) -> Extraction | Drop:
    """Extract the main text of an HTML page.

    Args:
        html: the body, decompressed.
        charset: what the HTTP header says of it; empty or wrong is fine, then the page itself is asked.
        url: the page's address, which its relative addresses start from.
        favour_precision: keep less of what may be boilerplate.
    """
    from htmldate import find_date
    from trafilatura import bare_extraction, load_html
    from trafilatura.metadata import examine_meta, extract_title

    if not html.strip():
        return Drop("empty page", url)
    tree = load_html(_decode(html, charset))
    if tree is None:
        return Drop("no text found", url, "not HTML")
    # trafilatura's own metadata costs as much as its text; these two calls cost a twentieth of it.
    date = find_date(tree, extensive_search=False, original_date=True)
    title = examine_meta(tree).title or extract_title(tree)
    canonical = _canonical(tree, url)
    document = bare_extraction(
        tree, url=url, fast=True, include_comments=False, favor_precision=favour_precision, deduplicate=False
    )
    text = (document.text or "").strip() if document is not None else ""
    if not text:
        return Drop("no text found", url)
    # Lone surrogates, which a hostile page can smuggle in, have no UTF-8 form.
    parts = (text, title or "", date or "", canonical)
    return Extraction(*(part.encode("utf-8", "replace").decode() for part in parts))


def _canonical(tree: "HtmlElement", url: str) -> str:
    """Return where a page says that it belongs: its canonical link (RFC 6596), else its `og:url`."""
    links = (
        link.get("href") for link in tree.iter("link") if "canonical" in link.get("rel", "").lower().split()
    )
    cards = (
        meta.get("content") for meta in tree.iter("meta") if meta.get("property", "").lower() == "og:url"
    )
    for address in filter(None, (*links, *cards)):
        base = next((base.get("href") for base in tree.iter("base") if base.get("href")), "")
        try:
            found: str = urljoin(urljoin(url, base.strip()), address.strip())
        except ValueError:  # brackets that hold no IPv6 address
            continue
        if found.startswith(("http://", "https://")):
            return found
    return ""


def _decode(html: bytes, charset: str) -> bytes | str:
    """Decode a page: as UTF-8 if it is that, else by the HTTP header, else leave it to the page's own signs.

    Bytes that are valid UTF-8 hardly ever are anything else, while headers are often wrong; the two
    families that look like UTF-8 and are not (UTF-16 by its zeros, ISO 2022 by its escapes) come first.
    """
    try:
        codec = codecs.lookup(charset)
    except (LookupError, ValueError):
        return html
    try:
        if b"\0" not in html and not codec.name.startswith("iso2022"):
            return html.decode()
    except UnicodeError:
        pass
    try:
        decoded: object = codec.decode(html)[0]
    except (UnicodeError, ValueError):
        return html
    return decoded if isinstance(decoded, str) else html
