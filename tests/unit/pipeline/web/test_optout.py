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
    ('<meta name="robots">', None),
    ("<meta", None),
]


@pytest.mark.parametrize(("element", "reason"), METAS)
def test_meta_elements_opt_out_where_they_mean_us(element: str, reason: str | None) -> None:
    page = f"<html><head><title>robots</title>{element}</head><body>text</body></html>"
    for body in (page.encode(), page.encode("utf-16")):
        found = meta_opt_out(body)
        assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    "unit", [b"<meta ", b"<!--", b"<meta name=robots content=", b"<meta a=a", b"robots\n"]
)
def test_hostile_pages_are_read_in_linear_time(unit: bytes) -> None:
    page = b"robots " + unit * (1_000_000 // len(unit))
    started = time.process_time()
    meta_opt_out(page)
    assert time.process_time() - started < 1.0


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
