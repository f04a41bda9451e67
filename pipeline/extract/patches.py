"""The same text from trafilatura in a fifth less time.

Much of trafilatura's time goes into asking about elements, in a dozen walks and four copies of the tree:
so it gets a tree without those that it removes in any case, and is kept from asking for what is not there.
"""

import functools
import re
from copy import copy
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from lxml.html import HtmlElement

FORUM = "DiscussionForumPosting"
"""What trafilatura looks for in a page's scripts: in forums, comments are content."""

# Of the elements that trafilatura cleans away, those that it looks into first.
_JUDGED = frozenset({"form", "figure", "math"})
_SCRIPTS = frozenset({"head", "script"})

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


@functools.cache
def quicken_expressions() -> None:
    """Put faster expressions of the same meaning into trafilatura's lists of them; once a process.

    A regular expression in XPath is a call back into Python, which trafilatura makes for `@id` and `@class`
    of every element, while few have an `id` and many have neither.
    """
    from lxml.etree import XPath
    from trafilatura import xpaths

    for expressions in vars(xpaths).values():
        if isinstance(expressions, list):
            expressions[:] = [
                XPath(quickened(each.path), namespaces={"re": xpaths.REGEXP_NS}) for each in expressions
            ]


def quickened(path: str) -> str:
    """Return an XPath expression that tests attributes only where they are: of none, all tests are false."""
    return _TEST.sub(r"(\1 and re:test(string(\1), \2))", path)


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


@functools.cache
def shorten_paths() -> None:
    """Have jusText take time in proportion to a page, however deep its elements; once a process."""
    from justext import core

    core.PathInfo = OpenElements
