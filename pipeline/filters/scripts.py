"""Scripts that put no spaces between words: what counts in words elsewhere counts in letters there."""

import re
import unicodedata
from functools import cache

# Lao, Thai; Tibetan; Burmese; Khmer; kana, Han.
_SMALL = ((0x0E01, 0x0EFF), (0x0F40, 0x0FBC), (0x1000, 0x109F), (0x1780, 0x17D3), (0x3005, 0x30FF))
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "dz"})
"""ISO 639-1 codes of languages that are written so."""


_MARKS_END = 0x1F000  # beyond it there are variation selectors only


@cache
def marks_of_words() -> str:
    """Return Unicode's marks, less those that only choose a glyph or surround an emoji."""
    marks = (chr(point) for point in range(0x300, _MARKS_END))
    return "".join(
        mark
        for mark in marks
        if unicodedata.category(mark) in ("Mn", "Mc")
        and "VARIATION SELECTOR" not in unicodedata.name(mark, "")
    )


@cache
def unspaced_letters() -> re.Pattern[str]:
    """Return a pattern of one letter of these scripts with the marks that belong to it."""
    points = (chr(point) for first, last in _SMALL for point in range(first, last + 1))
    letters = "".join(point for point in points if unicodedata.category(point)[0] == "L")
    return re.compile(f"[{letters}{_HAN}][{marks_of_words()}]*")


def apart(text: str) -> str:
    """Return a text in which each letter of these scripts, with its marks, is a word of its own."""
    return text if text.isascii() else unspaced_letters().sub(r" \g<0> ", text)
