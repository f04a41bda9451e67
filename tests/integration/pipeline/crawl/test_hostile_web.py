"""One crawl of a web that means harm: each link ends in time and with its reason, and the rest is fetched."""

import asyncio
import gzip
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastwarc.stream_io import BrotliWriter

from pipeline.web.warc import Page, read_page

if TYPE_CHECKING:
    from tests.integration.pipeline.crawl.conftest import Asked, Web

GOOD_PAGES = 40
DEADLINE_S = 1.5


async def endless_body(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        writer.write(b"<p>more</p>" * 1000)
        await writer.drain()


async def slow_drip(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        writer.write(b"<")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def silence_after_headers(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(60)


async def endless_headers(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def endless_header_line(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"x" * 1000)
        await writer.drain()


async def endless_interim_answers(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def reset_in_mid_body(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5000\r\n\r\n<html>")
    await writer.drain()
    writer.transport.abort()


async def huge_robots(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000000\r\n\r\n")
    writer.write(b"User-agent: *\nDisallow: /private\n")
    for _ in range(100):
        writer.write(b"# filler\n" * 111_111)
        await writer.drain()


async def chunked_page(asked: "Asked", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    for chunk in (b"<html><p>in ", b"chunks</p>"):
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


def gzip_bomb() -> bytes:
    """Return 50 MB of gzip that decode to 50 GB, in members: 50 kB of it are sent."""
    return gzip.compress(bytes(10_000_000)) * 5


def brotli_bomb(tmp_path: Path) -> bytes:
    path = tmp_path / "bomb.br"
    writer = BrotliWriter(str(path))
    for _ in range(50):
        writer.write(bytes(1_000_000))
    writer.close()
    return path.read_bytes()


HOSTILE = {
    # name: (path or whole address, expected reason)
    "an endless stream": ("drain.example/stream", "too large"),
    "a slow drip": ("drip.example/", "too slow"),
    "no answer at all": ("silent.example/", "deadline"),
    "headers and then silence": ("mute.example/", "deadline"),
    "headers without end": ("headers.example/", "bad HTTP"),
    "one header without end": ("header.example/", "bad HTTP"),
    "interim answers without end": ("interim.example/", "deadline"),
    "a body announced as too large": ("announced.example/", "too large"),
    "a gzip bomb": ("bomb.example/gzip", "too large"),
    "a deflate bomb": ("bomb.example/deflate", "too large"),
    "a brotli bomb though brotli was not asked for": ("bomb.example/brotli", "too large"),
    "a bomb in a bomb": ("bomb.example/twice", "too large"),
    "gzip cut short": ("coding.example/cut", "bad encoding"),
    "a run of empty members in a coding": ("coding.example/members", "bad encoding"),
    "an unknown coding": ("coding.example/unknown", "bad encoding"),
    "a connection reset in mid-body": ("reset.example/", "connection lost"),
    "fewer bytes than announced": ("short.example/", "connection lost"),
    "more bytes than announced": ("long.example/", "bad HTTP"),
    "an answer that is not HTTP": ("babble.example/", "bad HTTP"),
    "a robots.txt that hangs": ("tarpit.example/page", "robots.txt unreachable"),
    "a robots.txt that fails": ("broken.example/page", "robots.txt unreachable"),
    "a robots.txt of 100 MB that forbids": ("huge.example/private", "robots.txt"),
    "a redirect to itself": ("loop.example/self", "redirect loop"),
    "redirects in a circle": ("loop.example/a", "redirect loop"),
    "redirects without end": ("loop.example/count/0", "too many redirects"),
    "a redirect to nowhere": ("redirect.example/nowhere", "bad redirect"),
    "a redirect to a private address": ("redirect.example/private", "private address"),
    "a redirect to loopback in hexadecimal": ("redirect.example/hex", "loopback address"),
    "a redirect to loopback in octal": ("redirect.example/octal", "loopback address"),
    "a redirect to loopback as one number": ("redirect.example/decimal", "loopback address"),
    "a redirect to the cloud's metadata": ("redirect.example/metadata", "metadata address"),
    "a redirect to IPv4 in IPv6": ("redirect.example/mapped", "IPv4 in IPv6"),
    "a redirect to a name of a private address": ("redirect.example/name", "private address"),
    "a redirect to a file": ("redirect.example/file", "scheme"),
    "a redirect with credentials": ("redirect.example/credentials", "credentials"),
    "a redirect to another port": ("redirect.example/port", "port"),
    "a name that is private": ("intranet.example/", "private address"),
    "a name that is public and private": ("mixed.example/", "mixed addresses"),
    "a name that changes to a private address": ("rebind.example/", "private address"),
    "a name that does not exist": ("nowhere.example/", "host not found"),
    "a closed port": ("http://127.0.0.1:1/", "no connection"),
    "a loopback address that was not allowed": ("http://127.0.0.2/", "loopback address"),
    "loopback in IPv6": ("http://[::1]/", "loopback address"),
    "a mapped address": ("http://[::ffff:127.0.0.1]/", "IPv4 in IPv6"),
    "NAT64": ("http://[64:ff9b::7f00:1]/", "IPv4 in IPv6"),
    "an address in octal": ("http://0177.0.0.2/", "loopback address"),
    "an address in hexadecimal": ("http://0x0a000001/", "private address"),
    "an address as one number": ("http://2852039166/", "metadata address"),
    "a short address": ("http://10.1/", "private address"),
    "link-local": ("http://169.254.1.1/", "link-local address"),
    "carrier-grade NAT": ("http://100.64.0.1/", "shared address"),
    "multicast": ("http://224.0.0.1/", "multicast address"),
    "broadcast": ("http://255.255.255.255/", "reserved address"),
    "a file": ("file:///etc/passwd", "scheme"),
    "credentials": ("http://user:word@good.example/", "credentials"),
    "not an address": ("http://", "bad address"),
    "not HTML": ("plain.example/data.json", "not HTML"),
    "no type": ("plain.example/untyped", "not HTML"),
    "a type in bytes that are no text": ("plain.example/bytes", "not HTML"),
    "an empty page": ("plain.example/empty", "empty page"),
    "not found": ("plain.example/missing", "not found"),
    "forbidden": ("plain.example/forbidden", "forbidden"),
    "no page of a request for parts": ("plain.example/partial", "unexpected status"),
}


def build(web: "Web", tmp_path: Path) -> None:
    html = "text/html"
    for number in range(GOOD_PAGES):
        web.site(f"good{number}.example", {"/": web.page(f"good page {number}")})
    web.site("good.example", {"/": web.page("good page")})
    web.site("drain.example", {"/stream": endless_body})
    web.site("drip.example", {"/": slow_drip})
    web.site("silent.example", {"/": silence})
    web.site("mute.example", {"/": silence_after_headers})
    web.site("headers.example", {"/": endless_headers})
    web.site("header.example", {"/": endless_header_line})
    web.site("interim.example", {"/": endless_interim_answers})
    web.site(
        "announced.example",
        {"/": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999999\r\n\r\n"},
    )
    bomb = gzip_bomb()
    web.site(
        "bomb.example",
        {
            "/gzip": web.answer(bomb, "Content-Encoding: gzip"),
            "/deflate": web.answer(zlib.compress(bytes(50_000_000)), "Content-Encoding: deflate"),
            "/brotli": web.answer(brotli_bomb(tmp_path), "Content-Encoding: br"),
            "/twice": web.answer(gzip.compress(bomb), "Content-Encoding: gzip, gzip"),
        },
    )
    squeezed = gzip.compress(b"<html><p>a page that is cut</p></html>" * 50)
    web.site(
        "coding.example",
        {
            "/cut": web.answer(squeezed[:-40], "Content-Encoding: gzip"),
            "/none": web.answer(b"<html>bare</html>", "Content-Encoding: gzip"),
            "/unknown": web.answer(zlib.compress(b"<html>bare</html>"), "Content-Encoding: rot13"),
            "/members": web.answer(
                zlib.compress(zlib.compress(b"") * 110_000), "Content-Encoding: deflate, deflate"
            ),
        },
    )
    web.site("reset.example", {"/": reset_in_mid_body})

    async def short(asked: "Asked", writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\n<html>")

    async def closing(asked: "Asked", writer: asyncio.StreamWriter) -> None:
        writer.write(web.robots("User-agent: *\nAllow: /\n"))

    async def babble(asked: "Asked", writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")

    web.site("short.example", {"/": short})
    web.site("long.example", {"/": web.page("right length") + b", and more than announced"})
    web.site("babble.example", {"/": babble})
    web.site("tarpit.example", {"/robots.txt": silence, "/page": web.page("behind a tarpit")})
    web.site("broken.example", {"/robots.txt": web.answer(b"", status="503 No"), "/page": web.page("broken")})
    web.site("huge.example", {"/robots.txt": huge_robots, "/public": web.page("public")})
    web.site(
        "loop.example", {"/self": web.redirect("/self"), "/a": web.redirect("/b"), "/b": web.redirect("/a")}
    )
    web.site("loop.example", {f"/count/{n}": web.redirect(f"/count/{n + 1}") for n in range(30)})
    targets = {
        "private": "http://10.0.0.1/",
        "hex": "http://0x7f000002/",
        "octal": "http://0177.0.0.02/",
        "decimal": "http://2130706434/",
        "metadata": "http://169.254.169.254/latest/meta-data/",
        "mapped": "http://[::ffff:7f00:1]/",
        "name": "http://intranet.example/",
        "file": "file:///etc/passwd",
        "credentials": "http://user:word@good.example/",
        "port": "http://public.example:22/",
    }
    web.site("redirect.example", {f"/{name}": web.redirect(target) for name, target in targets.items()})
    web.site("redirect.example", {"/nowhere": web.answer(b"", status="301 Moved")})
    web.resolve_to("intranet.example", ["192.168.1.7"])
    web.resolve_to("mixed.example", ["127.0.0.1", "10.0.0.1"])
    web.resolve_to("public.example", ["8.8.8.8"])
    web.site(
        "plain.example",
        {
            "/data.json": web.answer(b"{}", kind="application/json"),
            "/untyped": web.answer(b"<html>", kind=""),
            "/bytes": b"HTTP/1.1 200 \xff\xfe\r\nContent-Type: \xff\xfe\x80\r\nContent-Length: 0\r\n\r\n",
            "/empty": web.answer(b" \n", kind=html),
            "/forbidden": web.answer(b"no", status="403 Forbidden"),
            "/partial": web.answer(b"<html>", status="206 Partial Content"),
        },
    )
    # Kind hosts in odd clothes: these are pages.
    web.site("chunked.example", {"/": chunked_page})
    cafe = web.answer("<p>café</p>".encode("latin-1"), kind="text/html; charset=utf-99")
    web.site("charset.example", {"/": cafe})
    web.site("zipped.example", {"/": web.answer(squeezed, "Content-Encoding: gzip")})
    raw = zlib.compress(b"<p>raw</p>", wbits=-15)
    web.site("raw.example", {"/": web.answer(raw, "Content-Encoding: deflate")})
    web.site("flip.example", {"/": web.page("where it was first")})
    web.resolve_to("flip.example", ["127.0.0.1"], ["10.0.0.1"])
    web.site("rebind.example", {"/robots.txt": closing, "/": web.page("never seen")})
    web.resolve_to("rebind.example", ["127.0.0.1"], ["10.0.0.1"])


ODD_BUT_GOOD = [
    "chunked.example/",
    "charset.example/",
    "zipped.example/",
    "raw.example/",
    "coding.example/none",  # says gzip, and is not
    "huge.example/public",
    "flip.example/",  # its second answer is private, but the first one was checked and is connected to
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def rows(web: "Web", folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The fetch log of one crawl over everything at once."""
    build(web, folder)
    links = [f"http://good{number}.example:{web.port}/" for number in range(GOOD_PAGES)]
    links += [address(web, where) for where, _ in HOSTILE.values()]
    links += [address(web, where) for where in ODD_BUT_GOOD]
    import pipeline.crawl.fetch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.crawl.fetch, "DNS_CACHE_S", 0)
        patch.setenv("http_proxy", "http://127.0.0.1:9/")  # a proxy that the crawler must not use
        yield web.crawl(links, folder / "crawl")


def address(web: "Web", where: str) -> str:
    if "://" in where:
        return where
    host, _, path = where.partition("/")
    return web.url(host, f"/{path}")


@pytest.mark.parametrize("case", HOSTILE)
def test_every_hostility_ends_with_its_reason(web: "Web", rows: dict[str, dict[str, Any]], case: str) -> None:
    where, reason = HOSTILE[case]
    row = rows[address(web, where)]
    assert (row["reason"], row["archive"]) == (reason, ""), row["detail"]


def test_every_hostility_ends_within_its_deadline(rows: dict[str, dict[str, Any]]) -> None:
    # Redirects and robots.txt may each add a turn of the queue, and the machine may be busy.
    assert max(row["seconds"] for row in rows.values()) < DEADLINE_S + 2


def test_every_other_page_is_fetched(web: "Web", rows: dict[str, dict[str, Any]]) -> None:
    good = [f"good{number}.example/" for number in range(GOOD_PAGES)]
    assert {where: rows[address(web, where)]["reason"] for where in [*good, *ODD_BUT_GOOD]} == dict.fromkeys(
        [*good, *ODD_BUT_GOOD], ""
    )


def test_private_addresses_are_never_connected_to(web: "Web", rows: dict[str, dict[str, Any]]) -> None:
    assert rows
    assert not web.asked("rebind.example", "/")
    assert not web.asked("intranet.example") and not web.asked("mixed.example")


def test_mutilated_answers_never_stop_the_crawl(web: "Web", tmp_path: Path) -> None:
    chance = random.Random(0)
    answers = [
        web.page("text", "X-Robots-Tag: noai", "Set-Cookie: a=b", "Content-Encoding: identity"),
        web.redirect("http://mutant.example/0?x=\xe9#y"),
        web.answer(gzip.compress(b"<p>text</p>"), "Content-Encoding: gzip", "Retry-After: 0"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n"
        b"3\r\n<p>\r\n0\r\n\r\n",
    ]
    mutants = [_mutilated(chance.choice(answers), chance) for _ in range(300)]

    def handler(answer: bytes) -> Any:
        async def send_and_close(asked: "Asked", writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        return send_and_close

    # Fifty to a host, whose robots.txt is mutilated, too.
    for number, mutant in enumerate(mutants):
        web.site(f"mutant{number // 50}.example", {f"/{number}": handler(mutant)})
        web.site(f"mutant{number // 50}.example", {"/robots.txt": handler(mutants[number // 50])})
    links = [web.url(f"mutant{number // 50}.example", f"/{number}") for number in range(len(mutants))]
    rows = web.crawl(links, tmp_path, deadline_s=0.3, max_redirects=2)
    assert list(rows) == sorted(links)
    assert len({row["reason"] for row in rows.values()}) > 5


def _mutilated(answer: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(answer)
    for _ in range(chance.randrange(1, 6)):
        position = chance.randrange(len(mutant))
        if chance.random() < 0.5:
            mutant[position] = chance.randrange(256)
        else:
            mutant[position : position + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
    return bytes(mutant)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("chunked.example/", b"<html><p>in chunks</p>"),
        ("charset.example/", "café".encode("latin-1")),
        ("zipped.example/", b"a page that is cut"),
        ("raw.example/", b"<p>raw</p>"),
    ],
)
def test_pages_come_out_of_the_archive_decoded(
    web: "Web", rows: dict[str, dict[str, Any]], folder: Path, where: str, text: bytes
) -> None:
    row = rows[address(web, where)]
    page = read_page(str(folder / "crawl" / row["archive"]), row["offset"])
    assert isinstance(page, Page)
    assert text in page.body
