"""trafilatura gets less to do, and finds the same."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from justext.core import ParagraphMaker, PathInfo
from justext.paragraph import Paragraph
from justext.utils import get_stoplist, get_stoplists
from lxml.etree import XPath
from lxml.html import HtmlElement, HTMLParser, document_fromstring, tostring
from trafilatura import bare_extraction

from pipeline.extract.characters import tidy
from pipeline.extract.extraction import _trafilatura
from pipeline.extract.patches import (
    FORUM,
    OpenElements,
    guarded,
    quickened,
    shorten_paths,
    stop_words,
    thinned,
)
from pipeline.extract.searches import Search

STORY = "".join(
    f"<p>The ferry was late on day {n}, and those who waited printed each other why.</p>" for n in range(8)
)
NOISE = "<nav><p>Harbour</p></nav>{}<script>let tide = 1</script> tail <svg><use/></svg><aside>Fares</aside>"


def precise(tree: HtmlElement) -> str:
    document = bare_extraction(tree, fast=True, favor_precision=True, include_comments=False)
    return (document.text or "") if document else ""


def test_list_of_expressions_is_one_search_if_it_can_be() -> None:
    first, second = ".//p[@class='a']", ".//*[contains(@id, 'b')]"
    (both,) = quickened([first, second])
    tree = document_fromstring("<div><b id='b'>1</b><p class='a'>2</p><p class='a' id='ab'>3</p></div>")
    assert [element.text for element in both(tree)] == ["1", "2", "3"]
    each = quickened([first, "//p[@class='a']", "(.//p)[1]"])
    assert [type(one) for one in each] == [Search, XPath, Search]
    assert [[element.text for element in one(tree)] for one in each] == [["2", "3"], ["2", "3"], ["2"]]


@pytest.mark.parametrize(
    "body", [f"<article>{STORY}</article>", "<p>Short.</p>", f"<div>{STORY}</div>{NOISE}"]
)
@pytest.mark.parametrize(("precision", "fast"), [(True, True), (False, True), (False, False)])
def test_text_is_that_of_trafilatura_itself(body: str, precision: bool, fast: bool) -> None:
    """In a process of its own nothing is patched."""
    tree = document_fromstring(f"<html><body>{body}</body></html>")
    command = (
        "import sys\nfrom lxml.html import document_fromstring\nfrom trafilatura import bare_extraction\n"
        f"tree = document_fromstring({tostring(tree, encoding='unicode')!r})\n"
        f"found = bare_extraction(tree, favor_precision={precision}, fast={fast}, include_comments=False)\n"
        "print(found.text if found else '', end='')"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout
    assert _trafilatura(tree, precision=precision, fast=fast) == tidy(theirs)


def test_tests_of_attributes_are_guarded_whatever_their_form() -> None:
    path = """.//*[re:test(@id|@class, '^a(b|c)', 'i') or re:test(@data-x,'d')]"""
    assert guarded(path) == (
        ".//*[(@id|@class and re:test(string(@id|@class), '^a(b|c)', 'i'))"
        " or (@data-x and re:test(string(@data-x), 'd'))]"
    )


def test_page_without_its_noise_has_the_same_text() -> None:
    tree = document_fromstring(f"<html><body>{NOISE.format(f'<article>{STORY}</article>')}</body></html>")
    thin = thinned(tree, is_forum=False)
    assert {element.tag for element in thin.iter()} == {"html", "body", "article", "p"}
    assert precise(thin) == precise(tree) != ""
    assert tree.find(".//nav") is not None  # the page itself is as it was


@pytest.mark.parametrize("tag", ["form", "figure"])
def test_what_is_removed_only_for_what_it_holds_stays(tag: str) -> None:
    table = "<table><tr><td>Tide</td><td>4 m</td></tr></table>"
    tree = document_fromstring(f"<html><body><article><{tag}>{STORY}{table}</{tag}></article></body></html>")
    assert precise(thinned(tree, is_forum=False)) == precise(tree)
    assert "The ferry was late" in precise(tree)


def test_forum_is_still_known_by_its_scripts() -> None:
    script = f'<script type="application/ld+json">{{"@type": "{FORUM}"}}</script>'
    tree = document_fromstring(f"<html><head>{script}</head><body>{NOISE.format(STORY)}</body></html>")
    thin = thinned(tree, is_forum=True)
    assert FORUM in (thin.findtext(".//script[@type='application/ld+json']") or "")


def test_nested_asides_do_not_shield_the_next() -> None:
    asides = (
        "<aside><aside>Fares</aside></aside><aside><p>Timetables of all lines are at the pier.</p></aside>"
    )
    tree = document_fromstring(f"<html><body><article>{STORY}{asides}</article></body></html>")
    assert "Timetables" not in precise(thinned(tree, is_forum=False))


@given(
    st.lists(st.sampled_from(["div", "p", "h1", "h6", "x-h2", "selected", "select", "option", "h10", None]))
)
def test_paragraphs_have_the_same_answers_as_with_whole_paths(steps: list[str | None]) -> None:
    """None leaves an element."""
    whole, short, depth = PathInfo(), OpenElements(), 0
    for tag in steps:
        if tag is not None:
            whole.append(tag)
            short.append(tag)
            depth += 1
        elif depth:
            whole.pop()
            short.pop()
            depth -= 1
        assert Paragraph(short).is_heading == Paragraph(whole).is_heading
        assert ("select" in short.dom) == ("select" in whole.dom)


def test_nested_elements_cost_no_more_than_their_number() -> None:
    """With whole paths, eight times as many cost sixty-four times as much."""

    def seconds(depth: int) -> float:
        page = "<div>" * depth + "</div>text" * depth
        tree = document_fromstring(page, parser=HTMLParser(huge_tree=True))
        started = time.thread_time()
        assert len(ParagraphMaker.make_paragraphs(tree)) > 0.9 * depth
        return time.thread_time() - started

    shorten_paths()
    assert min(seconds(2_000) for _ in range(3)) < 24 * min(seconds(250) for _ in range(5))


def test_stop_words_are_those_of_all_lists() -> None:
    assert stop_words() == {word for language in get_stoplists() for word in get_stoplist(language)}
