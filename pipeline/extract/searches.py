"""Finds the elements that an XPath expression of tags and attributes finds, in a fraction of the time.

trafilatura has lists of such expressions, and asks all of them about all elements of a page. But elements
are of few kinds (a tag with its attributes), in a page and even more in a site: so each kind is asked about
once, and a walk in Python looks up the answers. Of many searches in one page, `Survey` spares most of that.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxml.html import HtmlElement

REGEXP_NAMESPACE = "http://exslt.org/regular-expressions"
MOST_KINDS = 4_096  # of elements, whose answers are remembered for an expression
LONGEST_KIND = 512  # characters of attributes
MANY_ATTRIBUTES = 64  # of one element: values are read one by one then, since there may be thousands

Attributes = Mapping[str, str]  # in the order of the page
Test = Callable[[str, Attributes], bool]  # of an element's tag and attributes
Condition = tuple[str, str, Callable[[str], bool]]  # an attribute, what its value must contain, what is asked
Kind = tuple[Any, ...]  # a tag, and attributes with their values

_PART = re.compile(r"\.//(\*|\w+)((?:\[.*\])?)", re.DOTALL)
_TAGS = re.compile(r"self::\w+(?:\s+or\s+self::\w+)*")
_TOKEN = re.compile(r"\s*(?:('[^']*'|@[\w-]+|self::\w+|[a-z][a-z:-]*|[()|,=])|$)")


class Search:
    """A search that is called as lxml's `XPath` is: with an element, for elements below it.

    Args:
        path: an expression of the form `.//tag[test]…|…`; in `(…)[1]` or with a last `[1]`, the search ends
            with the first element of all. What tests ask of anything but tag and attributes is left to XPath,
            for elements that pass the others.

    Raises:
        ValueError: the expression has another form, or leaves too much to XPath.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        whole = path.strip()
        self._is_first = whole.endswith("[1]")
        if self._is_first:
            whole = whole.removesuffix("[1]").rstrip()
            if whole.startswith("("):
                whole = whole.removeprefix("(").removesuffix(")")
        self._parts = [_Part(part) for part in _split(whole, "|")]
        tags = [tag for part in self._parts for tag in part.tags]
        self._tags = ("*",) if "*" in tags else tuple(dict.fromkeys(tags))
        self._names = frozenset(re.findall(r"@([\w-]+)", path))
        self._known: dict[Kind, tuple[_Part, ...]] = {}
        self.conditions = [condition for part in self._parts for condition in part.conditions]
        # With none of its conditions true, an expression says what it says of elements without attributes.
        tags = [*re.findall(r"self::(\w+)", path), *tags]
        self.bare_tags = {tag for tag in tags for part in self._parts if part.is_true(tag, {})}
        self.narrow: Callable[[Iterator[HtmlElement]], Iterator[HtmlElement]] = iter  # a survey sets another

    def __call__(self, tree: "HtmlElement") -> "list[HtmlElement]":
        """Return the elements below one that the expression is true of, in the order of the page."""
        found: list[HtmlElement] = []
        for element in self.narrow(tree.iterdescendants(*self._tags)):
            if self._is_true(element):
                found.append(element)
                if self._is_first:
                    break
        return found

    def _is_true(self, element: "HtmlElement") -> bool:
        names = self._names
        if (number := len(attributes := element.attrib)) <= MANY_ATTRIBUTES:
            items = element.items() if number else ()
        else:
            items = [(name, attributes[name]) for name in attributes if name in names]
        kind = (element.tag, *[each for each in items if each[0] in names])
        parts = self._known.get(kind)
        if parts is None:
            parts = self._ask(kind)
        return bool(parts) and any(part.rest is None or part.rest(element) for part in parts)

    def _ask(self, kind: Kind) -> "tuple[_Part, ...]":
        tag, *attributes = kind
        values = dict(attributes)
        parts = tuple([part for part in self._parts if part.is_true(tag, values)])
        if sum(map(len, values.values())) <= LONGEST_KIND:
            if len(self._known) >= MOST_KINDS:
                self._known.clear()
            self._known[kind] = parts
        return parts


