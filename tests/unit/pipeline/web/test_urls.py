import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.runner.records import Drop
from pipeline.web.urls import (
    LONGEST_ADDRESS,
    Address,
    canonical,
    domain_label,
    host_of_key,
    parse,
    registrable_domain,
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:8443/", "https://example.com:8443/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("  http://example.com/a\n/b\t ", "http://example.com/a/b"),
        ("http:\\\\example.com\\a", "http://example.com/a"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://user:secret@example.com/", "http://example.com/"),
        ("http://example.com/a#part", "http://example.com/a"),
        ("http://example.com/a?", "http://example.com/a"),
        ("http://example.com/a?&&", "http://example.com/a"),
        ("http://example.com/a/./b/../c/%2e%2E/d", "http://example.com/a/d"),
        ("http://example.com/x/.well-known/./y", "http://example.com/x/.well-known/y"),
        ("http://example.com/%7Euser/%c3%a4%2fb", "http://example.com/~user/%C3%A4%2Fb"),
        ("http://example.com/ä b|c", "http://example.com/%C3%A4%20b%7Cc"),
        ("http://example.com/100%", "http://example.com/100%25"),
        ("http://example.com/%%34%31", "http://example.com/%2541"),
        ("http://example.com/?scroll=%DCber", "http://example.com/?scroll=%DCber"),
        ("http://example.com/?a[]=1", "http://example.com/?a%5B%5D=1"),
        ("http://MÜNCHEN.de/", "http://xn--mnchen-3ya.de/"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://例え.jp/", "http://xn--r8jz45g.jp/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://017700000001/", "http://127.0.0.1/"),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/"),
        ("http://[::FFFF:127.0.0.1]:80/", "http://[::ffff:7f00:1]/"),
        ("http://example.com/?b=2&a=1&b=1", "http://example.com/?a=1&b=2&b=1"),
        ("http://example.com/index.php?/topic/9&b=2&a=1", "http://example.com/index.php?/topic/9&b=2&a=1"),
    ],
)
def test_each_page_has_one_form(address: str, expected: str) -> None:
    assert canonical(address) == expected


HASH_BANGS = [
    ("http://a.com/#!5/flood", "http://a.com/?_escaped_fragment_=5/flood"),
    ("http://a.com:81/x#!/y", "http://a.com:81/x?_escaped_fragment_=/y"),
    ("http://a.com/forum/?hl=de#!topic/t/1", "http://a.com/forum/?_escaped_fragment_=topic/t/1&hl=de"),
    ("http://a.com/?/topic/12#!p2", "http://a.com/?/topic/12&_escaped_fragment_=p2"),
    ("http://a.com/#!k=1&l=2", "http://a.com/?_escaped_fragment_=k=1%26l=2"),
    ("http://a.com/#!k%3D1%26l=2", "http://a.com/?_escaped_fragment_=k=1%26l=2"),
    ("http://a.com/?_escaped_fragment_=k%3D1%26l%3d2", "http://a.com/?_escaped_fragment_=k=1%26l=2"),
    ("http://a.com/#!/c++ notes#2", "http://a.com/?_escaped_fragment_=/c%2B%2B%20notes%232"),
    ("http://a.com/#!/übung", "http://a.com/?_escaped_fragment_=/%C3%BCbung"),
    ("http://a.com/#!/100%", "http://a.com/?_escaped_fragment_=/100%25"),
    ("http://a.com/?_escaped_fragment_=old#!new", "http://a.com/?_escaped_fragment_=new"),
    ("http://a.com/?utm_source=r#!x", "http://a.com/?_escaped_fragment_=x"),
    ("http://a.com/#!", "http://a.com/"),
    ("http://a.com/?_escaped_fragment_=&q=1", "http://a.com/?q=1"),
    ("http://a.com/#/page", "http://a.com/"),
    ("http://a.com/#page!", "http://a.com/"),
    ("http://a.com/#%21page", "http://a.com/"),
]


@pytest.mark.parametrize(("address", "expected"), HASH_BANGS)
def test_a_page_behind_a_hash_bang_is_a_page_of_its_own(address: str, expected: str) -> None:
    assert canonical(address) == expected
    assert canonical(expected) == expected


@given(st.text(max_size=30))
@example("a%2")
@example("%&=+#")
def test_both_forms_of_a_hash_bang_are_one_address(value: str) -> None:
    form = canonical(f"http://a.com/#!{value}")
    assert isinstance(form, str) or any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(form, str):
        assert canonical(form) == form
        query = form.partition("_escaped_fragment_=")[2]
        assert canonical(f"http://a.com/?_escaped_fragment_={query.replace('/', '%2F')}") == form


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://a.com/x?utm_source=r&id=7&UTM_Medium=s&fbclid=1", "http://a.com/x?id=7"),
        ("http://a.com/x?utm%5Fsource=r", "http://a.com/x"),
        ("http://a.com/x;jsessionid=AB12.node?id=7", "http://a.com/x?id=7"),
        ("http://a.com/..;JSESSIONID=1/x", "http://a.com/x"),
        ("http://a.com/(S(abcdefghijklmnopqrstuvwx))/page.aspx", "http://a.com/page.aspx"),
        ("http://a.com/x?PHPSESSID=5&sid=0e4f3c2ba99d17684e0f1122", "http://a.com/x"),
        ("http://www.nytimes.com/x.html?ex=1&en=2&ei=3&partner=r&emc=s", "http://www.nytimes.com/x.html"),
        ("http://news.yahoo.com/s/ap/baby;_ylt=Ap1F.AA;_ylu=X3-", "http://news.yahoo.com/s/ap/baby"),
    ],
)
def test_sessions_and_tracking_go(address: str, expected: str) -> None:
    assert canonical(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "http://a.com/story?sid=12",
        "http://a.com/?s=search+term",
        "http://a.com/?session_id=keynote",
        "http://a.com/?ref=chapter-2",
        "http://a.com/?ex=1&partner=2",
        "http://a.com/?utm=zone",
        "http://a.com/x;v=2",
        "http://a.com/x_(disambiguation)/",
    ],
)
def test_what_may_name_a_page_stays(address: str) -> None:
    assert canonical(address) == address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.com/x", "http://a.com/x/"),
        ("http://a.com/x", "http://a.com/X"),
        ("http://a.com/x", "http://www.a.com/x"),
        ("http://a.com//x", "http://a.com/x"),
        ("http://a.com/a%2Fb", "http://a.com/a/b"),
        ("http://a.com/?a=1&a=2", "http://a.com/?a=2&a=1"),
        ("http://a.com/?a", "http://a.com/?a="),
        ("http://a.com/", "http://a.com:8080/"),
        ("http://a.com/?a=%26b=1", "http://a.com/?a=&b=1"),
    ],
)
def test_different_pages_stay_apart(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "invalid address"),
        ("not a url", "invalid address"),
        ("www.example.com/a", "invalid address"),
        ("http://", "invalid address"),
        ("http://a..b/", "invalid address"),
        ("http://./", "invalid address"),
        (f"http://{'a' * 64}.com/", "invalid address"),
        ("http://1.2.3.256/", "invalid address"),
        ("http://a.com:65536/", "invalid address"),
        ("http://a.com/\ud800", "invalid address"),
        ("http://\x00/", "invalid address"),
        ("ftp://a.com/", "not http"),
        ("javascript:alert(1)", "not http"),
        ("file:///etc/passwd", "not http"),
        ("data:text/html,x", "not http"),
        ("http://a.com/" + "x" * LONGEST_ADDRESS, "address too long"),
        ("http://a.com/?q=" + "ä" * (LONGEST_ADDRESS // 6), "address too long"),
    ],
)
def test_what_is_no_page_has_its_reason(address: str, reason: str) -> None:
    drop = canonical(address)
    assert isinstance(drop, Drop)
    assert drop.reason == reason
    drop.url.encode()  # can be stored


