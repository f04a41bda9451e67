"""A cheap look at a whole page, before its text is taken out: is it surely in no language that is wanted?

Text without regard to what is article and what is menu costs a tenth of an extraction (resiliparse), its
languages another twentieth (CLD2). Of the 390 pages that the project is measured with, the look drops 229,
nine in ten of those that `judge` would drop, which is nearly half of the time of all extractions, and none
of those that it would keep. Words of a language that is wanted are many in foreign pages too, but stand in
menus and names: so only runs as long as a sentence count.
"""

from dataclasses import dataclass

from pipeline.filters.language import iso_code
from pipeline.filters.scripts import UNSPACED_LANGUAGES
from pipeline.runner.drops import Drop

UNSPACED_FACTOR = 3  # English has six characters a word with its space; Chinese counts two
SENTENCE_BYTES = 60  # Chinese has three a character, which is `UNSPACED_FACTOR` again


@dataclass(frozen=True, kw_only=True)
class PrefilterOptions:
    """When a page is dropped at first sight. Both limits must hold."""

    max_wanted_share: float = 0.2
    """Greatest share of the page's text that may be in wanted languages, 0 to 1."""
    max_wanted_characters: int = 600
    """Greatest number of characters in wanted languages, at all or in sentences: about 100 English words."""


def plain_text(html: str) -> str:
    """Return all visible text of a page, menus and all."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, alt_texts=False, list_bullets=False)


def prefilter(text: str, languages: tuple[str, ...], options: PrefilterOptions) -> Drop | None:
    """Drop a page, by its visible text, that is surely in none of the languages; none given are all."""
    import pycld2

    if not languages:
        return None
    try:
        reliable, _, details = pycld2.detect(text)
    except pycld2.error:  # control characters, which it refuses: extraction will remove them
        return None
    codes = set(map(iso_code, languages))
    wanted = sum(percent for _, code, percent, _ in details if iso_code(code) in codes) / 100
    if not reliable or wanted > options.max_wanted_share:
        return None
    letters = wanted * len(text) * (UNSPACED_FACTOR if codes & UNSPACED_LANGUAGES else 1)
    if letters > options.max_wanted_characters < _bytes_in_runs(text, codes):
        return None
    _, code, percent, _ = details[0]
    return Drop("other language", detail=f"{iso_code(code)}, {percent / 100:.2f} of the page")


def _bytes_in_runs(text: str, codes: set[str]) -> int:
    """Return how many bytes are in runs of some languages, each as long as a sentence: no words in menus."""
    import pycld2

    *_, runs = pycld2.detect(text, returnVectors=True)
    return sum(size for _, size, _, code in runs if size >= SENTENCE_BYTES and iso_code(code) in codes)
