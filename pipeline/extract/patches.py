"""The same text from trafilatura in 0.6 of the time.

Much of trafilatura's time goes into asking about elements, in a dozen walks and four copies of the tree:
so it gets a tree without those that it removes in any case, and is kept from asking for what is not there.
"""

import functools
import re
from collections.abc import Callable
from copy import copy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.extract.searches import REGEXP_NAMESPACE, Search
from pipeline.extract.survey import Survey

if TYPE_CHECKING:
    from lxml.etree import XPath
    from lxml.html import HtmlElement
    from trafilatura.settings import Extractor

FORUM = "DiscussionForumPosting"
"""What trafilatura looks for in a page's scripts: in forums, comments are content."""

# Of the elements that trafilatura cleans away, those that it looks into first.
_JUDGED = frozenset({"form", "figure", "math"})
_SCRIPTS = frozenset({"head", "script"})

SURVEY = Survey()
"""Of trafilatura's searches in a page, while it extracts: it adds no attributes that they ask for."""
_SURVEYED = (
    "RAW_TREE_PRUNE_XPATH", "REMOVE_COMMENTS_AND_LISTS_XPATH", "REMOVE_COMMENTS_XPATH", "BODY_XPATH",
    "OVERALL_DISCARD_XPATH", "DISCARD_IMAGE_ELEMENTS", "TEASER_DISCARD_XPATH", "PRECISION_DISCARD_XPATH",
)  # fmt: skip

_HEADING = re.compile(r"\bh\d\b")  # jusText's

_TEST = re.compile(r"re:test\((@[\w-]+(?:\|@[\w-]+)?), *('[^']*'(?:, *'\w+')?)\)")


def thinned(tree: "HtmlElement", *, is_forum: bool) -> "HtmlElement":
    """Return a copy of a page without the elements that trafilatura's cleaning removes wherever they are.

    For its precise mode only: the others measure the whole page. One thing differs: trafilatura stops
    removing a kind of element where two of that kind are nested, and leaves those that follow.
    """
    from lxml.etree import strip_elements
    from trafilatura.settings import MANUALLY_CLEANED

    thin = copy(tree)
    kept = _JUDGED | _SCRIPTS if is_forum else _JUDGED
    strip_elements(thin, *(tag for tag in MANUALLY_CLEANED if tag not in kept), with_tail=False)
    return thin


def quicken_expressions() -> None:
    """Put faster searches of the same meaning into trafilatura's lists of expressions."""
    from trafilatura import xpaths

    baseline: Any = import_module("trafilatura.baseline")  # the package has a function of this name
    for expressions in vars(xpaths).values():
        if isinstance(expressions, list):
            expressions[:] = quickened([each.path for each in expressions])
    (baseline.BASIC_CLEAN_XPATH,) = quickened([baseline.BASIC_CLEAN_XPATH.path])
    for search in (search for name in _SURVEYED for search in vars(xpaths)[name]):
        if isinstance(search, Search):
            SURVEY.add(search)


def quickened(paths: list[str]) -> "list[Search | XPath]":
    """Return searches for a list of XPath expressions: one walk for all, one for each, or XPath itself.

    What one of them finds in what another has removed makes no difference, since it is gone already. Those
    that end with their first element are for one after another.
    """
    try:
        return [Search("|".join(paths))]
    except ValueError:
        return [_quickened(path) for path in paths]


def _quickened(path: str) -> "Search | XPath":
    from lxml.etree import XPath

    try:
        return Search(path)
    except ValueError:
        return XPath(guarded(path), namespaces={"re": REGEXP_NAMESPACE})


def guarded(path: str) -> str:
    """Return an XPath expression that tests attributes only where they are: of none, all tests are false.

    A regular expression in XPath is a call back into Python, which trafilatura makes for `@id` and `@class`
    of every element, while few have an `id` and many have neither.
    """
    return _TEST.sub(r"(\1 and re:test(string(\1), \2))", path)


def save_copies() -> None:
    """Have trafilatura copy a page no more often than its mode needs."""
    from trafilatura import core

    core._prepare_tree = _prepare_tree


def _prepare_tree(
    tree: "HtmlElement", options: "Extractor", url: str | None
) -> "tuple[HtmlElement, HtmlElement]":
    """Clean and convert a page; return it, and as it was between, which the fast modes have no use for.

    Nor have they for the page itself, but for the balanced mode, which measures it afterwards.
    """
    from trafilatura import htmlprocessing
    from trafilatura.htmlprocessing import convert_tags, tree_cleaning
    from trafilatura.settings import MANUALLY_CLEANED

    there = {element.tag for element in tree.iter(*MANUALLY_CLEANED)} | {"form"}  # in one walk, not in fifty
    htmlprocessing.MANUALLY_CLEANED = [tag for tag in MANUALLY_CLEANED if tag in there]
    is_fast = options.fast and not options.comments
    cleaned = tree_cleaning(tree if is_fast and options.focus != "balanced" else copy(tree), options)
    backup = cleaned if is_fast else copy(cleaned)
    return convert_tags(cleaned, options, url), backup


class OpenElements:
    """What jusText asks of the elements around a paragraph: are they a heading, are they a `select`?

    Its own `PathInfo` writes each of them into two strings for every paragraph: of a page of nested
    elements, that is their number squared.
    """

    xpath = ""  # nobody reads it

    def __init__(self) -> None:
        self._open: list[str] = []
        self._headings = self._selects = 0

    @property
    def dom(self) -> str:
        """A path that answers both as the whole one does."""
        return ".".join(["h1"] * bool(self._headings) + ["select"] * bool(self._selects))

    def append(self, tag: str) -> Self:
        """Go into an element."""
        self._open.append(tag)
        self._count(tag, 1)
        return self

    def pop(self) -> Self:
        """Leave the innermost element."""
        self._count(self._open.pop(), -1)
        return self

    def _count(self, tag: str, number: int) -> None:
        self._headings += number * (_HEADING.search(tag) is not None)
        self._selects += number * ("select" in tag)


def shorten_paths() -> None:
    """Have jusText take time in proportion to a page, however deep its elements."""
    from justext import core

    core.PathInfo = OpenElements


def load_stop_words() -> None:
    """Load jusText's stop words of a hundred languages, once for all children, as one set.

    trafilatura keeps them in a tuple, of which jusText makes a set, which it finds again by all of the words.
    """
    from justext import core
    from trafilatura import external

    words = stop_words()
    make_set = core.define_stoplist
    core.define_stoplist = lambda stoplist: words if stoplist is words else make_set(stoplist)
    external.JT_STOPLIST = words


def stop_words() -> set[str]:
    """Return the words of all of jusText's lists, in lower case: a list is decoded at once, not each word."""
    import justext

    words = set[str]()
    for path in (Path(justext.__file__).parent / "stoplists").glob("*.txt"):
        words.update(path.read_bytes().replace(b"\r", b"\n").decode().lower().split("\n"))
    return words - {""}


PATCHES: tuple[Callable[[], None], ...] = (
    quicken_expressions, save_copies, shorten_paths, load_stop_words,
)  # fmt: skip


@functools.cache
def apply_patches() -> None:
    """Apply them all; once a process."""
    for patch in PATCHES:
        patch()
