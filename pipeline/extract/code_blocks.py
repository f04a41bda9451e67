"""Preformatted text keeps its lines and its spaces, whatever an extractor does to white space.

Extractors lose what `<br>`, spans or list items do to it, and whoever tidies text cannot tell code from
prose. So each line gets a mark before extraction, and characters that are no white space in place of its
spaces; afterwards, lines with a mark are given theirs back. Empty lines are left out, as they are everywhere.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.html import HtmlElement

# Patterns of Braille, which extractors take for printable; this sequence of them is in no text.
LINE_MARK = "\u28ff\u2801\u28ff"
_SPACE, _TAB = "\u2800", "\u28c0"
_HIDDEN = str.maketrans({" ": _SPACE, "\u00a0": _SPACE, "\t": _TAB})
_SHOWN = str.maketrans({_SPACE: " ", _TAB: "\t"})

_NO_CODE = frozenset(
    {"p", "article", "section", "table", "form", "blockquote", "h1", "h2", "h3", "h4", "pre"}
)
_LINES = frozenset({"div", "li", "br", "tr", "ol", "ul"})
_HIDDEN_RUNS = re.compile("\\A[ \t\u00a0]+|[ \t\u00a0]{2,}|\t")
_NUMBERS = re.compile(r"[\d\s]*\Z")


def mark_code(tree: "HtmlElement") -> None:
    """Mark the lines of preformatted text: `<pre>` and its old forms, and `<code>` with `<br>` in it."""
    for old in tree.iter("listing", "xmp"):
        old.tag = "pre"
    for figure in [figure for figure in tree.iter("figure") if figure.find(".//pre") is not None]:
        figure.tag = "div"  # else it counts as a picture
    for cell in [cell for cell in tree.iter("td") if _is_numbering(cell)]:
        cell.getparent().remove(cell)
    blocks = [block for block in tree.iter("pre", "code") if _is_preformatted(block)]
    for block in blocks:
        if any(element.tag in _NO_CODE for element in block.iterdescendants()):
            continue  # its end tag is missing: the page stands in it
        lines = (line.rstrip() for line in "".join(_texts(block)).replace("\r\n", "\n").split("\n"))
        for child in list(block):
            block.remove(child)
        block.text = "\n".join(f"{LINE_MARK}{_hidden(line)}" for line in lines if line)


def _is_preformatted(block: "HtmlElement") -> bool:
    is_outer = next(block.iterancestors("pre", "code"), None) is None
    return is_outer and (block.tag == "pre" or block.find("br") is not None)


def _is_numbering(cell: "HtmlElement") -> bool:
    """Say whether a table's cell has nothing but the numbers of the lines of code beside it."""
    return (
        cell.find(".//pre") is not None
        and _NUMBERS.match("".join(cell.itertext())) is not None
        and any(other is not cell and other.find(".//pre") is not None for other in cell.getparent())
    )


def _texts(block: "HtmlElement") -> Iterator[str]:
    """Yield the texts in an element, with an end of line where one begins or ends for a reader."""
    from lxml.etree import iterwalk

    for event, element in iterwalk(block, events=("start", "end")):
        is_line = element.tag in _LINES
        if event == "start":
            yield "\n" if is_line and element.tag != "br" else ""
            yield element.text or ""
        elif element is not block:
            yield "\n" if is_line else ""
            yield element.tail or ""


def _hidden(line: str) -> str:
    return _HIDDEN_RUNS.sub(lambda run: run[0].translate(_HIDDEN), line)


def shown_lines(line: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines that a line of extracted text is, and whether they are preformatted."""
    prose, *code = line.split(LINE_MARK)
    yield False, prose
    for each in code:
        yield True, each.translate(_SHOWN).rstrip()
