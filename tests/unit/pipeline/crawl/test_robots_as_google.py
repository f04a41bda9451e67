"""Google's published cases for its robots.txt parser, as facts in a table of our own, run against ours.

What robots_test.cc of google/robotstxt (Apache License 2.0) decides: whether a robot may fetch an address,
given a robots.txt. Where the two parsers differ, the case stands in `DIFFERENCES` with the reason.
"""

import pytest

from pipeline.crawl import robots

GROUPS = """allow: /foo/bar/

user-agent: FooBot
disallow: /
allow: /x/
user-agent: BarBot
disallow: /
allow: /y/


allow: /w/
user-agent: BazBot

user-agent: FooBot
allow: /z/
disallow: /"""
CAPITALS = "USER-AGENT: {0}\nALLOW: /x/\nDISALLOW: /", "user-agent: {0}\nallow: /x/\ndisallow: /"
THREE = "user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\nuser-agent: BazBot\ndisallow: /"
FIRST = "User-agent: *\nDisallow: /\nUser-agent: {}\nAllow: /x/\nDisallow: /"
FISH = {"/bar": 0, "/Fish.asp": 0, "/catfish": 0, "/?id=fish": 0} | dict.fromkeys(
    ("/fish", "/fish.html", "/fish/salmon.html", "/fishheads", "/fishheads/yummy.html", "/fish.html?id=any"),
    1,
)
LINES = "User-Agent: foo|Allow: /some/path|User-Agent: bar|||Disallow: /"
MARKED = "User-Agent: foo\nAllow: /any\nDisallow: /"

# Rules of one group, for the robot that asks: "+" allows, "-" disallows.
RULES: list[tuple[str, dict[str, int]]] = [
    ("-/x/", {"/x/y": 0}),
    ("-/X/", {"/x/y": 1}),
    ("-/x/page.html +/x/", {"/x/page.html": 0}),
    ("+/x/page.html -/x/", {"/x/page.html": 1, "/x/": 0}),
    ("- +", {"/x/page.html": 1}),
    ("-/ +/", {"/x/page.html": 1}),
    ("-/x +/x/", {"/x": 0, "/x/": 1}),
    ("-/x/page.html +/x/page.html", {"/x/page.html": 1}),
    ("+/page -/*.html", {"/page.html": 0, "/page": 1}),
    ("+/x/page. -/*.html", {"/x/page.html": 1, "/x/y.html": 0}),
    ("-/ +/a/b?q=t&z=http://foo.bar?t&p", {"/a/b?q=t&z=http://foo.bar?t&p": 1}),
    ("-/ +/a/ツ", {"/a/%E3%83%84": 1}),
    ("-/ +/a/%E3%83%84", {"/a/%E3%83%84": 1}),
    ("-/%aa", {"/%AA": 0}),
    ("-/foo/bar/quz +/foo/*/qux", {"/foo/bar/quz": 0, "/foo/quz": 1, "/foo//quz": 1, "/foo/bax/quz": 1}),
    ("-/foo/bar$ +/foo/bar/qux", {"/foo/bar": 0, "/foo/bar/qux": 1, "/foo/bar/": 1, "/foo/bar/baz": 1}),
    ("-/foo/quz#qux +/", {"/foo/bar": 1, "/foo/quz": 0}),
    ("-/ +/fish", FISH),
    ("-/ +/fish*", FISH),
    ("-/ +/fish/", {"/fish/": 1, "/fish/salmon": 1, "/fish/?salmon": 1, "/fish/salmon.html": 1, "/bar": 0,
                    "/fish/?id=any": 1, "/fish": 0, "/fish.html": 0, "/Fish/Salmon.html": 0}),
    ("-/ +/*.php", {"/f.php": 1, "/d/f.php": 1, "/d/f.php?p": 1, "//d/any.php.file.html": 1, "/f.php/": 1,
                    "/index?f=f.php/": 1, "/bar": 0, "/php/": 0, "/index?php": 0, "/windows.PHP": 0}),
    ("-/ +/*.php$", {"/f.php": 1, "/d/f.php": 1, "/bar": 0, "/f.php?p": 0, "/f.php/": 0, "/f.php5": 0,
                     "/php/": 0, "/f?php": 0, "/aaaphpaaa": 0, "//windows.PHP": 0}),
    ("-/ +/fish*.php", {"/fish.php": 1, "/fishheads/catfish.php?p": 1, "/bar": 0, "/Fish.PHP": 0}),
    ("+/p -/", {"/page": 1}),
    ("+/folder -/folder", {"/folder/page": 1}),
    ("+/page -/*.htm", {"/page.htm": 0}),
    ("+/$ -/", {"/": 1, "/page.html": 0}),
    ("+/d/index.html -/", {"/d/": 1, "/d/index.htm": 0, "/d/index.html": 1, "/other": 0}),
]  # fmt: skip

