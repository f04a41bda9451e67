"""Tables in Markdown that read as tables in plain text too."""

import html
from collections.abc import Sequence


def inline(text: str, *, longest: int = 200) -> str:
    """Return a stranger's text for anywhere within a line: it begins no HTML and ends no cell and no code."""
    short = text if len(text) <= longest else f"{text[:longest]}…"
    return html.escape(cell(short), quote=False).replace("`", "&#96;")


def cell(text: str) -> str:
    """Return a text for a cell: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool]) -> list[str]:
    """Return the lines of a table.

    Args:
        right: of each column, whether it is aligned to the right.
    """
    written = [[cell(text) for text in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*written, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    ends = [":" if to_right else "-" for to_right in right]
    rule = ["-" * (width - 1) + end for width, end in zip(widths, ends, strict=True)]
    return [line(written[0]), line(rule), *map(line, written[1:])]
