"""Each rule drops the page it is for, with its reason, and keeps the one that only looks like it."""

import time

import pytest

from pipeline.filters.quality import RefineOptions, count_words, judge
from pipeline.runner.records import Drop

URL = "http://a.example/"
ENGLISH = (
    "The committee met on Tuesday to discuss the harbour, and nobody could agree on what to do with it. "
)
GERMAN = "Der Ausschuss traf sich am Dienstag, um über den Hafen zu sprechen, doch niemand wusste einen Rat. "
FRENCH = (
    "Le comité s'est réuni mardi pour parler du port, mais personne ne savait ce qu'il fallait en faire. "
)
WHO = ["Nobody", "Everybody", "Ann", "Peter", "She", "They"]
DID = ["gone home", "stayed in bed", "written to us", "eaten", "sung of it", "left the town"]
WHAT = ["storm", "fleet", "mayor", "ice", "night train", "king", "whale", "flood", "fog"]
# 18 sentences, no two alike: what an article has between its top and its bottom.
STORY = " ".join(
    f"{WHO[n % 6]} had {DID[n % 5]} before the {WHAT[n % 9]} came to the harbour in {1900 + n}."
    for n in range(18)
)


def verdict(text: str, title: str = "", **options: object) -> tuple[str, float] | Drop:
    return judge(text, URL, RefineOptions(**options), title)  # type: ignore[arg-type]


def reason(text: str, title: str = "", **options: object) -> str:
    found = verdict(text, title, **options)
    return found.reason if isinstance(found, Drop) else ""


def test_english_stays_with_its_share() -> None:
    language, share = verdict(STORY)  # type: ignore[misc]
    assert language == "en"
    assert share > 0.9


@pytest.mark.parametrize(("text", "code"), [(GERMAN * 10, "de"), (FRENCH * 10, "fr")])
def test_other_languages_go_and_are_named(text: str, code: str) -> None:
    assert verdict(text) == Drop("other language", URL, code)
    assert not reason(text, languages=(code,))
    assert not reason(text, languages=())


def test_text_that_is_half_in_another_language_goes() -> None:
    other = " ".join(f"{GERMAN[:-2]} {number}." for number in range(9))
    assert reason(f"{STORY}\n{STORY}\n{other}\n{other}", min_language_share=0.9) == "mixed languages"
    assert not reason(f"{STORY}\n{STORY}\n{GERMAN}")


def test_short_text_goes() -> None:
    assert verdict(ENGLISH) == Drop("too short", URL, "19 words")
    assert not reason(" ".join(STORY.split()[:100]))
    assert reason(" ".join(STORY.split()[:99])) == "too short"


def test_words_are_counted_where_no_spaces_stand_between_them() -> None:
    assert count_words("one two  three\nfour") == 4
    assert count_words("没有人知道船只什么时候能够回来") == 1 + 15 // 2
    assert count_words("어디에도 배가 없다") == 3


def test_no_language_has_a_reason_of_its_own() -> None:
    code = "\n".join(f"x{number} = f(a[{number}], b[{number + 1}]) + {number};" for number in range(60))
    assert reason(code) == "unknown language"
    assert not reason(f"{STORY}\n{code}")


WALLS = {
    "error page": (
        "404 Not Found",
        "Oops! That page can't be found. It looks like nothing was found at this location. The page you "
        "are looking for may have been moved or deleted. Maybe try a search?",
    ),
    "JavaScript wall": (
        "",
        "JavaScript is disabled in your browser. Please enable JavaScript to proceed. Part of this "
        "site couldn't load: check your browser and turn on JavaScript, or disable your ad blocker.",
    ),
    "cookie wall": (
        "Your privacy choices",
        "We value your privacy. We and our partners store and access information on a device and use "
        "cookies and similar technologies. You may accept all or manage preferences, and withdraw your "
        "consent at any time. Some processing rests on legitimate interest; see our cookie policy.",
    ),
    "login wall": (
        "Log in to continue",
        "Please log in to read this page. Forgot your password? Don't have an account? Create an account "
        "now. Already a subscriber? Sign in to continue, or subscribe now, cancel anytime.",
    ),
    "parked domain": (
        "harbour.example domain is for sale",
        "Buy this domain. The domain owner may be asked for the price, so make an offer. Related searches: "
        "boats, ropes, sails. This domain is registered, and the sponsored listings are not its owner's.",
    ),
}


@pytest.mark.parametrize("kind", WALLS)
def test_wall_goes_with_its_kind_and_what_tells_of_it_stays(kind: str) -> None:
    title, text = WALLS[kind]
    assert reason(text, title) == kind
    assert reason(f"{text}\nHome\nAbout us\nContact\nTerms\nImprint\nAll rights reserved", title) == kind
    assert not reason(f"{STORY}\n{text}")  # an article with such a footer
    assert not reason(STORY, title)  # an article about such pages
    assert reason(f"{text}\n{text}", title, max_wall_words=0) != kind


