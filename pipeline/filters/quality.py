"""What makes a text a document worth keeping, whatever it says.

WebText's filter was the readers' karma, so this only takes out what no reader can have meant. Each rule
has one threshold below, and the first that fits gives the reason, in the order in which a reason is the
truest: what a page is (an error, a wall) before how long it is, how it is made (a soup, repetition) before
its language, and whose text it is last. All rules take time in proportion to the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.filters.language import UNKNOWN, detect_language, function_word_share, iso_code
from pipeline.filters.scripts import unspaced_letters
from pipeline.filters.walls import find_wall
from pipeline.filters.wikipedia import REASON, is_wikipedia_copy
from pipeline.runner.records import Drop


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Which documents stay."""

    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 codes of the languages to keep; none given keeps all."""
    min_language_share: float = 0.5
    """Least share of the text that must be in that language, 0 to 1."""
    min_words: int = 100
    """Least number of words. OpenWebText asked for 128 tokens, which is about 100 English words.
    Of scripts that put no spaces between words (Chinese, Japanese, Thai ...), two letters are a word."""
    drop_wikipedia: bool = True
    """Drop Wikipedia's own pages and copies of its articles on other sites, as WebText did."""
    max_wall_words: int = 500
    """Longer pages are never taken for walls (error, login, cookies, JavaScript, parked domain), which have
    little but sentences such as "page not found"; 0 keeps all."""
    max_keyword_share: float = 0.4
    """Greatest share of words that end in a comma or begin with #; prose has about 0.06."""
    min_distinct_share: float = 0.05
    """Least share of distinct ones among a text's runs of 8 words; with less, each comes 20 times on average.
    Prose has about 1, a song with refrains 0.5."""
    max_link_share: float = 0.6
    """Greatest share of words on short lines with an address, or that break off ("...", "read more")."""
    max_bare_share: float = 0.9
    """Greatest share of an English text's words that may stand on lines without an end of a sentence, where
    the text also has few of the words that sentences need (`max_bare_function_words`): a list of links,
    names or headlines. Poems and songs have those words."""
    max_bare_function_words: float = 0.15
    """Share of function words from which on lines are no bare list, whatever they end in."""


def judge(text: str, url: str, options: RefineOptions, title: str = "") -> tuple[str, float] | Drop:
    """Return a document's language and that language's share of it, or why it goes.

    The reasons: "error page", "login wall", "cookie wall", "JavaScript wall", "parked domain"; "too
    short"; "keyword stuffing", "repetition", "link list"; "no sentences", "other language", "unknown
    language", "mixed languages"; "Wikipedia".
    """
    words = count_words(text)
    if words <= options.max_wall_words:
        wall = find_wall(text, title, options.min_words)
        if wall is not None:
            kind, walled = wall
            return Drop(kind, url, f"{walled} of {words} words")
    if words < options.min_words:
        return Drop("too short", url, f"{words} words")
    shapeless = _shapeless(text, words, url, options)
    if shapeless is not None:
        return shapeless
    language, share = detect_language(text)
    if language in ("en", UNKNOWN) and options.languages and _is_bare_list(text, words, options):
        return Drop("no sentences", url)
    if options.languages and language not in map(iso_code, options.languages):
        return Drop("unknown language" if language == UNKNOWN else "other language", url, language)
    if options.languages and share < options.min_language_share:
        return Drop("mixed languages", url, f"{share:.2f} {language}")
    if options.drop_wikipedia and is_wikipedia_copy(text, title):
        return Drop(REASON, url, "by its text")
    return language, share


def count_words(text: str) -> int:
    """Count what stands between spaces, and a word for two letters of a script that has none."""
    words = len(text.split())
    return words if text.isascii() else words + len(unspaced_letters().findall(text)) // 2


_KEYWORDS = (", ", ",\n", "、", "，", " #", "\n#")  # what keywords stand between


def _shapeless(text: str, words: int, url: str, options: RefineOptions) -> Drop | None:
    """Say what a text is that has no sentences worth the name, in whatever language."""
    keywords = sum(map(text.count, _KEYWORDS))
    if keywords > options.max_keyword_share * words:
        return Drop("keyword stuffing", url, f"{keywords} in {words} words")
    distinct = _distinct_share(text, words)
    if distinct < options.min_distinct_share:
        return Drop("repetition", url, f"{distinct:.3f} of its runs of words are distinct")
    links = _words_on_lines(text, _is_link)
    if links > options.max_link_share * words:
        return Drop("link list", url, f"{links} of {words} words")
    return None


RUN_WORDS = 8
LONGEST_LOOK_WORDS = 100_000  # what repeats itself does so from the beginning


def _distinct_share(text: str, words: int) -> float:
    """Return how many distinct runs of words there are for each run; of characters, where no spaces are."""
    split = text.split(maxsplit=LONGEST_LOOK_WORDS)[:LONGEST_LOOK_WORDS]
    units: Sequence[str] = split if len(split) > words / 2 else text[:LONGEST_LOOK_WORDS]
    runs = list(zip(*(units[start:] for start in range(RUN_WORDS)), strict=False))
    return len(set(runs)) / max(1, len(runs))


def _words_on_lines(text: str, is_counted: Callable[[str], bool]) -> int:
    """Count the words on the lines of a kind; none if the text has too few lines to be a list."""
    lines = text.splitlines()
    if len(lines) < LEAST_LIST_LINES:
        return 0
    return sum(len(line.split()) for line in lines if is_counted(line))


LEAST_LIST_LINES = 5
LONGEST_LINK_CHARACTERS = 150  # of a title and an address; a paragraph with an address in it is longer
_ADDRESSES = ("http://", "https://", "www.")
_BROKEN_OFF = ("...", "…", "read more", "read more »", "continue reading", "continue reading →")


def _is_link(line: str) -> bool:
    return len(line) <= LONGEST_LINK_CHARACTERS and (
        any(address in line for address in _ADDRESSES) or line.rstrip().lower().endswith(_BROKEN_OFF)
    )


_SENTENCE_ENDS = (".", "!", "?", ";", ":", ",", "…", '"', "”", "'", "’", ")")


def _is_bare(line: str) -> bool:
    return not line.rstrip().endswith(_SENTENCE_ENDS)


def _is_bare_list(text: str, words: int, options: RefineOptions) -> bool:
    """Say whether lines without an end make up the text, and few of the words that sentences need."""
    return (
        _words_on_lines(text, _is_bare) > options.max_bare_share * words
        and function_word_share(text)[0] < options.max_bare_function_words
    )
