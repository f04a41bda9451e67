"""A cheap look at a whole page, before its text is taken out: is it surely in no language that is wanted?

CLD2 reads HTML itself, without regard to what is article and what is menu, in a twentieth of the time of an
extraction. Words of a language that is wanted are many in foreign pages too, but stand in menus and names: if
there are enough for a document, the page's text (resiliparse) is asked how many stand in sentences. Of the
390 pages that the project is measured with, the look drops 234, nine in ten of those that `judge` would drop,
which is half of the time of all extractions, and none of those that it would keep.
"""

from dataclasses import dataclass

from pipeline.filters.language import iso_code
from pipeline.runner.drops import Drop

SENTENCE_BYTES = 60


@dataclass(frozen=True, kw_only=True)
class PrefilterOptions:
    """When a page is dropped at first sight. Both limits must hold."""

    max_wanted_share: float = 0.2
    """Greatest share of the page's text that may be in wanted languages, 0 to 1."""
    max_wanted_characters: int = 600
    """Greatest number of characters in wanted languages, at all or in sentences: about 100 English words. One
    that has three bytes in UTF-8 counts three times, since it says as much in Chinese."""


def plain_text(html: str) -> str:
    """Return all visible text of a page, menus and all."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, alt_texts=False, list_bullets=False)


def prefilter(html: str, languages: tuple[str, ...], options: PrefilterOptions) -> Drop | None:
    """Drop a page that is surely in none of the languages; none given are all."""
    import pycld2

    if not languages:
        return None
    try:
        reliable, size_bytes, details = pycld2.detect(html.encode("utf-8", "replace"), isPlainText=False)
    except pycld2.error:  # control characters, which it refuses: extraction will remove them
        return None
    codes = set(map(iso_code, languages))
    wanted = sum(percent for _, code, percent, _ in details if iso_code(code) in codes) / 100
    if not reliable or wanted > options.max_wanted_share:
        return None
    if wanted * size_bytes > options.max_wanted_characters < _bytes_in_sentences(html, codes):
        return None
    _, code, percent, _ = details[0]
    return Drop("other language", detail=f"{iso_code(code)}, {percent / 100:.2f} of the page")


def _bytes_in_sentences(html: str, codes: set[str]) -> float:
    """Return how many bytes of a page's text are in runs of some languages, each as long as a sentence."""
    import pycld2

    try:
        *_, runs = pycld2.detect(plain_text(html).encode("utf-8", "replace"), returnVectors=True)
    except pycld2.error:
        return float("inf")
    return sum(int(size) for _, size, _, code in runs if size >= SENTENCE_BYTES and iso_code(code) in codes)
