"""The main text of one HTML page, with its title, date and canonical address, by trafilatura.

trafilatura is asked for precision first. Where that leaves little of a page, it is asked for balance, and
where most of the prose is lost, its slow mode; they are believed if they find much more: further tries that
one page in ten needs. On the pages that the project is measured with this has a higher F1 than any one mode
of trafilatura's (`tests/benchmarks/bench_extract.py`). `deduplicate` stays off, since it makes the text of
one page depend on the pages before it.
"""

import copy
import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pipeline.extract.characters import decode, tidy, tidy_line, utf8_for_parser
from pipeline.extract.mending import mend_source, mend_tree
from pipeline.extract.patches import FORUM, SURVEY, apply_patches, thinned
from pipeline.extract.prefilter import PrefilterOptions, prefilter
from pipeline.runner.drops import Drop
from pipeline.web.urls import LONGEST_ADDRESS

if TYPE_CHECKING:
    from lxml.html import HtmlElement, HTMLParser
    from trafilatura.settings import Extractor

HEAD_CHARACTERS = 4_096  # in which trafilatura looks for what libxml2 would stumble over
TITLE_CHARACTERS = 1_000  # that are kept; no honest title comes near

# trafilatura's own conditions for trying again with more recall
SMALL_TEXT = 3_000  # characters
SMALL_SHARE = 0.2  # of the page's text
MUCH_MORE = 1.5

# when its slow mode, which compares with other extractors, is asked: blocks outside of paragraphs are lost
LOST_SHARE = 0.4  # of the article's prose
PROSE_CHARACTERS = 80  # of one run of text
PROSE_LEVELS = 2  # up from a paragraph, is what holds its article
LEAST_TEXT = 100  # characters; with less, all paragraphs are taken
_NO_PROSE = frozenset(
    {"a", "script", "style", "noscript", "nav", "footer", "form", "select", "textarea", "title"}
)


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How text is taken out of pages."""

    extract_deadline_s: float = 10.0
    """Seconds of processor time that one page may take; what takes longer is dropped."""
    extract_memory_bytes: int = 2**30
    """Memory that one page may take."""
    prefilter: PrefilterOptions = field(default_factory=PrefilterOptions)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a page says: its text, a paragraph a line; the rest is empty where the page does not say."""

    text: str
    title: str
    date: str  # ISO 8601 day
    canonical: str  # the address that the page gives as its own


def extract_text(
    html: bytes,
    charset: str,
    fetched: date | None = None,
    languages: tuple[str, ...] = (),
    options: PrefilterOptions | None = None,
) -> Extraction | Drop:
    """Extract the main text of an HTML page; its canonical address may be relative to the page's own.

    The same arguments give the same result, whatever came before: so exact copies need one extraction.

    Args:
        html: the body, decompressed.
        charset: what the HTTP header says of it; empty or wrong is fine.
        fetched: the day after which no date on the page can be right.
        languages: ISO 639-1 codes of the languages that are wanted; none given are all.
        options: when a page is dropped at first sight for being in others.
    """
    if not html.strip():
        return Drop("empty page")
    page = decode(html, charset)
    if languages and (drop := prefilter(page, languages, options or PrefilterOptions())):
        return drop
    tree = _parse(page)
    if tree is None:
        return Drop("no text found", detail="not HTML")
    title, day, canonical = _title(tree), _date(tree, fetched), _canonical(tree)
    text = _main_text(tree, is_forum=FORUM in page)
    if not text:
        return Drop("no text found")
    if len(canonical) > LONGEST_ADDRESS:
        canonical = ""
    # Lone surrogates, which a hostile page can smuggle in, have no UTF-8 form.
    canonical = canonical.encode("utf-8", "replace").decode()
    return Extraction(text, title[:TITLE_CHARACTERS], day, canonical)


def _parse(page: str) -> "HtmlElement | None":
    """Parse a page as trafilatura does, except that no Python runs for each element (a tenth of the time)."""
    from lxml.etree import LxmlError
    from lxml.html import fromstring
    from trafilatura.utils import is_dubious_html, repair_faulty_html

    beginning = page[:50].lower()
    head_end = page.find("\n", HEAD_CHARACTERS) % (len(page) + 1)  # the whole page, if it is one line
    head = page[:head_end]
    if (repaired := repair_faulty_html(head, beginning)) != head:
        page = repaired + page[head_end:]
    try:
        tree = fromstring(utf8_for_parser(mend_source(page)), parser=_parser())
    except (LxmlError, ValueError):
        return None
    mend_tree(tree)
    return None if is_dubious_html(beginning) and len(tree) < 2 else tree


@functools.cache
def _parser() -> "HTMLParser":
    from lxml.etree import ElementDefaultClassLookup
    from lxml.html import HtmlElement, HTMLParser

    parser = HTMLParser(
        collect_ids=False, default_doctype=False, encoding="utf-8", remove_comments=True, remove_pis=True,
        huge_tree=True,  # or all is lost that stands deeper than 256 elements, or after 10 MB in one of them
    )  # fmt: skip
    parser.set_element_class_lookup(ElementDefaultClassLookup(element=HtmlElement))
    return parser


