"""A page is dropped at first sight only if no document in a wanted language can be in it."""

import random

import pytest

from pipeline.extract import prefilter as module
from pipeline.extract.prefilter import PrefilterOptions, prefilter
from pipeline.runner.drops import Drop

GERMAN = (
    "Nach dem Sturm blieb der Hafen geschlossen, und niemand wusste, wann die Boote zurückkehren würden. "
)
ENGLISH = (
    "After the storm the harbour stayed closed, and nobody knew when the boats would be able to return. "
)
MENU = (
    "Follow us", "Subscribe now", "Customer service", "Read more", "Terms and conditions",
    "About this website", "Share with friends", "Download the app", "Latest news from the harbour",
)  # fmt: skip


def look(text: str) -> Drop | None:
    return prefilter(text, ("en",), PrefilterOptions())


def test_english_words_in_menus_are_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    page = "".join(f"{GERMAN * 3}\n" + "\n".join(chance.sample(MENU, 3)) + "\n" for _ in range(20))
    assert isinstance(found := look(page), Drop)
    assert found.reason == "other language"
    monkeypatch.setattr(module, "_bytes_in_sentences", lambda text, codes: len(text))
    assert look(page) is None  # as many characters, were they sentences


def test_english_article_between_german_ones_is_looked_at() -> None:
    page = GERMAN * 30 + "\n" + ENGLISH * 8 + "\n" + GERMAN * 30
    assert look(page) is None


def test_english_paragraphs_among_german_ones_are_looked_at() -> None:
    page = "".join(f"{GERMAN * 15}\n{ENGLISH * 2}\n" for _ in range(6))
    assert look(page) is None


def test_few_english_sentences_are_no_document() -> None:
    assert look(GERMAN * 40 + "\n" + ENGLISH * 2) is not None


@pytest.mark.parametrize(
    "form", ["<script>{}</script>", "<style>{}</style>", "<!-- {} -->", "<p title='{}'>"]
)
def test_what_nobody_reads_is_in_no_language(form: str) -> None:
    assert look(f"<html lang='en'><body>{form.format(ENGLISH * 30)}<p>{GERMAN * 10}</p></body></html>")
    assert (
        look(f"<html lang='de'><body>{form.format(GERMAN * 30)}<p>{ENGLISH * 10}</p></body></html>") is None
    )


@pytest.mark.parametrize("page", ["", "<p>", "\x00\ud800", "&#xD800;", GERMAN * 9 + "\x01"])
def test_what_cannot_be_judged_is_looked_at(page: str) -> None:
    assert look(page) is None


def test_lone_surrogates_are_no_obstacle() -> None:
    assert look(GERMAN * 40 + "\ud800" + GERMAN) is not None
