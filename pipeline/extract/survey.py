"""Spares a page's elements from being asked the same for each of many searches."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from pipeline.extract.searches import LONGEST_KIND, MOST_KINDS, Search

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_CLUE = 3  # letters of what a value must contain, by which conditions are found


class Survey:
    """What the attributes of a page's elements leave possible, for searches that follow each other in it.

    In a `with`, each element is looked at once, whichever search comes by: which searches have a condition
    that is true of one of its attributes? To the others it is like an element without attributes. Meanwhile
    elements may go, come and be renamed, and attributes may go; but no element that was there may get
    attributes that searches ask for, or other values of them.
    """

    def __init__(self) -> None:
        self._seen: dict[HtmlElement, int] | None = None  # a bit for each search
        self._attributes: dict[str, _Conditions] = {}
        self._searches = 0

    def add(self, search: Search) -> None:
        """Have a search profit, unless it asks for nothing."""
        if "*" in search.bare_tags:
            return
        bit = 1 << self._searches
        self._searches += 1
        for name, clue, is_true in search.conditions:
            self._attributes.setdefault(name, _Conditions()).add(bit, clue, is_true)
        search.narrow = partial(self._possible, bit, search.bare_tags)

    def __enter__(self) -> None:
        self._seen = {}

    def __exit__(self, *_: object) -> None:
        self._seen = None

    def _possible(
        self, bit: int, bare_tags: set[str], elements: "Iterable[HtmlElement]"
    ) -> "Iterator[HtmlElement]":
        """Yield the elements of which a search may be true."""
        if self._seen is None:
            yield from elements
            return
        seen = self._seen
        for element in elements:
            bits = seen.get(element)
            if bits is None:
                bits = seen[element] = self._look(element)
            if bits & bit or (bare_tags and element.tag in bare_tags):
                yield element

    def _look(self, element: "HtmlElement") -> int:
        bits = 0
        for name, value in element.items():
            if (conditions := self._attributes.get(name)) is not None:
                answer = conditions.known.get(value)
                bits |= conditions.ask(value) if answer is None else answer
        return bits


class _Conditions:
    """All that searches ask about one attribute, and the answers for values that came before."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self._by_clue: dict[str, list[tuple[int, Callable[[str], bool]]]] = {}
        self._without: list[tuple[int, Callable[[str], bool]]] = []

    def add(self, bit: int, clue: str, is_true: Callable[[str], bool]) -> None:
        """Add a condition, which is true of no value without its clue."""
        place = self._by_clue.setdefault(clue[:_CLUE], []) if len(clue) >= _CLUE else self._without
        place.append((bit, is_true))

    def ask(self, value: str) -> int:
        """Return the bits of the searches of which a condition is true."""
        if len(value) > LONGEST_KIND:
            return self._bits(value, self._by_clue)
        if len(self.known) >= MOST_KINDS:
            self.known.clear()
        clues = {value[start : start + _CLUE] for start in range(len(value) - _CLUE + 1)}
        bits = self.known[value] = self._bits(value, self._by_clue.keys() & clues)
        return bits

    def _bits(self, value: str, clues: Iterable[str]) -> int:
        bits = 0
        for conditions in (self._without, *[self._by_clue[clue] for clue in clues]):
            for bit, is_true in conditions:
                if not bits & bit and is_true(value):
                    bits |= bit
        return bits
