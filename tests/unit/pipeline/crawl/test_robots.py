"""robots.txt: what is allowed, what an unhappy answer means, and where reading stops."""

import time
import tracemalloc

import pytest

from pipeline.crawl import robots
from pipeline.crawl.fetch import FetchFailure
from pipeline.crawl.responses import robots_from
from pipeline.runner.records import Drop


def allowed(text: str, path: str = "/page") -> bool:
    return robots.parse(text.encode()).drop_for(f"https://site.example{path}") is None


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
    assert found.drop_for("http://site.example/early") is not None
    assert found.drop_for("http://site.example/llll") is None
    assert found.drop_for("http://site.example/never") is None
    assert found.size_bytes <= robots.MAX_BYTES


NAMES_US = [
    "Outbound",
    "OUTBOUND",
    "Outbound/0.1",
    "Outbound/*",
    "outbound bot",
    "outbound*",
    "*outbound",
    "Outbound;x",
]
OTHERS = [
    "Outboundbot",
    "outbound-news",
    "out",
    "Bound",
    "Mozilla/5.0 (compatible; Outbound/0.1)",
    "*bot",
    "",
    "ütbound",
]


@pytest.mark.parametrize("name", NAMES_US)
def test_product_token_names_us_whatever_follows_it(name: str) -> None:
    text = f"User-agent: {name}\nDisallow: /private\n\nUser-agent: *\nDisallow: /\n"
    assert allowed(text)
    assert not allowed(text, "/private/page")


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_are_other_robots(name: str) -> None:
    assert allowed(f"User-agent: {name}\nDisallow: /\n")


# By what Google's published cases are about, in cases of our own: line syntax, groups, order, values.
GROUPS = [
    ("disallow: /a\nuser-agent: outbound\ndisallow: /b", {"/a": True, "/b": False}),
    ("user-agent: other\nuser-agent: outbound\n\ndisallow: /a", {"/a": False}),
    ("user-agent: outbound\ndisallow: /a\nuser-agent: x\ndisallow: /b\nuser-agent: outbound\ndisallow: /c",
     {"/a": False, "/b": True, "/c": False}),
    ("user-agent: outbound\nsitemap: https://site.example/map\nuser-agent: *\ndisallow: /a", {"/a": False}),
    ("user-agent: outbound\nfoo: bar\nuser-agent: *\ndisallow: /a", {"/a": True}),
    ("user-agent: outbound\nuser-agent:\ndisallow: /a", {"/a": False}),
    ("user-agent: *\ndisallow: /a\nuser-agent: *\ndisallow: /b", {"/a": False, "/b": False}),
    ("user-agent: * # all\ndisallow: /a # b", {"/a": False, "/b": True}),
    ("user-agent outbound\ndisallow /a", {"/a": False}),  # a colon that was forgotten
    ("useragent:outbound\rdisallow:/a", {"/a": False}),
    ("user-agent: outbound\ndisallow:\nuser-agent: *\ndisallow: /", {"/a": True}),
    ("user-agent: outbound\ndisallow: /\nallow: /%C3%BC", {"/%C3%BC": True, "/u": False}),
    ("user-agent: outbound\ndisallow: /ü", {"/%C3%BC": False}),
    ("user-agent: outbound\ndisallow: /A", {"/A": False, "/a": True}),
    ("user-agent: outbound\nallow: /p\ndisallow: /*.html", {"/p.html": False, "/p": True}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GROUPS)
def test_groups_and_lines_mean_what_they_mean_to_others(text: str, expected: dict[str, bool]) -> None:
    assert {path: allowed(text, path) for path in expected} == expected


def test_agents_and_rules_by_the_thousand_cost_as_much_as_their_bytes() -> None:
    agents = "".join(f"user-agent: robot{i}\n" for i in range(5_000))
    rules = "".join(f"disallow: /{i}\n" for i in range(5_000))
    started = time.process_time()
    found = robots.parse((agents + rules).encode())
    assert time.process_time() - started < 0.5
    assert found.size_bytes == robots.PARSER_BYTES
    assert not allowed(agents + "user-agent: outbound\n" + rules, "/4999")


@pytest.mark.parametrize("rule", ["/a{}", "/*a{}$x", "/{}" + "*a" * 60, "/" + "é" * 40 + "{}"])
def test_size_is_what_is_really_held(rule: str) -> None:
    text = "User-agent: *\n" + "".join(f"Disallow: {rule.format(number)}\n" for number in range(1_500))
    tracemalloc.start()
    found = robots.parse(text.encode())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 * held < found.size_bytes < 2.5 * held


def test_more_rules_with_wildcards_than_can_be_tried_forbid_the_whole_origin() -> None:
    text = "User-agent: *\n" + "Allow: /*x$\n" * (robots.MAX_WILDCARD_RULES + 1)
    assert robots.parse(text.encode()).drop_for("http://site.example/") == Drop(
        "robots.txt", "http://site.example/", "over 2,000 rules with wildcards"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_4xx_allows(status: int) -> None:
    found = robots_from(FetchFailure(Drop("client error"), status), redirected=False)
    assert found.drop_for("http://site.example/") is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_5xx_and_429_disallow(status: int) -> None:
    found = robots_from(FetchFailure(Drop("server error"), status), redirected=False)
    drop = found.drop_for("http://site.example/")
    assert drop is not None and drop.reason == "robots.txt unreachable"


def test_unreachable_host_is_told_as_what_it_is() -> None:
    found = robots_from(FetchFailure(Drop("host not found")), redirected=False)
    assert found.drop_for("http://site.example/") == Drop("host not found", "http://site.example/")


def test_robots_that_redirects_to_a_private_address_disallows() -> None:
    found = robots_from(FetchFailure(Drop("private address")), redirected=True)
    drop = found.drop_for("http://site.example/")
    assert drop is not None and drop.reason == "robots.txt unreachable"


def test_more_than_five_redirects_count_as_no_robots() -> None:
    assert robots_from(FetchFailure(Drop("too many redirects"), 302), redirected=True) == robots.ALLOW_ALL
