"""What makes a text a document worth keeping, whatever it says."""

from dataclasses import dataclass

from pipeline.records import Drop
from pipeline.refine.language import detect_language
from pipeline.refine.wikipedia import is_wikipedia_copy


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Which documents stay."""

    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 codes of the languages to keep; none given keeps all."""
    min_language_share: float = 0.5
    """Least share of the text that must be in that language, 0 to 1."""
    min_words: int = 100
    """Least number of words. OpenWebText asked for 128 tokens, which is about 100 English words."""
    drop_wikipedia: bool = True
    """Drop copies of Wikipedia articles on other sites, as WebText did."""


def judge(text: str, url: str, options: RefineOptions) -> tuple[str, float] | Drop:
    """Return a document's language and that language's share of it, or why it goes."""
    words = len(text.split())
    if words < options.min_words:
        return Drop("too short", url, f"{words} words")
    language, share = detect_language(text)
    if options.languages and language not in options.languages:
        return Drop("other language", url, language)
    if options.languages and share < options.min_language_share:
        return Drop("mixed languages", url, f"{share:.2f} {language}")
    if options.drop_wikipedia and is_wikipedia_copy(text):
        return Drop("Wikipedia", url)
    return language, share
