"""Pages that are not an article of paragraphs in one container come out as what they show."""

import time

import pytest
from lxml.html import HtmlElement, document_fromstring

from pipeline.extract.extraction import Extraction, extract_text
from pipeline.extract.shaping import RULES, shape, wrap_runs

SENTENCE = "On day {} the ferry was late again, and those who waited on the pier told each other why. "
PROSE = [SENTENCE.format(number).strip() + f" Nobody minded the {number} gulls." for number in range(12)]
PARAGRAPHS = [f"<p>{text} {text[:40]}</p>" for text in PROSE]


def lines(body: str) -> list[str]:
    page = f"<!DOCTYPE html><html><head><title>The ferry</title></head><body>{body}</body></html>"
    found = extract_text(page.encode(), "")
    assert isinstance(found, Extraction), found
    return found.text.split("\n")


def shaped(body: str) -> HtmlElement:
    tree = document_fromstring(f"<html><body>{body}</body></html>")
    wrap_runs(tree)
    return tree


@pytest.mark.parametrize(
    "container",
    [
        f"{PROSE[0]}<br><br>{PROSE[1]}<br> <br/>{PROSE[2]}",
        f"{PROSE[0]}<h2>Noon</h2>{PROSE[1]}<ul><li>Fares</li></ul>{PROSE[2]}",
        f"{PROSE[0]}<div>Map</div>{PROSE[1]}<p>{PROSE[2]}</p>",
    ],
)
def test_text_by_itself_becomes_paragraphs_where_browsers_show_them(container: str) -> None:
    tree = shaped(f"<div>{container}</div>")
    assert [paragraph.text_content().strip() for paragraph in tree.iter("p")] == PROSE[:3]


def test_phrases_and_single_breaks_stay_in_their_paragraph_in_order() -> None:
    tree = shaped(
        f"<section>Yesterday <b>no</b> boat <a href=x>came</a>,<br>{PROSE[0]}<hr>{PROSE[1]}<i>!</i></section>"
    )
    first, second = tree.iter("p")
    assert [element.tag for element in first] == ["b", "a", "br"]
    assert first.text_content() == f"Yesterday no boat came,{PROSE[0]}"
    assert second.text_content() == f"{PROSE[1]}!"
    assert [element.tag for element in tree.find(".//section")] == ["p", "hr", "p"]


@pytest.mark.parametrize(
    "body",
    [
        f"<div>{PROSE[0]}</div>",  # a caption, or a notice
        f"<div>{PROSE[0]}<br>{PROSE[1]}</div>",  # one paragraph of two lines
        f"<div>Home<h2>News</h2>Fares<h2>Contact</h2>{PROSE[0]}</div>",
        f"<div><p>{PROSE[0]}</p> <p>{PROSE[1]}</p></div>",
    ],
)
def test_what_is_no_row_of_paragraphs_stays_as_it_is(body: str) -> None:
    before = document_fromstring(f"<html><body>{body}</body></html>")
    assert [element.tag for element in shaped(body).iter()] == [element.tag for element in before.iter()]


def test_containers_that_are_paragraphs_are_so_beside_one_that_was_divided() -> None:
    parts = [f"<div class=part>{text}</div>" for text in PROSE]
    divided = f"<div class=part>{PROSE[0]} Yes.<br><br>{PROSE[1]} Yes.</div>"
    found = "\n".join(lines(f"<div class=content>{''.join(parts[:6])}{divided}{''.join(parts[6:])}</div>"))
    assert [text for text in PROSE if text not in found] == []


def test_line_that_a_page_repeats_stands_as_often_as_on_the_page() -> None:
    chorus = f"<p>{PROSE[0]} And so say <b>all</b> of us.</p>"
    body = f"<article><h1>Song</h1>{PARAGRAPHS[1]}{chorus}{chorus}{PARAGRAPHS[2]}{chorus}</article>"
    found = lines(body)
    text = f"{PROSE[0]} And so say all of us."
    assert found.count(text) == 3
    assert all(character < "\u2800" or character > "\u28ff" for line in found for character in line)


def test_article_in_several_containers_is_taken_whole_and_in_order() -> None:
    chunk = (
        "<div class=row><div class='col article__body'>{}</div></div><div class=row><span>Offer</span></div>"
    )
    chunks = "".join(chunk.format("".join(PARAGRAPHS[start : start + 4])) for start in (0, 4, 8))
    found = "\n".join(lines(f"<main><article><h1>The ferry</h1><div>{chunks}</div></article></main>"))
    places = [found.find(text) for text in PROSE]
    assert -1 not in places and places == sorted(places)


def test_posts_of_a_blog_are_not_made_one_article() -> None:
    post = "<article><h2>{}</h2><div class=entry-content>{}</div></article>"
    posts = "".join(post.format(n, "".join(PARAGRAPHS[n * 4 : n * 4 + 4])) for n in range(3))
    assert PROSE[11] not in "\n".join(lines(f"<main>{posts}</main>"))


@pytest.mark.parametrize("wrapper", ["div class=social-media-embed", "div class='post-embed wide'", "figure"])
def test_quotation_that_is_embedded_stays(wrapper: str) -> None:
    quote = f"<{wrapper}><blockquote class=tweet><p>{PROSE[9]}</p>— Harbour (@harbour)</blockquote>"
    tag = wrapper.partition(" ")[0]
    body = f"<article>{PARAGRAPHS[0]}{quote}</{tag}>{''.join(PARAGRAPHS[1:6])}</article>"
    assert PROSE[9] in "\n".join(lines(body))


GALLERY = (
    "<div class='{}'><ul>" + "".join(f"<li><p>{text} {text}</p></li>" for text in PROSE[6:]) + "</ul></div>"
)


@pytest.mark.parametrize("name", ["photo-gallery", "slideshow wide", "Gallery"])
def test_gallery_with_stories_of_its_own_is_not_the_articles(name: str) -> None:
    article = "".join(f"{paragraph}{paragraph.replace('day', 'week')}" for paragraph in PARAGRAPHS[:6])
    found = "\n".join(lines(f"<article>{article}{GALLERY.format(name)}</article>"))
    assert PROSE[5] in found and PROSE[7] not in found


def test_gallery_that_is_the_article_stays() -> None:
    assert PROSE[7] in "\n".join(lines(f"<article><h1>12 gulls</h1>{GALLERY.format('gallery')}</article>"))


def test_messages_of_a_player_are_removed() -> None:
    player = f"<div class='wide video-js paused'><div><p>{PROSE[11]}</p></div></div>"
    found = lines(f"<article>{''.join(PARAGRAPHS[:6])}{player}</article>")
    assert PROSE[11] not in "\n".join(found) and len(found) == 6


@pytest.mark.parametrize(
    "page",
    [
        "<div class='gallery'>" * 20_000 + PROSE[0],
        f"<div class='article__body'>{PROSE[0]}<br><br>{PROSE[1]}" * 5_000,
        f"<article><div class='article__body'><p>{PROSE[0]}" * 5_000,
        f"<div class=embed><blockquote><p>{PROSE[0]}" * 5_000,
    ],
)
def test_rules_take_time_in_proportion_to_a_page_however_deep(page: str) -> None:
    from pipeline.extract.extraction import _parser

    tree = document_fromstring(page, parser=_parser())
    started = time.process_time()
    shape(tree)
    assert time.process_time() - started < 3


def test_every_rule_leaves_the_words_of_a_plain_article() -> None:
    for rule in RULES:
        tree = document_fromstring(f"<html><body><article>{''.join(PARAGRAPHS)}</article></body></html>")
        before = tree.text_content()
        rule(tree)
        assert tree.text_content() == before
