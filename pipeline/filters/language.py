"""Which language a text is in, by CLD2; where it says English, by the words that hold English together.

CLD2 looks at groups of four letters, and takes two things for English that are not: a short foreign
text with an English name or sentence in it, and what is no language at all (code, tables, lists of
names). English prose of any kind needs its function words: about a third of all words. Counting them
costs about half as much as CLD2 itself; `tests/benchmarks/bench_language.py` has the figures.
"""

import re

UNKNOWN = "un"
"""CLD2's code for what it does not know, and ours for what is no language."""

# Other codes of the same languages: CLD2 has old ones, and one of its own for traditional characters.
_ISO_CODES = {"iw": "he", "jw": "jv", "nb": "no", "sr-ME": "sr", "zh-Hant": "zh"}

# CLD2 refuses text with control characters, and what it cannot encode.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

# The commonest, without those that programming languages are made of (if, in, is, not, or, from ...).
_LIST = """
the of and to for with on by that it it's its was were are be been being have has had having
i i'm me my we our us you your he his him she her they them their there these those which who whom
what how at but than then so because about after before between during through over under up out
off against until again also only just very more most much many any some such each both other
another few own same too no nor yet can can't could should would will won't shall may might must
when an did does doesn't didn't don't isn't wasn't aren't one said
"""
_FUNCTION_WORDS = frozenset(_LIST.split())
_SIGNS = "{}[]();=<>_#/\\|+*^~`$@&"  # each stands for a word that is no word of the language

MIN_FUNCTION_WORDS = 0.05
"""Least share of function words. English prose has about 0.35; of three sentences together, 1 in 2,000 has
less than this, and of Python without its comments most has."""
MIXED_SHARE = 0.7
"""A text of which less is English is a mixed one ..."""
MIXED_FUNCTION_WORDS = 40
"""... and English only with this many function words: with fewer, it is a sentence quoted elsewhere."""
PROSE_LINE_WORDS, PROSE_LINE_SHARE, PROSE_WORDS = 15, 0.2, 100
"""However much code or table stands around it, this much prose is English: so many words, in lines of
so many words with such a share of function words."""


def iso_code(code: str) -> str:
    """Return the ISO 639-1 code of a language by any code that CLD2 or its user has for it."""
    return _ISO_CODES.get(code, code)


def detect_language(text: str) -> tuple[str, float]:
    """Return the ISO 639-1 code of the text's main language and its share of the text (in UTF-8), 0 to 1.

    The code is `un` where CLD2 is not sure of any, and where what it takes for English is no prose.
    """
    import pycld2

    try:
        reliable, _, details = pycld2.detect(_REFUSED.sub(" ", text))
    except pycld2.error:  # a character beyond the list above
        return UNKNOWN, 0.0
    (_, code, percent, _), (_, second, second_percent, _), _ = details
    code, second = iso_code(code), iso_code(second)
    if not reliable:
        return UNKNOWN, percent / 100
    if code != "en":
        return code, percent / 100
    share, function_words = function_word_share(text)
    if share < MIN_FUNCTION_WORDS and not _has_prose(text):
        return second, second_percent / 100
    if percent / 100 < MIXED_SHARE and function_words < MIXED_FUNCTION_WORDS:
        return second, second_percent / 100
    return "en", percent / 100


def function_word_share(text: str) -> tuple[float, int]:
    """Return which share of the text's words and signs are English function words, and how many those are."""
    words = text.lower().split()
    count = sum(map(_FUNCTION_WORDS.__contains__, words))
    return count / max(1, len(words) + sum(map(text.count, _SIGNS))), count


def _has_prose(text: str) -> bool:
    """Say whether paragraphs of English stand among the rest."""
    found = 0
    for line in text.splitlines():
        words = len(line.split())
        if words >= PROSE_LINE_WORDS and function_word_share(line)[0] >= PROSE_LINE_SHARE:
            found += words
    return found >= PROSE_WORDS