def _main_text(tree: "HtmlElement", *, is_forum: bool) -> str:
    precise = _trafilatura(thinned(tree, is_forum=is_forum), precision=True)
    is_little = len(precise) < SMALL_TEXT and len(precise) < SMALL_SHARE * _visible_characters(tree)
    text = _better(precise, _trafilatura(copy.copy(tree), precision=False)) if is_little else precise
    if len(text) < LOST_SHARE * _prose_characters(tree, at_least=len(text) / LOST_SHARE):
        text = _better(text, _trafilatura(copy.copy(tree), precision=False, fast=False))
    return text if len(text) >= LEAST_TEXT else _better(text, _baseline(tree))


def _better(found: str, other: str) -> str:
    return other if len(other) > MUCH_MORE * len(found) else found


def _prose_characters(tree: "HtmlElement", at_least: float = 0) -> int:
    """Return how much of an article reads like prose: long runs of text, no links, menus or comments.

    An article's stand together; of a page that has other articles behind it, the longest counts. If all
    long runs are less than is asked for, nobody looks where they stand: then there is none.
    """
    texts = list(_long_texts(tree))
    if sum(len(text) for _, text in texts) < at_least:
        return 0
    amounts: dict[HtmlElement, int] = defaultdict(int)
    known: dict[HtmlElement, bool] = {}
    for block, text in texts:
        if not _has_prose(block, known):
            continue
        for around in itertools.islice(block.iterancestors(), PROSE_LEVELS):
            amounts[around] += len(text.strip())
            above = around.getparent()
            if around.tag == "li" or (
                around.tag == "article" and above is not None and above.tag == "article"
            ):
                break  # a teaser, or another's comment or post
    return max(amounts.values(), default=0)


def _long_texts(tree: "HtmlElement") -> "Iterator[tuple[HtmlElement, str]]":
    """Yield long runs of text, each with the element that it stands in."""
    for element in tree.iter():
        if (text := element.text) and len(text) >= PROSE_CHARACTERS:
            yield element, text
        if (text := element.tail) and len(text) >= PROSE_CHARACTERS and element is not tree:
            yield element.getparent(), text


def _has_prose(element: "HtmlElement", known: "dict[HtmlElement, bool]") -> bool:
    """Say whether text in an element may be an article's, by it and all around it; remember it of each."""
    unknown = []
    at: HtmlElement | None = element
    while at is not None and at not in known:
        unknown.append(at)
        at = at.getparent()
    answer = at is None or known[at]
    for each in reversed(unknown):
        answer = answer and each.tag not in _NO_PROSE
        answer = answer and "comment" not in each.get("class", "") and "comment" not in each.get("id", "")
        known[each] = answer
    return answer


def _visible_characters(tree: "HtmlElement") -> int:
    texts = (tree.text_content(), *(element.text or "" for element in tree.iter("script", "style")))
    whole, *hidden = (len(" ".join(text.split())) for text in texts)
    return whole - sum(hidden)


def _baseline(tree: "HtmlElement") -> str:
    """Return all paragraphs of a page, for one of which nothing else found anything."""
    from trafilatura import baseline

    return tidy(baseline(copy.copy(tree))[1])


def _trafilatura(tree: "HtmlElement", *, precision: bool, fast: bool = True) -> str:
    """Return a page's text as trafilatura's `bare_extraction` does, but without a copy of the tree."""
    from trafilatura.core import trafilatura_sequence
    from trafilatura.xml import xmltotxt

    options = _extractor(precision, fast)
    try:
        with SURVEY:
            body, text, _, _ = trafilatura_sequence(tree, options)
    except (TypeError, ValueError):
        return ""
    return tidy(xmltotxt(body, options.formatting)) if len(text) >= options.min_output_size else ""


@functools.cache
def _extractor(precision: bool, fast: bool) -> "Extractor":
    from trafilatura.settings import Extractor

    apply_patches()
    return Extractor(output_format="python", fast=fast, comments=False, precision=precision, dedup=False)


def _title(tree: "HtmlElement") -> str:
    from trafilatura.metadata import examine_meta, extract_title

    # All of trafilatura's metadata cost as much as its text; these calls cost a twentieth of it.
    return tidy_line(examine_meta(tree).title or extract_title(tree) or "")


def _date(tree: "HtmlElement", fetched: date | None) -> str:
    from htmldate import find_date

    latest: dict[str, Any] = {"max_date": fetched.isoformat()} if fetched else {}
    return find_date(tree, extensive_search=False, original_date=True, **latest) or ""


def _canonical(tree: "HtmlElement") -> str:
    """Return where a page says that it belongs: its canonical link (RFC 6596), else its `og:url`."""
    links = (
        link.get("href") for link in tree.iter("link") if "canonical" in link.get("rel", "").lower().split()
    )
    cards = (
        meta.get("content") for meta in tree.iter("meta") if meta.get("property", "").lower() == "og:url"
    )
    base = next((base.get("href") for base in tree.iter("base") if base.get("href")), "")
    candidates = (absolute(address, base) for address in filter(None, (*links, *cards)))
    return next(filter(None, candidates), "")


def absolute(address: str, base: str) -> str:
    """Return an address of the web by the one that it is relative to; empty if it is none."""
    try:
        found = urljoin(base.strip(), address.strip())
        return found if urlsplit(found).scheme in ("http", "https", "") else ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""
