"""The cookies of one link's way: set by an answer, sent with the requests that follow, and then forgotten.

Some sites send a reader round until a cookie comes back. RFC 6265 and browsers say which cookie goes where.
What is kept is every cookie that was set, with its place on the way, so one can tell what an earlier request
had. No jar of a library serves: aiohttp's rewrites values (`a,b` becomes `"a\\054b"`) and keeps what expired
in 1970, which is how cookies are deleted; http.cookiejar knows no public suffixes.
"""

import re
import time
from collections.abc import Iterable, Sequence
from email.utils import mktime_tz, parsedate_tz
from typing import NamedTuple

import orjson
from ada_url import URL

from pipeline.web.http_head import Response, header_text
from pipeline.web.urls import is_public_suffix

# Browsers hold 4,096 bytes of one cookie, and some 180 of a site.
MAX_COOKIE_BYTES = 4_096
MAX_COOKIES = 100  # of a way
MAX_BYTES = 64 * 1024  # of all of them
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Cookie(NamedTuple):
    """A cookie that was set on a link's way, or deleted there."""

    hop: int  # redirects followed before the request that was answered with it
    name: str
    value: str
    domain: str
    is_shared: bool  # with all hosts under the domain
    path: str
    is_secure: bool
    is_deleted: bool


def received(response: Response, hop: int, so_far: Sequence[Cookie] = ()) -> tuple[Cookie, ...]:
    """Return the cookies of a way with those that an answer sets, as far as browsers take them."""
    cookies = list(so_far)
    room = MAX_BYTES - sum(map(_size, cookies))
    lines = [value for name, value in response.headers if name.lower() == b"set-cookie"]
    url = URL(response.url) if lines else None
    for line in lines:
        cookie = _cookie(header_text(line), url, hop) if url and len(line) <= MAX_COOKIE_BYTES else None
        if cookie is not None and _size(cookie) <= room and len(cookies) < MAX_COOKIES:
            cookies.append(cookie)
            room -= _size(cookie)
    return tuple(cookies)


def _size(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value) + len(cookie.domain) + len(cookie.path)


def _cookie(line: str, url: URL, hop: int) -> Cookie | None:
    """Read a Set-Cookie header; None where it counts for nothing (RFC 6265, sections 5.2 and 5.3).

    A cookie for a public suffix (all of .co.uk) would be everybody's. One that is Secure comes over TLS only,
    and the prefixes of RFC 6265bis, section 4.1.3, promise what must be so.
    """
    pair, *parts = (part.strip() for part in line.split(";"))
    attributes = {
        key.strip().lower(): value.strip() for key, _, value in (part.partition("=") for part in parts)
    }
    name, equals, value = (piece.strip() for piece in pair.partition("="))
    domain = attributes.get("domain", "").removeprefix(".").lower()
    path = attributes.get("path", "")
    is_secure = "secure" in attributes
    if not name or not equals or _CONTROL.search(line) or (is_secure and url.protocol != "https:"):
        return None
    prefix = name.lower()
    if prefix.startswith(("__secure-", "__host-")) and not is_secure:
        return None
    if prefix.startswith("__host-") and (domain or path != "/"):
        return None
    if (
        domain
        and domain != url.hostname
        and (is_public_suffix(domain) or not _is_under(url.hostname, domain))
    ):
        return None
    is_shared = bool(domain) and not is_public_suffix(domain) and not _is_number(url.hostname)
    if not path.startswith("/"):
        path = url.pathname.rpartition("/")[0] or "/"
    return Cookie(
        hop, name, value, domain or url.hostname, is_shared, path, is_secure, _is_expired(attributes)
    )


def _is_expired(attributes: dict[str, str]) -> bool:
    """Say whether a cookie's time is over; Max-Age counts before Expires, and what is neither for nothing."""
    age = attributes.get("max-age", "")
    if re.fullmatch(r"-?\d{1,20}", age, re.ASCII):
        return int(age) <= 0
    try:
        until = parsedate_tz(attributes.get("expires", "")[:100])
        return until is not None and mktime_tz(until) <= time.time()
    except (ValueError, OverflowError, IndexError, TypeError):  # no date at all
        return False


def _is_under(host: str, domain: str) -> bool:
    return host.endswith(f".{domain}") and not _is_number(host)


def _is_number(host: str) -> bool:
    return host.startswith("[") or host.rpartition(".")[2].isdigit()


def cookie_header(cookies: Iterable[Cookie], url: str) -> str:
    """Return the value of the Cookie header for a request (RFC 6265, section 5.4); empty if there is none."""
    kept: dict[tuple[str, str, str], Cookie] = {}
    for cookie in cookies:
        if cookie.is_deleted:
            kept.pop((cookie.name, cookie.domain, cookie.path), None)
        else:
            kept[cookie.name, cookie.domain, cookie.path] = cookie
    if not kept:
        return ""
    asked = URL(url)
    wanted = [cookie for cookie in kept.values() if _goes_to(cookie, asked)]
    wanted.sort(key=lambda cookie: -len(cookie.path))
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in wanted)


def _goes_to(cookie: Cookie, url: URL) -> bool:
    host, path = url.hostname, url.pathname
    if host != cookie.domain and not (cookie.is_shared and _is_under(host, cookie.domain)):
        return False
    if cookie.is_secure and url.protocol != "https:":
        return False
    return path == cookie.path or path.startswith(f"{cookie.path.removesuffix('/')}/")


def packed(cookies: Iterable[Cookie]) -> str:
    """Return cookies as a text that the next crawl of the way can read; empty if there are none."""
    rows = [tuple(cookie) for cookie in cookies]
    return orjson.dumps(rows).decode() if rows else ""


def unpacked(text: str | None) -> tuple[Cookie, ...]:
    """Return the cookies that `packed` gave."""
    return tuple(Cookie(*row) for row in orjson.loads(text)) if text else ()
