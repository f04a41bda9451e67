"""The text of a page comes out, whatever its bytes are; hostile pages cost only themselves."""

import time

import pytest
from lxml.html import document_fromstring

from pipeline.extract import extraction
from pipeline.extract.extraction import Extraction, extract_text
from pipeline.runner.records import Drop

STORY = (
    "The river rose all night and by the morning the lower road had gone. "
    "Nobody in the village could remember such a flood, though the church wall carries marks of five."
)


def page(text: str, head: str = "") -> str:
    paragraphs = "".join(f"<p>{text} Part {number}.</p>" for number in range(6))
    return (
        f"<html><head><title>The flood</title>{head}</head><body>"
        "<nav><a href='/'>Home</a> <a href='/x'>Shop</a></nav>"
        f"<article><h1>The flood</h1>{paragraphs}</article>"
        "<footer>Copyright, imprint</footer></body></html>"
    )


def test_article_comes_out_without_navigation_and_footer() -> None:
    found = extract_text(page(STORY).encode(), "")
    assert isinstance(found, Extraction)
    assert STORY in found.text
    assert "Shop" not in found.text
    assert "imprint" not in found.text
    assert found.title == "The flood"


def test_date_that_the_page_declares_is_kept() -> None:
    head = '<meta property="article:published_time" content="2017-03-04T10:00:00Z">'
    found = extract_text(page(STORY, head).encode(), "")
    assert isinstance(found, Extraction)
    assert found.date == "2017-03-04"


@pytest.mark.parametrize(
    ("head", "canonical"),
    [
        ("", ""),
        ('<link rel="canonical" href="https://b.example/flood">', "https://b.example/flood"),
        ('<link rel="Canonical nofollow" href="/flood">', "/flood"),
        ('<base href="/old/"><link rel=canonical href=flood>', "/old/flood"),
        ('<meta property="og:url" content="https://c.example/">', "https://c.example/"),
        (
            '<meta property="og:url" content="https://c.example/"><link rel=canonical href="https://b.example/">',
            "https://b.example/",
        ),
        ('<link rel="canonical" href="http://[::"><link rel="canonical" href="javascript:0">', ""),
        ('<link rel="stylesheet" href="/canonical">', ""),
    ],
)
def test_canonical_address_is_an_address_of_the_web_or_empty(head: str, canonical: str) -> None:
    found = extract_text(page(STORY, head).encode(), "")
    assert isinstance(found, Extraction)
    assert found.canonical == canonical


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [("utf-8", ""), ("iso-8859-1", "ISO-8859-1"), ("windows-1251", "cp1251"), ("utf-16", "utf-16")],
)
def test_charset_of_the_header_decodes_the_page(encoding: str, charset: str) -> None:
    text = "Déjà vu à la carte, naïve café. " if encoding != "windows-1251" else "Река поднялась ночью. "
    found = extract_text(page(text * 3).encode(encoding), charset)
    assert isinstance(found, Extraction)
    assert text.strip() in found.text


@pytest.mark.parametrize("charset", ["no-such-charset", "utf-16", "base64", "ascii", "\0", "idna"])
def test_wrong_charset_in_the_header_does_no_harm(charset: str) -> None:
    found = extract_text(page(STORY + " Déjà vu.").encode(), charset)
    assert isinstance(found, Extraction)
    assert "Déjà vu" in found.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "empty page"), (b"  \n ", "empty page"), (b"<html><body></body></html>", "no text found")],
)
def test_page_without_text_is_dropped_with_its_reason(body: bytes, reason: str) -> None:
    found = extract_text(body, "")
    assert isinstance(found, Drop)
    assert found.reason == reason


@pytest.mark.parametrize("body", [b"\x00\xff" * 5000, b"%PDF-1.4 stream", b"<" * 100_000, b"<div>" * 20_000])
def test_nonsense_is_a_drop_and_never_an_exception(body: bytes) -> None:
    assert isinstance(extract_text(body, ""), Drop)


def prose(html: str, at_least: float = 0) -> int:
    return extraction._prose_characters(document_fromstring(html), at_least)


def test_prose_is_what_is_neither_link_nor_menu_nor_comment() -> None:
    long = "a" * extraction.PROSE_CHARACTERS
    assert prose(f"<div><div><p>{long}</p>{long}</div></div>") == 2 * len(long)
    for inside in ("<a>", "<nav>", "<form>", "<div class='the-comments'>", "<div id='comment-1'><b>"):
        assert prose(f"<div><div>{inside}{long}</div></div>") == 0
    assert prose(f"<div><div><a>b</a>{long}</div></div>") == len(long)  # behind a link is not in it
    assert prose(f"<div><div><p>{long[1:]}</p></div></div>") == 0


def test_prose_is_not_looked_for_where_all_texts_are_too_few() -> None:
    page = f"<div><p>{'a' * extraction.PROSE_CHARACTERS}</p></div>"
    assert prose(page, extraction.PROSE_CHARACTERS) == extraction.PROSE_CHARACTERS
    assert prose(page, extraction.PROSE_CHARACTERS + 1) == 0


def test_prose_in_nested_elements_takes_time_in_proportion() -> None:
    text = "a" * extraction.PROSE_CHARACTERS
    tree = extraction._parse("<html><body>" + f"<div>{text}" * 4_000)
    assert tree is not None
    started = time.process_time()
    assert extraction._prose_characters(tree) == 2 * extraction.PROSE_CHARACTERS
    assert time.process_time() - started < 1
