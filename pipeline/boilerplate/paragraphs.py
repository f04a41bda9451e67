"""The paragraphs at both ends of a text, as numbers by which they are counted.

A paragraph is a line, since extraction writes one a line. A list or a table is one paragraph with all its
lines: it is boilerplate as a whole or not at all, so that a page's own list never loses its last items. Code
is none: neither its closing brackets nor the licence that it begins with are taken out of it.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import xxhash

from pipeline.dedup.letters import fold

Edge = Literal["beginning", "end"]
EDGES: tuple[Edge, ...] = ("beginning", "end")
Where = Literal["beginning", "end", "begun anew"]
WHERE: tuple[Where, ...] = ("beginning", "end", "begun anew")
DOCUMENT = 0
"""Stands for a document itself where paragraphs are counted."""

_DIRECTIVES = "include|define|undef|if|ifdef|ifndef|endif|pragma"
_CODE_BEGINS = re.compile(rf"\s|//|/\*|\*/|#!|#\s|#(?:{_DIRECTIVES})\b|>>>|<!--|\$ ")
_CODE_ENDS = (";", "{", "}")
_NO_WORD = re.compile(r"[\W_]*\Z")
_BRACKETS = frozenset("(){}[]<>")
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "\uff01", "\uff1f", "\u0964", "\u06d4", "\u061f")
_CLOSING = "\"'”’»)]」』*_ "


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some lines of a text that stand or go together."""

    first: int
    """Its first line, from 0."""
    last: int
    """The line after it."""
    text: str
    """Its lines, each normalised: what is the same in two copies of it."""


def paragraphs_at(edge: Edge, lines: Sequence[str], most: int) -> Iterator[Paragraph]:
    """Yield the paragraphs that a text begins or ends with, the outermost first: up to code, and to `most`.

    Args:
        edge: the beginning or the end.
        lines: of the whole text.
        most: paragraphs to yield.
    """
    return itertools.islice(_all_paragraphs(edge, lines), most)


def _all_paragraphs(edge: Edge, lines: Sequence[str]) -> Iterator[Paragraph]:
    numbers = range(len(lines)) if edge == "beginning" else range(len(lines) - 1, -1, -1)
    for kind, members in itertools.groupby(numbers, lambda number: _kind(lines[number])):
        if kind == "code":
            return
        for block in [list(members)] if kind else ([number] for number in members):
            first, last = min(block), max(block) + 1
            yield Paragraph(first, last, "\n".join(map(normalised, lines[first:last])))


def _kind(line: str) -> str:
    """Return what a line is part of; nothing if it is a paragraph of its own."""
    if line.startswith(("- ", "• ")):
        return "list"
    if line.startswith("|"):
        return "table"
    return "code" if _is_code(line) else ""


def _is_code(line: str) -> bool:
    if _CODE_BEGINS.match(line) or line.endswith(_CODE_ENDS):
        return True
    return _NO_WORD.match(line) is not None and not _BRACKETS.isdisjoint(line)


def normalised(line: str) -> str:
    """Return a line without what tells no paragraphs apart: compatibility forms (NFKC), case, white space."""
    return " ".join(fold(line).split())


def ends_sentence(line: str) -> bool:
    """Say whether a line ends with the end of a sentence, maybe in quotes or brackets."""
    return line.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def begins_anew(lines: Sequence[str], number: int) -> bool:
    """Say whether a line surely begins a paragraph: after a sentence, or after a list."""
    before = lines[number - 1] if number else "."
    return ends_sentence(before) or (_kind(before) in ("list", "table") and not begins_lower(lines[number]))


def begins_lower(line: str) -> bool:
    """Say whether a line begins with a small letter, as the second line of a sentence does."""
    letter = next(filter(str.isalnum, line), "")
    return letter.islower()


def paragraph_hash(text: str, where: Where) -> int:
    """Return 62 bits of a normalised paragraph, and 2 that say where it stands; never `DOCUMENT`.

    The same paragraph at the beginning and at the end of pages is two.
    """
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) & ~3 | WHERE.index(where) + 1


def domain_hash(domain: str) -> int:
    """Return 64 bits of a registrable domain."""
    return xxhash.xxh3_64_intdigest(domain.encode("utf-8", "surrogatepass"))


def edge_hashes(text: str, most: int, among: Collection[int] | None = None) -> Iterator[int]:
    """Yield the hashes of the paragraphs at both ends of a text, some of them maybe twice.

    Those at the end that surely begin there have a further hash: evidence that no sentence goes on in them.

    Args:
        text: a paragraph a line.
        most: paragraphs at either end.
        among: if given, the first paragraph that is not among these, from either end, is where it stops.
    """
    lines = text.split("\n")
    for edge in EDGES:
        for paragraph in paragraphs_at(edge, lines, most):
            value = paragraph_hash(paragraph.text, edge)
            if among is not None and value not in among:
                break
            yield value
            if edge == "end" and begins_anew(lines, paragraph.first):
                yield paragraph_hash(paragraph.text, "begun anew")
