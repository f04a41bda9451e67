"""A search finds what its XPath expression finds, in the same order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml.etree import XPath
from lxml.html import HtmlElement, document_fromstring
from trafilatura import settings, xpaths

from pipeline.extract import searches
from pipeline.extract.searches import Search

LISTS = ("BODY", "REMOVE", "RAW", "OVERALL", "TEASER", "PRECISION", "DISCARD")
# As trafilatura has them, before anything here puts others in their place.
PATHS = [
    each.path
    for name, expressions in vars(xpaths).items()
    if isinstance(expressions, list) and name.startswith(LISTS)
    for each in expressions
] + [settings.BASIC_CLEAN_XPATH.path]  # fmt: skip
LEFT_TO_XPATH = [path for path in PATHS if "|(.//main)[1]" in path]

WORDS = [
    *("post", "entry", "story", "main", "content", "post-content", "article-body", "primary", "comment"),
    *(
        "comments-list",
        "commentary",
        "disqus_thread",
        "cookie",
        "cookie-banner",
        "onetrust",
        "footer",
        "Footer",
    ),
    *(
        "nav",
        "Navigation",
        "sidebar",
        "share-",
        "ad-slot",
        "Teaser",
        "caption",
        "reply-1",
        "hidden",
        "bottom",
    ),
    *("link", "border", "display:none", "true", "MostPopularStories", "articleBody", "mvp-post-add-box"),
    *("infinite-scroll", "x", "é", "K"),
]
VALUES = st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join)
NAMES = st.sampled_from(["id", "class", "style", "role", "itemprop", "aria-hidden", "data-component", "href"])
ATTRIBUTES = st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda each: each[0])  # order counts
TAGS = st.sampled_from(
    [
        "div",
        "section",
        "article",
        "main",
        "p",
        "span",
        "ul",
        "list",
        "item",
        "header",
        "aside",
        "h1",
        "a",
        "svg",
    ]
)


@st.composite
def trees(draw: st.DrawFn) -> HtmlElement:
    tree = document_fromstring("<html><body></body></html>")
    places = [tree[0]]
    for tag, attributes in draw(st.lists(st.tuples(TAGS, ATTRIBUTES), max_size=12)):
        parent = places[draw(st.integers(0, len(places) - 1))]
        child = parent.makeelement(tag)
        for name, value in attributes:
            child.set(name, value)
        parent.append(child)
        places.append(child)
    return tree


def by_xpath(path: str, tree: HtmlElement) -> list[HtmlElement]:
    found = XPath(path, namespaces={"re": searches.REGEXP_NAMESPACE})(tree)
    return found[:1] if path.strip().endswith("[1]") else found


@given(trees())
def test_searches_find_what_trafilaturas_expressions_find(tree: HtmlElement) -> None:
    for path in PATHS:
        if path not in LEFT_TO_XPATH:
            assert Search(path)(tree) == by_xpath(path, tree), path


def test_one_expression_alone_is_left_to_xpath() -> None:
    assert len(LEFT_TO_XPATH) == 1
    with pytest.raises(ValueError, match="below an element"):
        Search(LEFT_TO_XPATH[0])


def test_of_two_attributes_the_first_in_the_page_counts() -> None:
    tree = document_fromstring("<div><p class='reply-1' id='x'>a</p><p id='x' class='reply-1'>b</p></div>")
    search = Search(".//*[starts-with(@id|@class, 'reply-')]")
    assert [element.text for element in search(tree)] == ["a"]


def test_elements_of_one_kind_are_told_apart_by_what_is_in_them() -> None:
    tree = document_fromstring("<div><p class='x'><b>a</b></p><p class='x'>b</p></div>")
    assert [element.text for element in Search(".//p[@class='x'][not(.//b)]")(tree)] == ["b"]


@pytest.mark.parametrize(
    ("test", "value", "is_found"),
    [
        ("re:test(@class, 'ab|c.d|^e')", "cxd", True),
        ("re:test(@class, 'ab|c.d|^e')", "ee", True),
        ("re:test(@class, 'ab|c.d|^e')", "fe", False),
        ("re:test(@class, '(?i)e|b')", "B", True),
        ("re:test(@class, 'a[|]b|c')", "a|b", True),
        ("re:test(@class, 'a\\|b|c')", "a", False),
        ("re:test(@class, 'full', 'i')", "xFULL", True),
        ("re:test(@class, 'k', 'i')", "\u212a", True),  # the sign of Kelvin is a K
        ("contains(translate(@class, 'CM','cm'), 'mc')", "MC", True),
        ("contains(translate(@class, 'CM','cm'), 'mc')", "cm", False),
        ("not(@class='a') and (@class or @id)", "b", True),
        ("not(@class='a') and (@class or @id)", "a", False),
        ("@class", "", True),
        ("@class=''", "", True),
        ("contains(@class, 'a')", "", False),
    ],
)
def test_tests_of_attributes_mean_what_they_mean_to_xpath(test: str, value: str, is_found: bool) -> None:
    tree = document_fromstring("<div><p>a</p></div>")
    tree.find(".//p").set("class", value)
    path = f".//p[{test}]"
    assert bool(Search(path)(tree)) == bool(by_xpath(path, tree)) == is_found


@pytest.mark.parametrize(
    "path",
    [
        "//p[@class='a']",
        ".//div/p[@class='a']",
        ".//p[2]",
        ".//p[text()='a']",
        ".//p[string-length(@class) > 3]",
        ".//p[.//b]",
        ".//p[re:test(@class, '')]",
        ".//p[contains(@class, '')]",
        ".//p[contains(translate(@class, 'ab', 'bc'), 'c')]",
        ".//p[@class='a' or]",
        ".//p[@class='a'] | .//b/i",
    ],
)
def test_what_is_not_of_tags_and_attributes_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Search(path)


def test_answers_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "MOST_KINDS", 4)
    long = "a" * 2 * searches.LONGEST_KIND
    tree = document_fromstring(
        "<div>" + "".join(f"<p class='a{n}' title='{n}'>b</p>" for n in range(9)) + "</div>"
    )
    tree.find(".//p").set("class", long)
    search = Search(".//p[contains(@class, 'a')]")
    assert len(search(tree)) == len(search(tree)) == 9
    assert len(search._known) <= 4
    assert not any(long in str(kind) for kind in search._known)


def test_elements_with_many_attributes_are_found_like_others() -> None:
    others = " ".join(f"x{number}=1" for number in range(2 * searches.MANY_ATTRIBUTES))
    tree = document_fromstring(
        f"<div><p {others} id='reply-1' class='x'>a</p><p class='x' {others} id='reply-1'>b</p></div>"
    )
    assert [element.text for element in Search(".//p[starts-with(@id|@class, 'reply-')]")(tree)] == ["a"]
