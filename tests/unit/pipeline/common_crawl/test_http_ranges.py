"""What a web server answers is the range that was asked for, or an error that says what it is."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common_crawl.http_ranges import MOST_REDIRECTS, HttpReader
from pipeline.common_crawl.range_errors import RangeError

CONTENT = bytes(range(256)) * 1_000


def partial(head: bytes) -> bytes:
    """An answer with the range that a request asks for."""
    first, last = (int(number) for number in head.split(b"bytes=")[1].split(b"\r\n")[0].split(b"-"))
    body = CONTENT[first : last + 1]
    return b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n%b" % (
        first, last, len(CONTENT), len(body), body
    )  # fmt: skip


class Server:
    """Answers each request with what `answer` makes of its head; an empty answer or `closes` ends it."""

    def __init__(self, answer: Callable[[bytes], bytes], *, closes: bool = False) -> None:
        self.answer, self.closes = answer, closes
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                answer = self.answer(head)
                writer.write(answer)
                await writer.drain()
                if self.closes or not answer:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def reading(
    server: Server, connections: int = 4, context: ssl.SSLContext | None = None
) -> AsyncIterator[HttpReader]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    reader = HttpReader(f"http{'s' if context else ''}://127.0.0.1:{port}/archive/", connections)
    try:
        yield reader
    finally:
        await reader.close()
        listening.close()


def read(answer: Callable[[bytes], bytes], begin: int = 2, end: int = 5, *, closes: bool = False) -> bytes:
    async def ask() -> bytes:
        async with reading(Server(answer, closes=closes)) as reader:
            return await reader.read("a b/ä.warc.gz", begin, end)

    return asyncio.run(ask())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255_000), st.integers(1, 200_000)), min_size=1, max_size=40))
def test_ranges_of_many_sizes_at_once_are_the_bytes_of_the_file(asked: list[tuple[int, int]]) -> None:
    server = Server(partial)

    async def ask() -> list[bytes]:
        async with reading(server) as reader:
            return await asyncio.gather(*(reader.read("a", begin, begin + size) for begin, size in asked))

    assert asyncio.run(ask()) == [CONTENT[begin : begin + size] for begin, size in asked]
    assert server.connections <= 4 and len(server.requests) == len(asked)


def test_request_names_the_file_and_asks_for_bytes_as_they_are() -> None:
    server = Server(partial)

    async def ask() -> None:
        async with reading(server) as reader:
            await reader.read("a b/ä.warc.gz", 2, 5)

    asyncio.run(ask())
    lines = server.requests[0].split(b"\r\n")
    assert lines[0] == b"GET /archive/a%20b/%C3%A4.warc.gz HTTP/1.1"
    assert {b"Range: bytes=2-4", b"Accept-Encoding: identity", b"User-Agent: Outbound"} <= set(lines)


@pytest.mark.parametrize(
    ("answer", "reason", "is_temporary"),
    [
        (b"HTTP/1.1 206 P\r\nContent-Length: 4\r\n\r\n2345", "archive without ranges", False),
        (
            b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-2/9\r\nContent-Length: 3\r\n\r\n012",
            "archive without ranges", False,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n012", "archive without ranges", False),
        (b"HTTP/1.1 404 N\r\nContent-Length: 9\r\n\r\nnot found", "archive file not found", False),
        (b"HTTP/1.1 416 N\r\nContent-Length: 0\r\n\r\n", "outside the archive file", False),
        (b"HTTP/1.1 403 N\r\nContent-Length: 0\r\n\r\n", "archive forbidden", False),
        (b"HTTP/1.1 503 N\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n", "archive unavailable", True),
        (b"HTTP/1.1 206 P\r\nContent-Length: 3\r\n\r\n2", "archive unavailable", True),  # and no more
        (b"", "archive unavailable", True),
        (b"garbage\r\n\r\n", "archive unavailable", True),
    ],
)  # fmt: skip
def test_answer_that_is_not_the_range_is_an_error(answer: bytes, reason: str, is_temporary: bool) -> None:
    with pytest.raises(RangeError) as caught:
        read(lambda head: answer, closes=True)
    assert (caught.value.reason, caught.value.temporary) == (reason, is_temporary)
    assert caught.value.retry_after == ("7" if b"Retry-After" in answer else "")


def test_short_file_may_be_sent_whole_and_a_body_in_chunks_or_without_length() -> None:
    assert read(lambda head: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n012", 0, 9) == b"012"
    for body in (b"Transfer-Encoding: chunked\r\n\r\n2\r\n23\r\n1\r\n4\r\n0\r\n\r\n", b"\r\n234"):
        assert read(lambda head, body=body: b"HTTP/1.1 206 P\r\n" + body, closes=True) == b"234"


def test_endless_answer_is_left_once_it_is_longer_than_what_was_asked_for() -> None:
    endless = b"HTTP/1.1 206 P\r\nContent-Length: 100000000\r\n\r\n" + bytes(2**22)
    with pytest.raises(RangeError, match="more bytes than were asked for"):
        read(lambda head: endless)


def test_redirects_are_followed_to_web_servers_only_and_not_for_ever() -> None:
    def moved(head: bytes) -> bytes:
        to = b"/there" if b" /archive/" in head else b""
        told = b"Content-Range: bytes 0-1/2\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to
        return b"HTTP/1.1 302 Found\r\n" + told if to else partial(head)

    assert read(moved) == CONTENT[2:5]
    for to in (b"file:///etc/passwd", b"ftp://127.0.0.1/x", b"/archive/again"):
        answer = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to
        seen: list[bytes] = []
        with pytest.raises(RangeError, match="archive unavailable"):
            read(lambda head, answer=answer, seen=seen: seen.append(head) or answer)  # type: ignore[func-returns-value]
        assert len(seen) == (MOST_REDIRECTS + 1 if to.startswith(b"/") else 1)


def test_server_may_close_connections_between_requests() -> None:
    server = Server(partial, closes=True)

    async def ask() -> list[bytes]:
        async with reading(server, connections=1) as reader:
            return [await reader.read("a", place, place + 9) for place in range(20)]

    assert asyncio.run(ask()) == [CONTENT[place : place + 9] for place in range(20)]


def test_cancelled_request_leaves_the_reader_usable() -> None:
    async def ask() -> bytes:
        async with reading(Server(lambda head: partial(head) if b"/fast" in head else b" ")) as reader:
            slow = asyncio.create_task(reader.read("slow", 0, 9))
            assert await reader.read("fast", 0, 9) == CONTENT[:9]
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await reader.read("fast", 9, 18)

    assert asyncio.run(ask()) == CONTENT[9:18]


def test_certificates_are_checked_against_those_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path / "one.pem"))
    _certificate(tmp_path / "other.pem")

    async def ask() -> bytes:
        async with reading(Server(partial), context=context) as reader:
            return await reader.read("a", 2, 5)

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "one.pem"))
    assert asyncio.run(ask()) == CONTENT[2:5]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(RangeError, match="certificate"):
        asyncio.run(ask())


def _certificate(path: Path) -> Path:
    """Write a key and its certificate for the loopback address, which speaks for itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)])
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - day).not_valid_after(now + day).add_extension(place, False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, form, plain) + certificate.public_bytes(pem))
    return path
