"""Shapes a page as extractors expect one: an article of paragraphs, in one container, without boxes in it.

Each rule is about a kind of page, and takes time in proportion to it. What they are worth, on pages that
they were not chosen by, is what `tests/benchmarks/cross_validate_extract.py` prints.
"""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import XPath
    from lxml.html import HtmlElement

PROSE_CHARACTERS = 80  # of one run of text
LEAST_RUNS = 2  # of prose in a container: one alone is a caption or a button as often as a paragraph
REPEATED_CHARACTERS = 50  # trafilatura's: a paragraph of more that follows its like is removed
MOST_CONTAINERS = 50  # of one article; more pieces are posts of their own
GALLERY_CHARACTERS = 1_000  # of prose in galleries, and as many outside of them

_CONTAINERS = ("div", "section", "article", "main", "center")
_PHRASES = (
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd mark nobr q s samp small "
    "span strike strong sub sup time tt u var wbr"
)
_PHRASING = frozenset(_PHRASES.split())
_BLOCK_NAMES = (
    "p div section article main table ul ol dl pre blockquote figure form h1 h2 h3 h4 h5 h6 hr script style "
    "noscript iframe video aside nav header footer"
)
_BLOCKS = tuple(_BLOCK_NAMES.split())

# Braille again (`code_blocks.py`): a number between marks, which is in no text.
_MARK, _MARK_END, _DIGIT = "\u28ff\u2803", "\u28ff", 0x2810
REPEAT_MARKS = re.compile("\u28ff\u2803[\u2810-\u2819]+\u28ff")

_BOXES = ("div", "section", "ul", "ol")
_GALLERY = re.compile(r"(?:^|[ _-])(?:gallery|slideshow)(?:[ _-]|$)", re.IGNORECASE)
_PLAYER = re.compile(r"(?:^| )(?:video-js|jwplayer|mejs-container|plyr)(?: |$)")


def shape(tree: "HtmlElement") -> None:
    """Apply all rules to a page."""
    for rule in RULES:
        rule(tree)


def wrap_runs(tree: "HtmlElement") -> None:
    """Make paragraphs of text that stands in a container by itself, between blocks and double line breaks.

    Browsers show such text as a paragraph; extractors look for `<p>`.
    """
    wrapped: dict[HtmlElement, set[str | None]] = defaultdict(set)
    for container in _with_long_texts(tree):
        texts = (container.text, *(child.tail for child in container))
        runs = sum(len(text.strip()) >= PROSE_CHARACTERS for text in texts if text)
        if runs >= LEAST_RUNS and _is_divided(container):
            _wrap(container)
            if (parent := container.getparent()) is not None:
                wrapped[parent].add(container.get("class"))
    for parent, classes in wrapped.items():  # containers like these are paragraphs, too: else these alone are
        for other in parent.iterchildren("div"):
            if other.get("class") in classes and next(other.iterdescendants(*_BLOCKS), None) is None:
                other.tag = "p"


def _with_long_texts(tree: "HtmlElement") -> "list[HtmlElement]":
    return [
        container
        for container in tree.iter(*_CONTAINERS)
        if _is_long(container.text) or any(_is_long(child.tail) for child in container)
    ]


def _is_long(text: str | None) -> bool:
    return text is not None and len(text) >= PROSE_CHARACTERS


def _is_divided(container: "HtmlElement") -> bool:
    """Say whether there is a block in a container, or two line breaks with nothing between."""
    after_break = False
    for child in container:
        if child.tag not in _PHRASING or (child.tag == "br" and after_break):
            return True
        after_break = child.tag == "br" and not (child.tail or "").strip()
    return False


def _wrap(container: "HtmlElement") -> None:
    """Put each run of text and phrases in a container into a paragraph of its own."""
    children = list(container)
    texts = [container.text, *(child.tail for child in children)]
    container.text = None
    for child in children:
        container.remove(child)
        child.tail = None
    paragraph = _with_text(container, None, texts[0])
    for child, text in zip(children, texts[1:], strict=True):
        if child.tag == "br":
            is_second = paragraph is not None and len(paragraph) and paragraph[-1].tag == "br"
            if paragraph is not None and is_second and not (paragraph[-1].tail or "").strip():
                paragraph = None
            elif paragraph is not None:
                paragraph.append(child)
        elif child.tag in _PHRASING and next(child.iter(*_BLOCKS), None) is None:
            if paragraph is None:
                paragraph = _paragraph(container)
            paragraph.append(child)
        else:
            container.append(child)
            paragraph = None
        paragraph = _with_text(container, paragraph, text)