def test_twins_have_one_key_and_only_twins_do() -> None:
    keys = [
        address.key
        for address in map(parse, ["http://a.com/?b", "https://a.com/?b", "https://a.com:80/?b"])
        if isinstance(address, Address)
    ]
    assert keys == ["a.com/?b", "a.com/?b", "a.com:80/?b"]


hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,6}){1,2}", fullmatch=True)
pieces = st.sampled_from(
    [
        "/",
        ".",
        "..",
        "%2e",
        "%2E",
        "%",
        "%25",
        "%7e",
        "%zz",
        "a",
        "B",
        "~",
        ";jsessionid=1",
        "(S(",
        "ä",
        " ",
        "|",
    ]
)
parameters = st.builds(
    "{}{}{}".format, st.sampled_from(["a", "b", "utm_x", "sid", ""]), st.sampled_from(["=", ""]), pieces
)
addresses = st.builds(
    "{}://{}{}/{}?{}#{}".format,
    st.sampled_from(["http", "HTTPS"]),
    hosts,
    st.sampled_from(["", ":80", ":443", ":8080", "."]),
    st.lists(pieces).map("".join),
    st.lists(parameters).map("&".join),
    pieces,
)


@settings(deadline=None)
@given(st.one_of(addresses, st.text(), st.text(st.characters(codec=None)).map("http://a.com/{}".format)))
@example("http://a.com/%%34%31")
@example("http://a.com/..;jsessionid=1/..;jsessionid=1/x")
@example("http://a.com/;jsessi;jsessionid=1onid=2")
@example("http://0x7f.1./")
def test_the_canonical_form_is_its_own_canonical_form(address: str) -> None:
    once = canonical(address)
    if isinstance(once, str):
        assert canonical(once) == once
        assert re.fullmatch(r"https?://[!-~]+", once)
        assert "#" not in once


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))  # surrogates, NULs, anything
def test_no_string_raises(text: str) -> None:
    for address in (
        text,
        f"http://{text}",
        f"http://a.com/{text}",
        f"http://a.com/?{text}",
        f"http://{text}@b.com:{text}/",
    ):
        drop_or_url = canonical(address)
        (drop_or_url if isinstance(drop_or_url, str) else drop_or_url.url).encode()
    registrable_domain(text)


