"""Copies of Wikipedia on other sites, told by the marks that its licence makes them carry.

Links to Wikipedia itself are blocked by address before and after redirects (`gather/blocklists`); this
finds its text under other addresses. WebText drops both, because test sets are often taken from there.
"""

import re

_MARKS = re.compile(
    r"from wikipedia,? the free encyclop(?:e|ae)dia"
    r"|(?:this (?:article|page)|text|content|material|it) (?:is|was|uses|incorporates|includes)"
    r"[^.\n]{0,60}? (?:from|of) (?:the |a )?wikipedia article"
    r"|retrieved from [\"'“]?https?://[a-z-]+\.(?:m\.)?wikipedia\.org/",
    re.IGNORECASE,
)
_EDGE_CHARACTERS = 1_000  # such marks stand at the top or the bottom; in the middle it is a quotation


def is_wikipedia_copy(text: str) -> bool:
    """Say whether a text declares itself to be taken from Wikipedia."""
    return bool(_MARKS.search(text[:_EDGE_CHARACTERS]) or _MARKS.search(text[-_EDGE_CHARACTERS:]))
