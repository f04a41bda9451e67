"""Opt-outs: which signals are meant for us, and which are not."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.web.optout import header_opt_out, matches_pattern, meta_opt_out, parse_tdmrep

HEADERS = [
    ("X-Robots-Tag", "noindex", "opt-out noindex"),
    ("X-Robots-Tag", "NoAI", "opt-out noai"),
    ("x-robots-tag", "noindex, noai", "opt-out noai"),
    ("X-Robots-Tag", "none", "opt-out noindex"),
    ("X-Robots-Tag", "nofollow, noimageai", None),
    ("X-Robots-Tag", "googlebot: noindex, nofollow", None),
    ("X-Robots-Tag", "outbound: noai", "opt-out noai"),
    ("X-Robots-Tag", "googlebot: nofollow, outbound: noindex", "opt-out noindex"),
    ("X-Robots-Tag", "max-snippet: 20, noindex", "opt-out noindex"),
    ("X-Robots-Tag", "unavailable_after: 25 Jun 2010 15:00:00 PST", None),
    ("X-Robots-Tag", "unavailable_after: Wed, 25 Jun 2010 15:00:00 PST, noai", "opt-out noai"),
    ("X-Robots-Tag", "unavailable_after: 2010-06-25T15:00:00Z, noindex", "opt-out noindex"),
    ("X-Robots-Tag", "googlebot: unavailable_after: Wed, 25 Jun 2010 15:00:00 PST, noai", None),
    ("X-Robots-Tag", "outbound/0.1: noai", "opt-out noai"),
    ("X-Robots-Tag", "outbound-news: noai", None),
    ("X-Robots-Tag", "nofollow; noai", "opt-out noai"),
    ("X-Robots-Tag", "nofollow noai", "opt-out noai"),
    ("X-Robots-Tag", "max-image-preview: none", None),
    ("X-Robots-Tag", "", None),
    ("tdm-reservation", "1", "opt-out TDM"),
    ("TDM-Reservation", " 1 ", "opt-out TDM"),
    ("tdm-reservation", "0", None),
    ("tdm-reservation", "yes", None),
    ("Robots", "noindex", None),
]


@pytest.mark.parametrize(("name", "value", "reason"), HEADERS)
def test_headers_opt_out_where_they_mean_us(name: str, value: str, reason: str | None) -> None:
    found = header_opt_out([("Content-Type", "text/html"), (name, value)])
    assert (found.reason if found else None) == reason


def test_several_headers_of_one_name_all_count() -> None:
    headers = [("X-Robots-Tag", "googlebot: noindex"), ("X-Robots-Tag", "noai")]
    found = header_opt_out(headers)
    assert found is not None and found.reason == "opt-out noai"


METAS = [
    ('<meta name="robots" content="noindex">', "opt-out noindex"),
    ("<META content='NOAI, noimageai' NAME='ROBOTS'/>", "opt-out noai"),
    ("<meta name=robots content=none>", "opt-out noindex"),
    ('<meta name="robots" content="no&#105;ndex">', "opt-out noindex"),
    ('<meta\n name = "outbound"\n content = "noai">', "opt-out noai"),
    ('<meta name="tdm-reservation" content="1">', "opt-out TDM"),
    ('<meta name="tdm-reservation" content="0">', None),
    ('<meta name="robots" content="index, follow, max-image-preview:large">', None),
    ('<meta name="googlebot" content="noindex">', None),
    ('<!-- <meta name="robots" content="noindex"> -->', None),
    ("<p>robots: noindex</p>", None),
    ("<meta/name=robots/content=noai>", None),  # one attribute, whose value has a slash
    ("<meta/name=robots content=noai>", "opt-out noai"),
    ('<meta name="robots" content="noai, x>y">', "opt-out noai"),
    ('<meta data-a="<>" name="robots" content="noai">', "opt-out noai"),
    ('<!--><meta name="robots" content="noai">', "opt-out noai"),
    ('<!-- a --!><meta name="robots" content="noai">', "opt-out noai"),
    ('<!-- a -- > <meta name="robots" content="noai"> -->', None),
    ('<script>let a = "<!--"</script><meta name="robots" content="noai">', "opt-out noai"),
    ('<script>let a = \'<meta name="robots" content="noai">\'</script>', None),
    ('<textarea><meta name="robots" content="noai"></textarea>', None),
    ('<meta name="r&#111;bots" content="no&#x61;i">', "opt-out noai"),
    (f'<meta name=robots data-a="{"x" * 5_000}" content=noai>', "opt-out noai"),
    ('<meta name="robots" content="noindex" name="other">', "opt-out noindex"),  # the first of a name counts
    ('<meta name="other" content="noindex" name="robots">', None),
    ('<meta name="robots">', None),
    ("<meta", None),
]


@pytest.mark.parametrize(("element", "reason"), METAS)
def test_meta_elements_opt_out_where_they_mean_us(element: str, reason: str | None) -> None:
    page = f"<html><head><title>robots</title>{element}</head><body>text</body></html>"
    for body in (page.encode(), *(page.encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be"))):
        found = meta_opt_out(body)
        assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    "unit",
    b"<meta |<!--|<meta name=robots content=|<meta a=a|robots\n|<meta &|<p><b>|<a>|<table>|<svg>|<script>"
    b"|a=b |<i></p>|<b><table>|</x>|<select>|<template>".split(b"|"),
)
def test_hostile_pages_are_read_in_linear_time(unit: bytes) -> None:
    page = b"robots " + unit * (1_000_000 // len(unit))
    started = time.process_time()
    meta_opt_out(page)
    assert time.process_time() - started < 1.0


HOSTILE_UNITS = [
    "<a><i><b><u>",
    "<form><math><mi>",
    "<meta a='",
    '<meta a="<',
    "<!-- -- ",
    "<script><!--<script>",
]


@pytest.mark.parametrize("unit", HOSTILE_UNITS)
def test_trees_that_grow_by_the_square_are_not_built(unit: str) -> None:
    page = b"robots " + unit.encode() * (524_288 // len(unit))
    started = time.process_time()
    meta_opt_out(page)
    assert time.process_time() - started < 0.7


PIECES = [
    "<meta name=robots content=noai>",
    "<!--",
    "-->",
    "--!>",
    "->",
    ">",
    "<script>",
    "</script>",
    "<title>",
]
PIECES += [
    "</title>",
    "<style>",
    "</style >",
    "<p a='",
    "'",
    '"',
    "=",
    " ",
    "/",
    "<",
    "</p",
    "<!x",
    "a",
    "<textarea>",
]
PIECES += ["</TEXTAREA/", "<xmp>", "</xmp>", "<meta a=", "\n"]


@settings(deadline=None, max_examples=600)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_metas_are_those_that_a_whole_parser_sees(pieces: list[str]) -> None:
    from resiliparse.parse.html import HTMLTree

    page = "".join(pieces)
    document = HTMLTree.parse(page).document
    assert document is not None
    metas = document.get_elements_by_tag_name("meta")
    seen = any(meta.getattr("name") == "robots" and meta.getattr("content") == "noai" for meta in metas)
    assert (meta_opt_out(page.encode()) is not None) == seen


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_page_makes_the_search_raise(page: bytes) -> None:
    meta_opt_out(b"<meta name=robots " + page)


def test_first_matching_rule_of_a_tdmrep_file_decides() -> None:
    rules = parse_tdmrep(
        json.dumps(
            [
                {"location": "/free/", "tdm-reservation": 0},
                {"location": "/*.html$", "tdm-reservation": 1, "tdm-policy": "https://site.example/policy"},
                {"location": "/paid", "tdm-reservation": 1},
                {"location": "/wrong", "tdm-reservation": 2},
                {"tdm-reservation": 1},
                "/text",
            ]
        ).encode()
    )
    refused = {path: rules.opt_out(f"https://site.example{path}") is not None for path in PATHS}
    assert refused == PATHS


PATHS = {
    "/free/page.html": False,
    "/other/page.html": True,
    "/other/page.html?x=1": False,
    "/paid/article": True,
    "/wrong": False,
    "/": False,
}


@pytest.mark.parametrize("pattern", ["/käse", "/k%c3%a4se", "/a%7Eb", "/a~b", "/a b", "/a%20b", "/*ä*e$"])
def test_patterns_are_compared_by_what_their_escapes_mean(pattern: str) -> None:
    rules = parse_tdmrep(json.dumps([{"location": pattern, "tdm-reservation": 1}]).encode())
    kept_out = {
        url
        for url in ("k%C3%A4se", "a~b", "a%7eb", "a%20b", "other")
        if rules.opt_out(f"https://site.example/{url}") is not None
    }
    like = {"k": {"k%C3%A4se"}, "*": {"k%C3%A4se"}, "a": {"a~b", "a%7eb"}}[pattern[1]]
    assert kept_out == ({"a%20b"} if pattern in ("/a b", "/a%20b") else like)


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b"[1, [2]]", b"[" * 100_000, b"\xff\xfe"])
def test_tdmrep_that_is_none_reserves_nothing(body: bytes) -> None:
    assert parse_tdmrep(body).opt_out("https://site.example/") is None


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab*"), max_size=8), st.text("ab", max_size=10), st.booleans())
def test_patterns_match_as_their_regular_expressions_do(parts: list[str], path: str, anchored: bool) -> None:
    import re

    pattern = "".join(parts)
    expression = ".*".join(map(re.escape, pattern.split("*"))) + ("$" if anchored else "")
    expected = re.match(expression, path) is not None
    assert matches_pattern(pattern + "$" * anchored, path) == expected
