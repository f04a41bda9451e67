"""Pages that stand where an article should: errors, logins, consents, parked domains."""

import re
from collections import Counter
from functools import cache
from importlib import resources

from pipeline.web.lists import read_list

LEAST_WALL_SHARE = 0.25
"""Share of a page's words that must stand in a wall's sentences, however little the rest is."""
MORE_WORDS = 2  # in a title, after a phrase: "page not found on our site" goes on like a sentence
_CLAUSE = re.compile(r"[^\w\s']")
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s|\n")


def find_wall(text: str, title: str, least_words: int) -> tuple[str, int] | None:
    """Say what kind of wall a page is, and how many of its words say so; None if it is none.

    Its sentences with a phrase of `walls.tsv` are the wall. The page is one if they are a good part of it,
    and are more than the rest, or the rest alone is too short (`least_words`), or its title says so.
    """
    page = f"{title.lstrip()}\n{text}".lower().replace("’", "'")
    phrases = [
        (kind, phrase) for kind, phrase in _phrases() if phrase in page and _stands_alone(phrase, page)
    ]
    if not phrases:
        return None
    words = 0
    kinds = Counter[str]()
    for sentence in map(str.split, _SENTENCE_BREAK.split(page)):
        words += len(sentence)
        plain = " ".join(sentence)
        kind = next((kind for kind, phrase in phrases if _stands_alone(phrase, plain)), None)
        if kind is not None:
            kinds[kind] += len(sentence)
    walled = kinds.total()
    is_titled = any(_is_title(phrase, page) for _, phrase in phrases)
    if walled < LEAST_WALL_SHARE * words or (words - walled >= max(least_words, walled) and not is_titled):
        return None
    return kinds.most_common(1)[0][0], walled


def _is_title(phrase: str, page: str) -> bool:
    """Say whether a page's first line is a phrase, and no sentence that only begins with its words."""
    line = page.partition("\n")[0]
    return line.startswith(phrase) and len(_CLAUSE.split(line[len(phrase) :])[0].split()) <= MORE_WORDS


def _stands_alone(phrase: str, text: str) -> bool:
    """Say whether a phrase is in a text as words of their own: no "use cookies" in "because cookies"."""
    start = text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if not (
            text[start - 1 : start].isalnum() or (text[end : end + 1].isalnum() and phrase[-1].isalnum())
        ):
            return True
        start = text.find(phrase, start + 1)
    return False


@cache
def _phrases() -> list[tuple[str, ...]]:
    file = resources.files("pipeline.filters") / "walls.tsv"
    return list(read_list(file, ("reason", "phrase")))
