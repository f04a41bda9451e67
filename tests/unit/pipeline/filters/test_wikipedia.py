"""Wikipedia goes by address and by content; what talks about it stays."""

import time

import pytest

from pipeline.filters.wikipedia import is_declared_in_html, is_wikipedia_address, is_wikipedia_copy

STORY = "The harbour of the town was closed after the storm, and the boats went elsewhere. " * 20


@pytest.mark.parametrize(
    "address",
    [
        "https://en.wikipedia.org/wiki/Harbour",
        "http://wikipedia.org/",
        "https://de.m.wikipedia.org/wiki/Hafen",
        "https://simple.wikipedia.org/w/index.php?title=Harbour&oldid=12",
        "https://en.wikipedia.org/wiki/Special:Search?search=harbour",
        "HTTPS://EN.WIKIPEDIA.ORG./wiki/Harbour#History",
        "https://web.archive.org/web/2012/http://en.wikipedia.org/wiki/Harbour",
        "https://www.wikiwand.com/en/Harbour",
        "https://en-wikipedia-org.translate.goog/wiki/Harbour",
    ],
)
def test_addresses_of_wikipedia_and_its_mirrors_are_known(address: str) -> None:
    assert is_wikipedia_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "https://wikipedia.org.example.com/",
        "https://notwikipedia.org/Harbour",
        "https://wikimediafoundation.org/news/",
        "https://news.example.com/why-wikipedia-works",
        "https://boats.fandom.com/wiki/Harbour",
    ],
)
def test_other_addresses_are_not_wikipedia(address: str) -> None:
    assert not is_wikipedia_address(address)


@pytest.mark.parametrize(
    "mark",
    [
        "From Wikipedia, the free encyclopedia",
        "This article uses material from the Wikipedia article Harbour.",
        "It uses material from the Wikipedia article “Harbour”.",
        "This page is based on a Wikipedia article written by contributors.",
        "This entry is from Wikipedia, the leading user-contributed encyclopedia.",
        "This article is based on the article Harbour from the free encyclopedia Wikipedia.",
        "Sourced from Wikipedia. Retrieved on 3 May 2012.",
        'Retrieved from "https://en.wikipedia.org/w/index.php?title=Harbour"',
        "This article about a harbour is a stub. You can help Wikipedia by expanding it.",
        "Text from Wikipedia, available under the CC BY-SA licence",
        "Aus Wikipedia, der freien Enzyklopädie",
        "Материал из Википедии — свободной энциклопедии",
        "出典: フリー百科事典『ウィキペディア(Wikipedia)』",
    ],
)
def test_copy_is_known_by_what_its_licence_makes_it_say(mark: str) -> None:
    assert is_wikipedia_copy(f"{mark}\n{STORY}")
    assert is_wikipedia_copy(f"{STORY}\n{mark}")


def test_source_named_last_is_the_texts_and_above_it_a_pictures() -> None:
    assert is_wikipedia_copy(f"{STORY}\nSource: Wikipedia")
    assert not is_wikipedia_copy(f"The harbour in 1900\nSource: Wikipedia\n{STORY}")


@pytest.mark.parametrize(
    "html",
    [
        '<div id="siteSub">From <b>Wikipedia</b>, the free encyclopedia</div><p>A harbour is a place.</p>',
        '<p>A harbour</p><p class="foot">It uses material from the <a href="https://en.wikipedia.org/wiki/'
        'Harbour">Wikipedia article "Harbour"</a>.</p>',
        "<footer>Wikipedia&reg; is a registered trademark of its foundation</footer>",
    ],
)
def test_licence_that_extraction_leaves_out_is_found_in_the_page(html: str) -> None:
    assert is_declared_in_html(html.encode())


@pytest.mark.parametrize(
    "html",
    [
        "<p>The text was copied from a Wikipedia article, the court heard.</p>",
        "<p>He took it from Wikipedia, the free encyclopedia, he said.</p>",
        "<p>It was the subject of a Wikipedia article in 2009. It is one of many.</p>",
        '<p>See <a title="From Wikipedia, the free encyclopedia" href="https://en.wikipedia.org/">this</a>.</p>',
        "<figcaption>Source: Wikipedia</figcaption><p>The harbour was closed.</p>",
        "<p>Students whose work includes text from Wikipedia will fail.</p>",
    ],
)
def test_page_that_talks_of_wikipedia_declares_nothing(html: str) -> None:
    assert not is_declared_in_html(html.encode())


@pytest.mark.slow
@pytest.mark.parametrize(
    "html",
    [
        b"wikipedia " * 500_000,
        b"<" * 5_000_000 + b"wikipedia" + b"<" * 5_000_000,
        (b"wikipedia>" + b" " * 300) * 15_000,
        (b"wikipedia>" + b"<b>" * 100) * 15_000,
        (b"wikipedia>" + b"<" * 300) * 15_000,
        (b"article from wikipedia " + b"this article is from wikipedia " * 9) * 15_000,
    ],
    ids=range(6),
)
def test_hostile_page_is_read_in_time_in_proportion_to_its_length(html: bytes) -> None:
    started = time.process_time()
    assert not is_declared_in_html(html)
    assert time.process_time() - started < 3


def test_title_of_wikipedia_is_known() -> None:
    assert is_wikipedia_copy(STORY, "Harbour - Wikipedia")
    assert is_wikipedia_copy(STORY, "Harbour — Wikipedia, the free encyclopedia")
    assert not is_wikipedia_copy(STORY, "How I came to edit Wikipedia")


def test_bare_copy_is_known_by_its_editors_marks() -> None:
    article = (
        "This article needs additional citations for verification.\n"
        "For other uses, see Harbour (disambiguation).\n"
        f"{STORY}\nThe wall is said to be Roman.[citation needed]\nHistory[edit]\n{STORY}\n"
        "See also\nList of harbours\nExternal links\n"
    )
    assert is_wikipedia_copy(article)


@pytest.mark.parametrize(
    "text",
    [
        f"Wikipedia, the encyclopedia that anyone can edit, has a new editor. {STORY}",
        f"{STORY}\nAccording to Wikipedia, the harbour was built in 1820. She read that article twice.",
        f"{STORY}\nThe museum's page on Wikipedia was blanked: https://en.wikipedia.org/wiki/Museum",
        f"{STORY}\nHe copied a text 'from Wikipedia, the free encyclopedia', the court heard.\n{STORY}",
        f"He joked that his whole life needs a [citation needed] tag. {STORY}",
        # another wiki, of the same software
        f"Jump to navigation\nHarbour[edit]\n{STORY}\nSee also\nBoats\nCategories: Places\n^ a b The game",
    ],
)
def test_talk_about_wikipedia_and_other_wikis_stay(text: str) -> None:
    assert not is_wikipedia_copy(text)