def test_wall_of_one_line_is_a_wall_before_it_is_short() -> None:
    assert reason("You must be logged in to view this page.") == "login wall"
    assert reason(ENGLISH * 3 + "He said that you must be logged in to see it.") == "too short"


def test_keyword_soup_goes_and_a_recipe_stays() -> None:
    soup = "cheap flights, london hotels, car hire, city breaks, last minute, best price, " * 2
    tags = " ".join(f"#{word}" for word in STORY.replace(".", "").split())
    assert reason(soup + ", ".join(STORY.split())) == "keyword stuffing"
    assert reason(tags) == "keyword stuffing"
    recipe = "\n".join(
        ["Two cups of flour, one of sugar, three eggs, butter, salt, lemon, milk, yeast, raisins, almonds"]
        + [f"{number}. {step}" for number, step in enumerate(STORY.split(". "), 1)]
    )
    assert not reason(recipe)


def test_endless_repetition_goes_and_a_song_with_its_refrain_stays() -> None:
    assert reason(ENGLISH * 100) == "repetition"
    assert reason("\n".join(["Reply", "Share", "Report this post to the moderators"] * 100)) == "repetition"
    refrain = "Oh carry me home to the harbour wall\nWhere the boats are asleep and the night birds call\n"
    verses = [" ".join(STORY.split()[start : start + 24]) for start in range(0, 120, 24)]
    assert not reason("".join(f"{verse}\n{refrain}{refrain}" for verse in verses))


HEADLINES = """
Storm closes harbour, mayor quits
Night train late again
King visits fish market
Five ways to cook a herring
Rovers beat United in extra time
Fog halts ferry, hundreds stranded
New bridge opens Monday
Whale found near lighthouse
Council votes down tram plan
"""


def test_list_of_links_goes_and_an_article_with_sources_stays() -> None:
    titles = [line for line in HEADLINES.splitlines() if line] * 3
    links = "\n".join(f"{title} - http://news.example/{n}" for n, title in enumerate(titles))
    assert reason(links) == "link list"
    assert (
        reason("\n".join(f"{title} before the others see it...\nRead more »" for title in titles))
        == "link list"
    )
    assert not reason(f"{STORY}\nSources\n{links[:600]}")
    assert not reason("\n".join([f"{STORY} It stands on https://news.example/1 as well."] * 5))


def test_bare_list_goes_and_a_poem_without_stops_stays() -> None:
    menu = "Home\nAbout us\nNews archive\nContact the editors\nImprint\nPrivacy\nShop\nSitemap\n"
    assert reason(menu + HEADLINES * 3) == "no sentences"
    assert not reason("\n".join(sentence.rstrip(".") for sentence in STORY.split(". ")))
    assert not reason(f"{STORY}\n{HEADLINES * 3}")


LEFT_ALONE = {
    "interview": "\n".join(f"{'Q' if n % 2 else 'A'}: {line}." for n, line in enumerate(STORY.split(". "))),
    "chat": "\n".join(f"<ann{n % 3}> {line.lower()}" for n, line in enumerate(STORY.split(". "))),
    "glossary": "\n".join(f"Term{n} – {line.lower()}" for n, line in enumerate(STORY.split(". "))),
    "questions": "\n".join(
        f"What happened in {1900 + n}?\n{line}." for n, line in enumerate(STORY.split(". "))
    ),
    "scores": STORY + "\n" + "\n".join(f"Rovers {n} United {n % 4}" for n in range(30)),
    "law": "\n".join(
        f"§ {n}. ({n % 3}) Whereas {line.lower()}; and" for n, line in enumerate(STORY.split(". "))
    ),
}


@pytest.mark.parametrize("kind", LEFT_ALONE)
def test_prose_of_unusual_form_stays(kind: str) -> None:
    assert not reason(LEFT_ALONE[kind])


def test_copy_of_wikipedia_goes_last() -> None:
    mark = "From Wikipedia, the free encyclopedia"
    assert verdict(f"{mark}\n{STORY}") == Drop("Wikipedia", URL, "by its text")
    assert verdict(STORY, "Harbour - Wikipedia") == Drop("Wikipedia", URL, "by its text")
    assert not reason(f"{mark}\n{STORY}", drop_wikipedia=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000_000,
        "a " * 1_000_000,
        "wikipedia article is " * 100_000,
        "from wikipedia " + "the " * 500_000,
        "\n" * 1_000_000,
        "line of words\n" * 300_000,
        "[edit] " * 300_000,
        "港" * 1_000_000,
        "," * 3_000_000,
        "page not found " * 200_000,
        "\u0301" * 1_000_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_text_takes_time_in_proportion_to_its_length(text: str) -> None:
    started = time.process_time()
    assert isinstance(judge(text, URL, RefineOptions(), text[:10_000]), Drop)
    assert time.process_time() - started < 5
