"""robots.txt: what is allowed, what an unhappy answer means, and where reading stops."""

import pytest

from pipeline.crawl import robots
from pipeline.crawl.answers import robots_from
from pipeline.crawl.fetch import Failure
from pipeline.runner.records import Drop


def allowed(text: str, path: str = "/page") -> bool:
    return robots.parse(text.encode()).refusal(f"https://site.example{path}") is None


def test_our_group_is_obeyed_before_the_one_for_all() -> None:
    text = "User-agent: *\nDisallow: /\n\nUser-agent: Outbound\nDisallow: /private\n"
    assert allowed(text)
    assert not allowed(text, "/private/page")


def test_longest_match_wins_and_allow_on_a_tie() -> None:
    text = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /c\nAllow: /c\n"
    assert not allowed(text, "/a/x")
    assert allowed(text, "/a/b")
    assert allowed(text, "/c")


def test_wildcards_and_ends_are_understood() -> None:
    text = "User-agent: *\nDisallow: /*.php$\n"
    assert not allowed(text, "/a/b.php")
    assert allowed(text, "/a/b.php?x=1")


def test_crawl_delay_is_read() -> None:
    assert robots.parse(b"User-agent: *\nCrawl-delay: 2.5\n").crawl_delay_s() == 2.5
    assert robots.parse(b"User-agent: *\nCrawl-delay: soon\n").crawl_delay_s() is None
    assert robots.ALLOW_ALL.crawl_delay_s() is None


def test_byte_order_mark_hides_no_group() -> None:
    assert not allowed("\ufeffUser-agent: *\nDisallow: /page\n")


@pytest.mark.parametrize("text", ["", "<html>not found</html>", "\0\xff:::", "Disallow: /page\n"])
def test_what_forbids_nothing_allows_all(text: str) -> None:
    assert allowed(text)


def test_only_the_first_512_kib_count_and_half_a_rule_does_not() -> None:
    filler = b"# " + b"x" * 97 + b"\n"
    head = b"User-agent: *\nDisallow: /early\n"
    lines = (robots.MAX_BYTES - len(head)) // 100
    body = head + filler * lines
    body += b"Disallow: /".ljust(robots.MAX_BYTES - len(body), b"l") + b"ate\nDisallow: /never\n"
    found = robots.parse(body)
    assert found.refusal("http://site.example/early") is not None
    assert found.refusal("http://site.example/llll") is None
    assert found.refusal("http://site.example/never") is None
    assert found.size_bytes <= robots.MAX_BYTES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_4xx_allows(status: int) -> None:
    found = robots_from(Failure(Drop("client error"), status), redirected=False)
    assert found.refusal("http://site.example/") is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_5xx_and_429_disallow(status: int) -> None:
    found = robots_from(Failure(Drop("server error"), status), redirected=False)
    refusal = found.refusal("http://site.example/")
    assert refusal is not None and refusal.reason == "robots.txt unreachable"


def test_unreachable_host_is_told_as_what_it_is() -> None:
    found = robots_from(Failure(Drop("host not found")), redirected=False)
    assert found.refusal("http://site.example/") == Drop("host not found", "http://site.example/")


def test_robots_that_redirects_to_a_private_address_disallows() -> None:
    found = robots_from(Failure(Drop("private address")), redirected=True)
    refusal = found.refusal("http://site.example/")
    assert refusal is not None and refusal.reason == "robots.txt unreachable"


def test_more_than_five_redirects_count_as_no_robots() -> None:
    assert robots_from(Failure(Drop("too many redirects"), 302), redirected=True) == robots.ALLOW_ALL
