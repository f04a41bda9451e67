"""One HTTP exchange with the open web: guarded, bounded in time and bytes, and never raising.

Whatever a server does, `Client.get` gives its response or the `Drop` that says what was wrong.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy
from yarl import URL

from pipeline.runner.records import Drop
from pipeline.web.guard import Guard, GuardedResolver, RefusedAddressError
from pipeline.web.http_head import Response
from pipeline.web.refresh import LOOKED_AT_BYTES

# A page's headers may take this much and no more: 200 × 32 KiB = 6.4 MB.
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 200
MAX_REDIRECT_BYTES = LOOKED_AT_BYTES  # of a redirect's body
DNS_CACHE_S = 300

REDIRECTS = frozenset({301, 302, 303, 307, 308})

Headers = CIMultiDictProxy[str]
Examine = Callable[[int, Headers], Drop | None]
"""Given status and headers, says why the body is not wanted, or None if it is."""


def is_redirect(status: int) -> bool:
    """Say whether a status sends the client elsewhere."""
    return status in REDIRECTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one exchange may cost."""

    deadline_s: float
    connect_s: float
    min_bytes_per_second: float
    rate_grace_s: float  # before the rate counts
    max_bytes: int  # of the body as it is received
    cut: bool = False  # a longer body is cut, not refused


class _Response(aiohttp.ClientResponse):
    """A response that remembers which address it came from: its connection may be gone once it is here."""

    peer = ""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        self.peer = transport.get_extra_info("peername", ("",))[0] if transport else ""
        return await super().start(connection)


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """An exchange that gave nothing to keep: why, and what the server said, if it said anything."""

    drop: Drop
    status: int = 0
    retry_after: str = ""


class _BodyRefusedError(Exception):
    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.reason)
        self.drop = drop


class Client:
    """An HTTP client for strangers' servers: no cookies, proxies or redirects of its own."""

    def __init__(
        self,
        *,
        user_agent: str,
        guard: Guard,
        max_connections: int,
        keepalive_s: float,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = GuardedResolver(resolver or aiohttp.DefaultResolver(), guard)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections,
                keepalive_timeout=keepalive_s,
                resolver=self._resolver,
                ttl_dns_cache=DNS_CACHE_S,
                socket_factory=guard.guarded_socket,
                ssl=tls or True,
            ),
            headers={
                "User-Agent": user_agent,
                "Accept": "text/html,application/xhtml+xml,*/*;q=0.1",  # the last for robots.txt
                "Accept-Language": "en",
                "Accept-Encoding": "gzip, deflate",
            },
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def get(
        self, url: str, limits: Limits, examine: Examine, *, keep_alive: bool = True, cookies: str = ""
    ) -> Response | FetchFailure:
        """Ask for one address.

        Args:
            url: absolute and canonical; it is sent as it stands.
            limits: of this exchange.
            examine: looks at status and headers, before any of the body is read.
            keep_alive: whether more is going to be asked of this server soon.
            cookies: the Cookie header to send, if any.
        """
        try:
            async with asyncio.timeout(limits.deadline_s):
                headers = {} if keep_alive else {"Connection": "close"}
                return await self._exchange(
                    url, limits, examine, headers | ({"Cookie": cookies} if cookies else {})
                )
        except aiohttp.ConnectionTimeoutError as error:
            return FetchFailure(Drop("no connection", url, str(error)[:300]))
        except TimeoutError:
            return FetchFailure(Drop("deadline", url, f"not done within {limits.deadline_s:.3g} s"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return FetchFailure(failure(url, error))

    async def _exchange(
        self, url: str, limits: Limits, examine: Examine, headers: dict[str, str]
    ) -> Response | FetchFailure:
        response = await self._session.get(
            URL(url, encoded=True),
            allow_redirects=False,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s),
        )
        assert isinstance(response, _Response)
        try:
            drop = examine(response.status, response.headers)
            if drop is not None:
                return FetchFailure(drop, response.status, response.headers.get("Retry-After", ""))
            if is_redirect(response.status):
                limits = replace(limits, max_bytes=MAX_REDIRECT_BYTES, cut=True)
            body, truncated = await _read_body(response, url, limits)
        except _BodyRefusedError as refused:
            return FetchFailure(refused.drop, response.status)
        finally:
            response.release()  # back to the pool, or closed where there is more to come
        return Response(
            url=url,
            status=response.status,
            phrase=response.reason or "",
            headers=response.raw_headers,
            body=body,
            address=response.peer,
            at=datetime.now(UTC),
            truncated=truncated,
        )


async def _read_body(response: aiohttp.ClientResponse, url: str, limits: Limits) -> tuple[bytes, bool]:
    """Return the body as received, and whether it was cut at `max_bytes`."""
    announced = response.content_length or 0
    if announced > limits.max_bytes and not limits.cut:
        raise _BodyRefusedError(Drop("too large", url, f"{announced} bytes announced"))
    clock = asyncio.get_running_loop().time
    started = clock()
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > limits.max_bytes:
            if limits.cut:
                return b"".join(chunks)[: limits.max_bytes], True
            raise _BodyRefusedError(Drop("too large", url, f"more than {limits.max_bytes} bytes"))
        elapsed = clock() - started
        if elapsed > limits.rate_grace_s and size < elapsed * limits.min_bytes_per_second:
            raise _BodyRefusedError(Drop("too slow", url, f"{size} bytes in {elapsed:.1f} s"))
    return b"".join(chunks), False


def failure(url: str, error: Exception) -> Drop:
    """Return what an exception of an exchange means."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, RefusedAddressError):
        return Drop(cause.reason, url, cause.detail)
    return Drop(_failure_reason(error), url, f"{type(error).__name__}: {error}"[:300])


def _failure_reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "bad certificate"
        case aiohttp.ClientSSLError():
            return "TLS failure"
        case aiohttp.ClientConnectorDNSError():
            return "host not found"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case aiohttp.InvalidURL():
            return "bad address"
        case aiohttp.ClientResponseError():
            return "bad HTTP"
        case aiohttp.ClientError() | OSError():
            return "connection lost"
        case _:
            return "bad address"
