"""A visit: one link, or one file about an origin, on its way through redirects and retries."""

import sys
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin

from ada_url import URL

from pipeline.crawl.cookies import Cookie, cookie_header
from pipeline.runner.records import Drop
from pipeline.web import http_head
from pipeline.web.guard import url_reject_reason
from pipeline.web.http_head import Response
from pipeline.web.urls import registrable_domain, with_hash_bang

ELSEWHERE = "redirect elsewhere"
"""Reason of a link whose redirect leads to a domain of another crawl, which may go on with its `hops`."""


class Target(NamedTuple):
    """Where a request goes: to which origin, and whose turn that takes."""

    url: str
    origin: str
    domain: str


class Link(NamedTuple):
    """A link to crawl, and how far another crawl has come with it."""

    url: str  # canonical
    hops: tuple[str, ...] = ()  # where redirects have led so far; the last one is where to go on
    cookies: tuple[Cookie, ...] = ()  # that were set on the way


class Purpose(Enum):
    """What a visit is made for."""

    PAGE = "page"
    ROBOTS = "robots.txt"
    TDMREP = "tdmrep.json"


@dataclass(slots=True)
class Visit:
    """One link, or one file about an origin, on its way through redirects and retries."""

    purpose: Purpose
    subject: str  # the link, or the origin that the file is about
    target: Target
    hops: tuple[str, ...] = ()  # every address after the first
    redirects: tuple[Response, ...] = ()
    cookies: tuple[Cookie, ...] = ()
    cleared_by: str = ""  # the origin whose policy let it go on
    retries: int = 0
    spent_s: float = 0.0
    started_at: float = 0.0

    def is_new(self, url: str) -> bool:
        """Say whether an address was not asked for on this way, or not with the cookies that it has now."""
        asked = (self.subject, *self.hops)
        if url not in asked:
            return True
        last = len(asked) - 1 - asked[::-1].index(url)
        before = [cookie for cookie in self.cookies if cookie.hop < last]
        return cookie_header(before, url) != cookie_header(self.cookies, url)


def locate(url: str) -> Target | Drop:
    """Return where a request for an address goes, or why none may be made."""
    try:
        parsed = URL(url)
    except ValueError:
        return Drop("bad address", url[:300])
    reason = url_reject_reason(parsed.protocol.removesuffix(":"), parsed.username, parsed.password)
    if reason is not None:
        return Drop(reason, url[:300], parsed.href[:300])
    if not parsed.hostname:
        return Drop("bad address", url[:300])
    if parsed.hash.startswith("#!"):
        parsed.search = with_hash_bang(parsed.search.removeprefix("?"), parsed.hash)
    parsed.hash = ""
    # A hundred thousand of these may be waiting: equal strings are one.
    same = url if url == parsed.href else parsed.href
    return Target(same, sys.intern(parsed.origin), _domain(parsed.hostname))


@lru_cache(maxsize=65_536)
def _domain(host: str) -> str:
    return registrable_domain(host.removesuffix("."))


def redirect_target(response: Response) -> Target | Drop:
    """Return where a redirect points, or why it is not followed."""
    location = http_head.first(response.header_texts, "location").strip()
    if not location:
        return Drop("bad redirect", response.url, "no Location")
    try:
        return locate(urljoin(response.url, location))
    except ValueError:
        return Drop("bad redirect", response.url, location[:300])