def _with_text(
    container: "HtmlElement", paragraph: "HtmlElement | None", text: str | None
) -> "HtmlElement | None":
    """Add text to a paragraph, a new one if there is none and the text is more than space."""
    if text and (paragraph is not None or text.strip()):
        if paragraph is None:
            paragraph = _paragraph(container)
        _append_text(paragraph, text)
    return paragraph


def _paragraph(container: "HtmlElement") -> "HtmlElement":
    from lxml.etree import SubElement

    paragraph: HtmlElement = SubElement(container, "p")
    return paragraph


def _append_text(element: "HtmlElement", text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def mark_repeats(tree: "HtmlElement") -> None:
    """Mark paragraphs that a container has twice, for trafilatura takes the second for its own mistake."""
    alike: dict[tuple[HtmlElement | None, str | None], list[HtmlElement]] = defaultdict(list)
    for paragraph in tree.iter("p", "div"):
        if paragraph.tag == "p" or not len(paragraph):
            alike[paragraph.getparent(), paragraph.text].append(paragraph)
    for paragraphs in alike.values():
        seen: Counter[str] = Counter()
        for paragraph in paragraphs if len(paragraphs) > 1 else ():
            text = " ".join("".join(paragraph.itertext()).split())
            if seen[text] and len(text) > REPEATED_CHARACTERS:
                digits = "".join(chr(_DIGIT + int(digit)) for digit in str(seen[text]))
                _append_text(paragraph, f"{_MARK}{digits}{_MARK_END}")
            seen[text] += 1


def widen_body(tree: "HtmlElement") -> None:
    """Have an article taken whole whose text is in several containers of one class, with boxes between.

    trafilatura would take the first of them for the article.
    """
    from trafilatura.xpaths import BODY_XPATH

    if tree.find(".//article") is None:
        return
    first = next(iter(BODY_XPATH[0](tree)), None)
    article = None if first is None else next(first.iterancestors("article"), None)
    if first is None or article is None or not (name := first.get("class")):
        return
    named = (element for element in article.iter(first.tag) if element.get("class") == name)
    alike = [element for element in islice(named, MOST_CONTAINERS) if _has_prose(element)]
    around = set(alike[-1].iterancestors()) if alike else set()
    if len(alike) > 1 and first not in around:
        whole = next(element for element in first.iterancestors() if element in around)
        whole.set("itemprop", "articleBody")  # which trafilatura looks for


def _has_prose(container: "HtmlElement") -> bool:
    return any(len("".join(part.itertext())) >= PROSE_CHARACTERS for part in container.iter("p"))


def keep_quotes(tree: "HtmlElement") -> None:
    """Have what an article quotes from elsewhere (posts, tweets) stay, though it is embedded."""
    for quote in tree.iter("blockquote"):
        for wrapper in islice(quote.iterancestors(), 2):
            if wrapper.tag == "figure" or (wrapper.tag == "div" and "embed" in wrapper.get("class", "")):
                wrapper.tag = "div"
                wrapper.attrib.pop("class", None)


def drop_galleries(tree: "HtmlElement") -> None:
    """Remove galleries with stories of their own from an article; those that are the article stay."""
    galleries = _outermost(tree, _GALLERY)
    inside = sum(map(_paragraph_characters, galleries))
    if inside >= GALLERY_CHARACTERS and _paragraph_characters(tree) - inside >= GALLERY_CHARACTERS:
        for gallery in galleries:
            gallery.drop_tree()


def drop_players(tree: "HtmlElement") -> None:
    """Remove the controls, settings and messages of video players."""
    for player in _outermost(tree, _PLAYER):
        player.drop_tree()


def _outermost(tree: "HtmlElement", name: re.Pattern[str]) -> "list[HtmlElement]":
    """Return the boxes of a class that stand in no other of it."""
    found: list[HtmlElement] = []
    inside: set[HtmlElement] = set()
    answers: dict[str, bool] = {}  # a page has few classes
    for element in tree.iterdescendants(*_BOXES):  # faster than XPath, which asks for one tag after another
        if not (names := element.get("class")):
            continue
        if (answer := answers.get(names)) is None:
            answer = answers[names] = name.search(names) is not None
        if answer and element not in inside:
            found.append(element)
            inside.update(element.iter(*_BOXES))
    return found


def _paragraph_characters(element: "HtmlElement") -> int:
    return sum(map(len, _paragraph_texts()(element)))


@functools.cache
def _paragraph_texts() -> "XPath":
    from lxml.etree import XPath

    return XPath(".//text()[ancestor::p]", smart_strings=False)


RULES: tuple[Callable[["HtmlElement"], None], ...] = (
    drop_players, drop_galleries, wrap_runs, mark_repeats, widen_body, keep_quotes,
)  # fmt: skip