@settings(deadline=None)
@given(addresses, addresses)
def test_different_hosts_never_merge(one: str, other: str) -> None:
    first, second = parse(one), parse(other)
    if isinstance(first, Address) and isinstance(second, Address) and first.host != second.host:
        assert first.key != second.key
        assert host_of_key(first.key) != host_of_key(second.key)


@settings(deadline=None)
@given(addresses)
@example("http://a.com/x/.well-known/./y")
@example("http://a.com/x/%2e%2E/y")
@example("http://a.com/?it's")
@example("http://xn--a.com/")
def test_plain_addresses_are_parsed_as_all_others(address: str) -> None:
    found, with_space = parse(address), parse(" " + address)  # the space is ignored, but not plain
    if isinstance(found, Drop) and isinstance(with_space, Drop):
        assert found.reason == with_space.reason
    else:
        assert found == with_space


@settings(deadline=None)
@given(hosts)
def test_a_host_in_its_usual_form_stays_itself(host: str) -> None:
    found = parse(f"http://{host.upper()}./")
    assert found == Address("http", host, "", "/", "") or (isinstance(found, Drop) and "xn--" in host)


@settings(deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.integers(0, 99), min_size=1, max_size=4)
)
def test_parameters_in_any_order_are_one_page(values: dict[str, int]) -> None:
    orders = itertools.permutations(f"{name}={value}" for name, value in values.items())
    assert len({canonical("http://a.com/?" + "&".join(order)) for order in orders}) == 1


@settings(deadline=None)
@given(addresses)
def test_credentials_are_never_kept(address: str) -> None:
    scheme, _, rest = address.partition("://")
    assert canonical(f"{scheme}://name:secret@{rest}") == canonical(address)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.bbc.co.uk", "bbc.co.uk"),
        ("a.b.someone.github.io", "someone.github.io"),
        ("github.io", "github.io"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("www.xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("foo.xn--55qx5d.cn", "foo.xn--55qx5d.cn"),
        ("a.b.unknowntld", "b.unknowntld"),
    ],
)
def test_the_registrable_domain_is_what_somebody_registered(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


@pytest.mark.parametrize("host", ["a.com", "127.0.0.1", "[::1]", "a.com.", "xn--mnchen-3ya.de"])
@pytest.mark.parametrize("port", ["", ":8080"])
def test_a_key_tells_its_host(host: str, port: str) -> None:
    address = parse(f"http://{host}{port}/a:b]?c")
    assert isinstance(address, Address)
    assert host_of_key(address.key) == address.host


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("news.bbc.co.uk", "bbc"),
        ("someone.blogspot.com", "blogspot"),
        ("a.b.github.io", "github"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
    ],
)
def test_a_domains_label_is_what_was_registered_under_a_registrys_suffix(host: str, label: str) -> None:
    assert domain_label(host) == label