class _Part:
    """One of the paths in a union."""

    def __init__(self, path: str) -> None:
        from lxml.etree import XPath

        if not (match := _PART.fullmatch(path.strip())):
            raise ValueError(f"not a search below an element: {path}")
        self.tags: tuple[str, ...] = (match[1],)
        self.tests: list[Test] = []
        self.conditions: list[Condition] = []
        self.rest: XPath | None = None
        predicates = [each.removesuffix("]") for each in _split(match[2].strip(), "[") if each.strip()]
        for number, predicate in enumerate(each.strip() for each in predicates):
            if number == 0 and match[1] == "*" and _TAGS.fullmatch(predicate):
                self.tags = tuple(re.findall(r"self::(\w+)", predicate))
            elif ".//" in predicate and self.tests:
                if self.rest is not None:
                    raise ValueError(f"too much that is not of attributes: {path}")
                self.rest = XPath(f"self::*[{predicate}]", namespaces={"re": REGEXP_NAMESPACE})
            else:
                reader = _Reader(predicate)
                self.tests.append(reader.whole())
                self.conditions += reader.conditions

    def is_true(self, tag: str, attributes: Attributes) -> bool:
        if tag not in self.tags and self.tags[0] != "*":
            return False
        for test in self.tests:  # noqa: SIM110 (a generator for `all` costs as much as the tests)
            if not test(tag, attributes):
                return False
        return True


def _split(text: str, mark: str) -> list[str]:
    """Split an expression at a mark that stands neither in brackets nor in quotes; `[` opens its bracket."""
    pieces, depth, start = [], 0, 0
    for found in re.finditer(r"'[^']*'|[][()|]", text):
        if found[0] == mark and depth == 0:
            pieces.append(text[start : found.start()])
            start = found.end()
        depth += (found[0] in "([") - (found[0] in ")]")
    return [*pieces, text[start:]]


