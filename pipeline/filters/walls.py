"""Pages that stand where an article should: errors, logins, consents, parked domains."""

import re
from collections import Counter
from functools import cache
from importlib import resources

from pipeline.web.lists import read_list

LEAST_WALL_SHARE = 0.25
"""Share of a page's words that must stand in a wall's sentences, however little the rest is."""
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s|\n")


def find_wall(text: str, title: str, least_words: int) -> tuple[str, int] | None:
    """Say what kind of wall a page is, and how many of its words say so; None if it is none.

    Its sentences with a phrase of `walls.tsv` are the wall. The page is one if they are a good part of it,
    and are more than the rest, or the rest alone is too short (`least_words`), or its title begins so.
    """
    page = f"{title.lstrip()}\n{text}".lower().replace("’", "'")
    phrases = [(kind, phrase) for kind, phrase in _phrases() if phrase in page]
    if not phrases:
        return None
    words = 0
    kinds = Counter[str]()
    for sentence in map(str.split, _SENTENCE_BREAK.split(page)):
        words += len(sentence)
        plain = " ".join(sentence)
        kind = next((kind for kind, phrase in phrases if phrase in plain), None)
        if kind is not None:
            kinds[kind] += len(sentence)
    walled = kinds.total()
    is_titled = page.startswith(tuple(phrase for _, phrase in phrases))
    if walled < LEAST_WALL_SHARE * words or (words - walled >= max(least_words, walled) and not is_titled):
        return None
    return kinds.most_common(1)[0][0], walled


@cache
def _phrases() -> list[tuple[str, ...]]:
    file = resources.files("pipeline.filters") / "walls.tsv"
    return list(read_list(file, ("reason", "phrase")))
