"""Cookies go where a browser would send them, and no further than the way that they were set on."""

import pytest

from pipeline.crawl.cookies import (
    MAX_BYTES,
    MAX_COOKIE_BYTES,
    MAX_COOKIES,
    Cookie,
    cookie_header,
    packed,
    received,
    unpacked,
)
from pipeline.web.http_head import Response
from tests.unit.pipeline.web.test_warc import AT


def answer(url: str, *lines: str) -> Response:
    headers = [(b"Set-Cookie", line.encode()) for line in lines]
    return Response(url=url, status=302, phrase="", headers=headers, body=b"", address="192.0.2.1", at=AT)


SENT = [
    ("http://a.example/x/y", "s=1", "http://a.example/x/z", "s=1"),
    ("http://a.example/x/y", "s=1", "http://a.example/", ""),
    ("http://a.example/x/y", "s=1; Path=/", "http://a.example/", "s=1"),
    ("http://a.example/", "s=1; path=/p", "http://a.example/public", ""),
    ("http://a.example/", "s=1", "http://b.a.example/", ""),
    ("http://a.example/", "s=1; Domain=a.example", "http://b.a.example/", "s=1"),
    ("http://b.a.example/", "s=1; Domain=.A.example", "http://c.a.example/", "s=1"),
    ("http://a.example/", "s=1; Domain=c.example", "http://c.example/", ""),
    ("http://a.co.uk/", "s=1; Domain=co.uk", "http://b.co.uk/", ""),
    ("http://a.co.uk/", "s=1; Domain=uk", "http://a.co.uk/", ""),
    ("http://me.github.io/", "s=1; Domain=github.io", "http://you.github.io/", ""),
    ("http://github.io/", "s=1; Domain=github.io", "http://github.io/", "s=1"),
    ("http://github.io/", "s=1; Domain=github.io", "http://you.github.io/", ""),
    ("http://127.0.0.1:80/", "s=1; Path=/", "http://127.0.0.1:81/y", "s=1"),
    ("http://[::1]/", "s=1; Path=/", "http://[::1]/y", "s=1"),
    ("http://a.example/", "s=1; Domain=a.example; Path=/", "http://nota.example/", ""),
    ("https://a.example/", "s=1; Secure", "https://a.example/", "s=1"),
    ("https://a.example/", "s=1; Secure", "http://a.example/", ""),
    ("http://a.example/", "s=1; Secure", "https://a.example/", ""),
    ("https://a.example/", "__Host-s=1; Secure; Path=/", "https://a.example/", "__Host-s=1"),
    ("https://a.example/", "__Host-s=1; Secure; Path=/; Domain=a.example", "https://a.example/", ""),
    ("https://a.example/", "__Secure-s=1", "https://a.example/", ""),
    ("http://a.example/", "s=1; Max-Age=0", "http://a.example/", ""),
    ("http://a.example/", "s=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.example/", ""),
    ("http://a.example/", "s=1; Expires=never; HttpOnly; SameSite=Strict", "http://a.example/", "s=1"),
    ("http://a.example/", "s=1; Expires=Thu, 01-Jan-70 00:00:01 GMT; Max-Age=60", "http://a.example/", "s=1"),
    ("http://a.example/", "s=a b,{c}=; Path=/", "http://a.example/", "s=a b,{c}="),
    ("http://a.example/", 's="a, b"', "http://a.example/", 's="a, b"'),
    ("http://a.example/", "s = 1 ;path=x", "http://a.example/y", "s=1"),
    ("http://a.example/x", "s=1; Path=/x/", "http://a.example/x", ""),
    ("http://10.0.0.1/", "s=1; Domain=0.0.1", "http://10.0.0.1/", ""),
    ("http://localhost/", "s=1; Domain=localhost", "http://localhost/", "s=1"),
    ("http://a.example/", "alone", "http://a.example/", ""),
    ("http://a.example/", "=nameless", "http://a.example/", ""),
    ("http://a.example/", "s=\x01", "http://a.example/", ""),
    ("http://a.example/", "", "http://a.example/", ""),
]


@pytest.mark.parametrize(("url", "line", "asked", "expected"), SENT)
def test_a_cookie_goes_where_a_browser_sends_it(url: str, line: str, asked: str, expected: str) -> None:
    assert cookie_header(received(answer(url, line), 0), asked) == expected


def test_a_later_answer_changes_and_deletes() -> None:
    first = received(answer("http://a.example/", "s=1; Path=/", "t=2; Path=/"), 0)
    assert cookie_header(first, "http://a.example/") == "s=1; t=2"
    second = received(answer("http://a.example/", "s=3; Path=/", "t=; Path=/; Max-Age=0"), 1, first)
    assert cookie_header(second, "http://a.example/") == "s=3"
    assert cookie_header(first, "http://a.example/") == "s=1; t=2"
    longer = received(answer("http://a.example/p/", "u=4"), 2, second)
    assert cookie_header(longer, "http://a.example/p/") == "u=4; s=3"


def test_what_a_stranger_can_make_us_hold_is_bounded() -> None:
    many = received(answer("http://a.example/", *(f"c{n}=1" for n in range(1_000))), 0)
    assert len(many) == MAX_COOKIES
    assert received(answer("http://a.example/", "c=" + "x" * MAX_COOKIE_BYTES), 0) == ()
    big: tuple[Cookie, ...] = ()
    for hop in range(10):
        big = received(answer("http://a.example/", *(f"c{n}=" + "x" * 4_000 for n in range(30))), hop, big)
    assert MAX_BYTES - 4_100 < sum(len(cookie.value) for cookie in big) <= MAX_BYTES


def test_cookies_survive_being_handed_on() -> None:
    cookies = received(answer("https://a.example/ü", 's="quoted; ü"; Path=/', "t=1; Secure"), 3)
    assert len(cookies) == 2
    assert unpacked(packed(cookies)) == cookies
    assert packed(()) == "" and unpacked("") == ()