class _Reader:
    """Reads a predicate: `or`, `and`, `not`, tags, attributes, and the functions of strings in use."""

    def __init__(self, text: str) -> None:
        self.conditions: list[Condition] = []  # all that it says of attributes
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            if not (match := _TOKEN.match(text, position)):
                raise ValueError(f"not of tags and attributes: {text}")
            self._tokens.append(match[1] or "")
            position = match.end()
        self._tokens = [*reversed(self._tokens)]

    def whole(self) -> Test:
        """Return the test that the text is."""
        test = self._either()
        if any(self._tokens):
            raise ValueError(f"not expected: {self._tokens[-1]}")
        return test

    def _next(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def _take(self, *expected: str) -> str:
        token = self._tokens.pop() if self._tokens else ""
        if expected and token not in expected:
            raise ValueError(f"not expected: {token}")
        return token

    def _either(self) -> Test:
        tests = [self._both()]
        while self._next() == "or":
            self._take()
            tests.append(self._both())
        return _either(tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._next() == "and":
            self._take()
            tests.append(self._one())
        return _all(tests)

    def _one(self) -> Test:
        token = self._next()
        if token.startswith("self::"):
            wanted = self._take().removeprefix("self::")
            return lambda tag, _: tag == wanted
        if token.startswith("@"):
            return self._attribute()
        self._take("(", "not", "re:test", "contains", "starts-with")
        if token == "(":
            test = self._either()
        else:
            self._take("(")
            test = _negation(self._either()) if token == "not" else self._function(token)
        self._take(")")
        return test

    def _attribute(self) -> Test:
        name = self._take().removeprefix("@")
        if self._next() != "=":
            self.conditions.append((name, "", lambda _: True))
            return lambda _, attributes: name in attributes
        self._take("=")
        wanted = self._literal()
        self.conditions.append((name, wanted, lambda value: value == wanted))
        return lambda _, attributes: attributes.get(name) == wanted

    def _function(self, name: str) -> Test:
        names, letters = self._argument()
        self._take(",")
        wanted = self._literal()
        flags = re.IGNORECASE if name == "re:test" and self._next() == "," and self._flags() == "i" else 0
        clues = [("", is_true := _matcher(wanted, flags))] if name == "re:test" else []
        if name == "re:test" and not flags:
            clues = [(_longest_word(each), _matcher(each, 0)) for each in _alternatives(wanted)]
        elif name != "re:test":
            has_it = str.__contains__ if name == "contains" else str.startswith
            is_true = _translated(letters, lambda value: has_it(value, wanted))
            replaced = "".join(old + new for old, new in letters)
            clues = [(max(re.split(f"[{replaced}]", wanted) if replaced else [wanted], key=len), is_true)]
        self.conditions += [(each, *clue) for each in names for clue in clues]
        return _test_of(names, is_true)

    def _flags(self) -> str:
        self._take(",")
        return self._literal()

    def _argument(self) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
        """Read what a function is asked about: attributes, and which letters are replaced in them."""
        if self._next() != "translate":
            names = [self._name()]
            while self._next() == "|":
                self._take()
                names.append(self._name())
            return tuple(names), []
        self._take()
        self._take("(")
        name = self._name()
        self._take(",")
        before = self._literal()
        self._take(",")
        after = self._literal()
        self._take(")")
        if len(before) != len(after) or set(before) & set(after):
            raise ValueError(f"letters that are not replaced one after another: {before}, {after}")
        return (name,), [*zip(before, after, strict=True)]

    def _name(self) -> str:
        token = self._take()
        if not token.startswith("@"):
            raise ValueError(f"not an attribute: {token}")
        return token.removeprefix("@")

    def _literal(self) -> str:
        token = self._take()
        if not token.startswith("'"):
            raise ValueError(f"not a string: {token}")
        return token[1:-1]


def _either(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(tag: str, attributes: Attributes) -> bool:
        for each in tests:  # noqa: SIM110 (a generator for `any` costs as much as the tests)
            if each(tag, attributes):
                return True
        return False

    return test


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda tag, attributes: all(each(tag, attributes) for each in tests)


def _negation(test: Test) -> Test:
    return lambda tag, attributes: not test(tag, attributes)


def _matcher(expression: str, flags: int) -> Callable[[str], bool]:
    """Return a search for a regular expression. Of its alternatives, plain words are found faster as such."""
    if flags:
        exact, search = re.compile(expression, flags).search, re.compile(expression).search
        is_lower = (
            expression == expression.lower()
        )  # then ASCII may be compared in lower case: ten times as fast
        return lambda value: (
            (search(value.lower()) if is_lower and value.isascii() else exact(value)) is not None
        )
    alternatives = _alternatives(expression)
    words = [each for each in alternatives if re.fullmatch(r"[\w -]+", each)]
    others = [each for each in alternatives if each not in words]
    rest = re.compile("|".join(others)) if others else None

    def is_true(value: str) -> bool:
        for word in words:
            if word in value:
                return True
        return rest is not None and rest.search(value) is not None

    return is_true


def _alternatives(expression: str) -> list[str]:
    """Return regular expressions of which one is true where the given one is, as far as that is simple."""
    if re.search(r"\\[^s]|\(\?[^:!=]", expression):  # escapes, or flags, which are for all of it
        return [expression]
    pieces = _split(expression, "|")
    if len(pieces) > 1:
        return [each for piece in pieces for each in _alternatives(piece)]
    anchored = re.fullmatch(r"\^\(\?:((?:[^()]|\([^()]*\))*)\)", expression)
    return [f"^{piece}" for piece in _split(anchored[1], "|")] if anchored else pieces


def _longest_word(expression: str) -> str:
    """Return a text that all have which one alternative of a regular expression is true of; or nothing."""
    if re.search(r"\\[^s]|\(\?[^:!]|\([^)]*\(|[*+{.]", expression):
        return ""
    texts = re.split(r"\([^)]*\)\??|\[[^]]*\]\??|\\s|.\?|[^\w -]", expression)
    return max(texts, key=len)


def _translated(letters: list[tuple[str, str]], is_true: Callable[[str], bool]) -> Callable[[str], bool]:
    if not letters:
        return is_true

    def is_true_then(value: str) -> bool:
        for old, new in letters:
            value = value.replace(old, new)
        return is_true(value)

    return is_true_then


def _test_of(names: tuple[str, ...], is_true: Callable[[str], bool]) -> Test:
    """Return the test of an attribute's value; of several attributes, the one that comes first in the page.

    None of them is to XPath as one that is empty, of which all that is asked here is false.
    """
    if is_true(""):
        raise ValueError("true of elements without the attribute")
    if len(names) == 1:
        name = names[0]
        return lambda _, attributes: is_true(value) if (value := attributes.get(name)) else False
    return lambda _, attributes: is_true(next((attributes[each] for each in attributes if each in names), ""))
