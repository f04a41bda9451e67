"""Pages that stand where an article should: errors, logins, consents, parked domains."""

import re
from collections import Counter
from functools import cache
from importlib import resources

from pipeline.web.lists import read_list

LEAST_WALL_SHARE = 0.25
"""Share of a page's words that must stand in a wall's sentences, however little the rest is."""
MORE_WORDS = 2  # in a title, after a phrase: "page not found on our site" goes on like a sentence
LEAST_EVIDENCE = 4
"""Of a page that is as long as an article: a point for each phrase, one if a good part of them speaks to a
reader, and one for a title that is a phrase; that of an error is enough."""
LEAST_ADDRESS = 1 / 3  # of a wall's words, in sentences that speak to a reader
_ADDRESS = re.compile(r"\b(?:you|your|you're|you've|please|we|our|us)\b")
_CLAUSE = re.compile(r"[^\w\s']")
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s|\n")


def find_wall(text: str, title: str, least_words: int) -> tuple[str, int] | None:
    """Say what kind of wall a page is, and how many of its words say so; None if it is none.

    Its sentences with a phrase of `walls.tsv` are the wall. The page is one if they are a good part of it,
    and are more than the rest, or the rest alone is too short (`least_words`), or its title says so.

    A page that is long enough for an article needs more evidence, since articles are about cookies and ad
    blockers too: walls have many different phrases, and speak to their readers.
    """
    page = f"{title.lstrip()}\n{text}".lower().replace("’", "'")
    phrases = [
        (kind, phrase) for kind, phrase in _phrases() if phrase in page and _stands_alone(phrase, page)
    ]
    if not phrases:
        return None
    words = addressed = 0
    kinds = Counter[str]()
    for sentence in map(str.split, _SENTENCE_BREAK.split(page)):
        words += len(sentence)
        plain = " ".join(sentence)
        kind = next((kind for kind, phrase in phrases if _stands_alone(phrase, plain)), None)
        if kind is not None:
            kinds[kind] += len(sentence)
            addressed += len(sentence) if _ADDRESS.search(plain) else 0
    walled = kinds.total()
    is_titled = any(_is_title(phrase, page) for _, phrase in phrases)
    if walled < LEAST_WALL_SHARE * words or (words - walled >= max(least_words, walled) and not is_titled):
        return None
    kind = kinds.most_common(1)[0][0]
    if words >= least_words:
        evidence = len(phrases) + (addressed >= LEAST_ADDRESS * walled)
        evidence += is_titled * (LEAST_EVIDENCE if kind == "error page" else 1)
        if evidence < LEAST_EVIDENCE:
            return None
    return kind, walled


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