# A whole robots.txt, the robot that asks, and what it may fetch.
FILES: list[tuple[str, str, dict[str, int]]] = [
    ("", "FooBot", {"/": 1}),
    ("user-agent: FooBot\ndisallow: /", "FooBot", {"/": 0, "/x/y": 0}),
    ("foo: FooBot\nbar: /", "FooBot", {"/x/y": 1}),
    ("user-agent FooBot\ndisallow /", "FooBot", {"/x/y": 0}),
    (GROUPS, "FooBot", {"/x/b": 1, "/z/d": 1, "/y/c": 0, "/foo/bar/": 0}),
    (GROUPS, "BarBot", {"/y/c": 1, "/w/a": 1, "/z/d": 0, "/foo/bar/": 0}),
    (GROUPS, "BazBot", {"/z/d": 1, "/foo/bar/": 0}),
    *((text.format("FooBot"), "FooBot", {"/x/y": 1, "/a/b": 0}) for text in CAPITALS),
    ("uSeR-aGeNt: FooBot\nAlLoW: /x/\ndIsAlLoW: /", "FooBot", {"/x/y": 1, "/a/b": 0}),
    *(
        (CAPITALS[1].format(name), robot, {"/x/y": 1, "/a/b": 0})
        for name in ("FOO BAR", "foo bar", "FoO bAr")
        for robot in ("Foo", "foo")
    ),
    (FIRST.format("Foo Bar"), "Foo", {"/x/y": 1}),
    ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /", "FooBot", {"/x/y": 0}),
    ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /", "BarBot", {"/x/y": 1}),
    (THREE, "QuxBot", {"/x/y": 1}),
    ("User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/", "FooBot", {"/x/p": 1, "/y/p": 0}),
    ("User-agent: FooBot\n# Disallow: /\nAllow: /", "FooBot", {"/foo/bar": 1}),
    *((LINES.replace("|", end), "foo", {"/some/path": 1, "/x": 1}) for end in ("\n", "\r\n", "\r")),
    *((LINES.replace("|", end), "bar", {"/some/path": 0, "/x": 0}) for end in ("\n", "\r\n", "\r")),
    (LINES.replace("|", "\n").replace("path\n", "path\r\n"), "bar", {"/x": 0}),
    (f"Sitemap: http://foo.bar/s.xml\n{MARKED}", "foo", {"/any": 1, "/x": 0}),
    ("User-Agent: foo\nAllow: /a\nUser-Agent: bar\n\nSitemap: http://foo.bar/s.xml", "bar", {"/x": 1}),
]

# Bytes before the first line: of a whole byte-order mark, of its beginning, of none.
MARKS = [(b"\xef\xbb\xbf", {"/any": 1, "/x": 0}), (b"\xef\xbb", {"/any": 1, "/x": 0}),
         (b"\xef", {"/any": 1, "/x": 0}), (b"\xef\x11\xbf", {"/any": 1, "/x": 1})]  # fmt: skip

LONGEST = "/x/".ljust(8 * 2083 - len("disallow: ") + 1, "a")
DIFFERENCES: list[tuple[str, dict[str, int], dict[str, int]]] = [
    # Escapes of what needs none are equal to the characters themselves (RFC 9309, section 2.2.2), and
    # addresses reach us in that form; Google compares letter by letter.
    ("-/ +/a/%62%61%7A", {"/a/baz": 0, "/a/%62%61%7A": 1}, {"/a/baz": 1, "/a/%62%61%7A": 1}),
    # Google leaves it to the caller to escape an address; our parser escapes both.
    ("-/ +/a/ツ", {"/a/ツ": 0}, {"/a/ツ": 1}),
    # Google cuts lines after 16,664 bytes. Ours are whole, and no address that we ask for is so long.
    (f"-{LONGEST}/qux", {"/fux": 1, f"{LONGEST}/fux": 0}, {"/fux": 1, f"{LONGEST}/fux": 1}),
]  # fmt: skip


def fetched(
    text: bytes, robot: str, paths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> dict[str, int]:
    monkeypatch.setattr(robots, "PRODUCT", robot.lower())
    found = robots.parse(text)
    return {path: int(found.drop_for(f"http://foo.bar{path}") is None) for path in paths}


def group(rules: str) -> bytes:
    words = {"+": "Allow: ", "-": "Disallow: "}
    lines = (words[rule[0]] + rule[1:] for rule in rules.split(" "))
    return "\n".join(["User-agent: FooBot", *lines]).encode()


@pytest.mark.parametrize(("rules", "paths"), RULES)
def test_rules_allow_what_they_allow_google(
    rules: str, paths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched(group(rules), "FooBot", paths, monkeypatch) == paths


@pytest.mark.parametrize(("text", "robot", "paths"), FILES)
def test_groups_are_for_the_robots_that_google_gives_them_to(
    text: str, robot: str, paths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched(text.encode(), robot, paths, monkeypatch) == paths


@pytest.mark.parametrize(("mark", "paths"), MARKS)
def test_a_byte_order_mark_may_be_cut(
    mark: bytes, paths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched(mark + MARKED.encode(), "foo", paths, monkeypatch) == paths


@pytest.mark.parametrize(("rules", "googles", "ours"), DIFFERENCES)
def test_differences_are_those_that_are_explained(
    rules: str, googles: dict[str, int], ours: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert googles != ours
    assert fetched(group(rules), "FooBot", ours, monkeypatch) == ours


def test_a_robot_with_a_space_in_its_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's case asks for "Foo Bar", which no group can name; our own name is one that can be named."""
    text = FIRST.format("Foo Bar").encode()
    assert fetched(text, "Foo Bar", {"/x/y": 0}, monkeypatch) == {"/x/y": 0}
    monkeypatch.undo()
    assert robots._TOKEN.fullmatch(robots.PRODUCT)
