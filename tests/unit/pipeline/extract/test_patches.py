"""trafilatura gets less to do, and finds the same."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from justext.core import ParagraphMaker, PathInfo
from justext.paragraph import Paragraph
from lxml.etree import XPath
from lxml.html import HtmlElement, HTMLParser, document_fromstring
from trafilatura import bare_extraction, xpaths

from pipeline.extract.patches import FORUM, OpenElements, quickened, shorten_paths, thinned

STORY = "".join(
    f"<p>The ferry was late on day {n}, and those who waited printed each other why.</p>" for n in range(8)
)
NOISE = "<nav><p>Harbour</p></nav>{}<script>let tide = 1</script> tail <svg><use/></svg><aside>Fares</aside>"
VALUES = st.sampled_from(
    [
        "",
        "comment",
        "sidebar",
        "post-content",
        "x hidden",
        "cookie-bar",
        "reply-1",
        "bottom",
        "nav menu",
        "story",
    ]
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["id", "class", "style", "role", "title"]), VALUES)


def precise(tree: HtmlElement) -> str:
    document = bare_extraction(tree, fast=True, favor_precision=True, include_comments=False)
    return (document.text or "") if document else ""


def fragment(elements: list[tuple[str, dict[str, str]]]) -> str:
    return "".join(
        f"<{tag} "
        + " ".join(f'{name}="{value}"' for name, value in attributes.items())
        + f">a<p>b</p></{tag}>"
        for tag, attributes in elements
    )


@given(
    st.lists(st.tuples(st.sampled_from(["div", "section", "span", "p", "h1", "ul"]), ATTRIBUTES), max_size=8)
)
def test_quickened_expressions_find_the_same_elements(elements: list[tuple[str, dict[str, str]]]) -> None:
    tree = document_fromstring(f"<div id='content'>{fragment(elements)}</div>")
    for expressions in (xpaths.OVERALL_DISCARD_XPATH, xpaths.PRECISION_DISCARD_XPATH, xpaths.BODY_XPATH):
        for expression in expressions:
            quick = XPath(quickened(expression.path), namespaces={"re": xpaths.REGEXP_NS})
            assert quick(tree) == expression(tree)


def test_tests_of_attributes_are_guarded_whatever_their_form() -> None:
    path = """.//*[re:test(@id|@class, '^a(b|c)', 'i') or re:test(@data-x,'d')]"""
    assert quickened(path) == (
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
    """With whole paths, four times as many cost sixteen times as much."""

    def seconds(depth: int) -> float:
        page = "<div>" * depth + "</div>text" * depth
        tree = document_fromstring(page, parser=HTMLParser(huge_tree=True))
        started = time.thread_time()
        assert len(ParagraphMaker.make_paragraphs(tree)) > 0.9 * depth
        return time.thread_time() - started

    shorten_paths()
    assert min(seconds(2_000) for _ in range(3)) < 10 * min(seconds(500) for _ in range(3))
