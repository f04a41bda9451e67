"""What of a document goes: the runs of boilerplate that it begins and ends with.

Never anything between two paragraphs of its own, never a part of a sentence, and never most of a document:
what has most of its text in common with others is a copy of them, and de-duplication judges that.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from pipeline.boilerplate.paragraphs import (
    Edge,
    Paragraph,
    begins_anew,
    begins_lower,
    ends_sentence,
    paragraph_hash,
    paragraphs_at,
)
from pipeline.filters.quality import count_words


@dataclass(frozen=True, kw_only=True)
class BoilerplateOptions:
    """What counts as a site's boilerplate, and how much of a document may be that."""

    trim_boilerplate: bool = True
    """Take out paragraphs that stand at the beginning or at the end of many pages of a site."""
    min_boilerplate_pages: Annotated[int, Ge(2)] = 10
    """Pages of a domain, of different text, at whose beginning (or end) a paragraph stands."""
    min_boilerplate_share: Annotated[float, Ge(0), Le(1)] = 0.1
    """Share of the domain's pages of different text that those must be."""
    max_boilerplate_paragraphs: Annotated[int, Ge(1)] = 20
    """Paragraphs at either end of a page that are looked at; a list or a table is one."""
    min_opening_words: Annotated[int, Ge(1)] = 4
    """Least words of the last paragraph that goes at the beginning; a shorter one may be a heading."""
    max_trimmed_share: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of a document that may go; one that would lose more is left whole, as a copy of others."""


@dataclass(frozen=True)
class Trimmed:
    """A text without its boilerplate, and what that was."""

    text: str
    beginning: Sequence[Paragraph]
    """In the order of the text."""
    end: Sequence[Paragraph]
    lines: Sequence[str]
    """Of the whole text."""

    def shown(self, paragraph: Paragraph) -> str:
        """Return a paragraph as it was written."""
        return "\n".join(self.lines[paragraph.first : paragraph.last])

    @property
    def taken(self) -> tuple[str, str]:
        """What went, from the beginning and from the end."""
        first, last = ("\n".join(map(self.shown, paragraphs)) for paragraphs in (self.beginning, self.end))
        return first, last


def trim(text: str, repeated: Collection[int], options: BoilerplateOptions) -> Trimmed | None:
    """Take a document's boilerplate out; None if there is none, or if too much would go.

    Args:
        text: a paragraph a line.
        repeated: the hashes of the paragraphs that many documents of its domain have.
        options: the thresholds.
    """
    lines = text.split("\n")
    beginning, end = (_run(edge, lines, repeated, options) for edge in ("beginning", "end"))
    beginning, end = _opening(beginning, lines, options), _closing(end, lines, repeated)
    if not beginning and not end:
        return None
    first = beginning[-1].last if beginning else 0
    last = end[-1].first if end else len(lines)
    kept = "\n".join(lines[first:last])
    if first >= last or len(kept) < (1 - options.max_trimmed_share) * len(text):
        return None
    return Trimmed(kept, beginning, end[::-1], lines)


def _run(
    edge: Edge, lines: Sequence[str], repeated: Collection[int], options: BoilerplateOptions
) -> list[Paragraph]:
    """Return the boilerplate that a text begins or ends with, the outermost paragraph first."""
    run: list[Paragraph] = []
    for paragraph in paragraphs_at(edge, lines, options.max_boilerplate_paragraphs):
        if paragraph_hash(paragraph.text, edge) not in repeated:
            break
        run.append(paragraph)
    return run


def _opening(run: list[Paragraph], lines: Sequence[str], options: BoilerplateOptions) -> list[Paragraph]:
    """Shorten a run at the beginning until what follows is neither its text's nor a heading's."""
    while run:
        last = run[-1]
        goes_on = last.last < len(lines) and begins_lower(lines[last.last])
        breaks_off = goes_on and not ends_sentence(lines[last.last - 1])
        if not breaks_off and count_words(last.text) >= options.min_opening_words:
            break
        run = run[:-1]
    return run


def _closing(run: list[Paragraph], lines: Sequence[str], repeated: Collection[int]) -> list[Paragraph]:
    """Shorten a run at the end until a paragraph begins it, surely or as on many pages."""
    while run:
        first = run[-1]
        if begins_anew(lines, first.first) or paragraph_hash(first.text, "begun anew") in repeated:
            break
        run = run[:-1]
    return run
