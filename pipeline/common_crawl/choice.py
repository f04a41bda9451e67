"""From a link to the capture to fetch, by way of redirects, among the captures that the index has for it.

A page of the address itself comes before a redirect from it. A redirect is followed to a capture that was
found with the link's (`www.`, a slash, https: most lead there); to any other address the index has to be
asked again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.common_crawl.captures import REASONS, Kind
from pipeline.links.candidates import LinkRules
from pipeline.runner.records import Drop
from pipeline.web.urls import Address, parse
from pipeline.web.warc import redirect_address

NOT_THERE = "not in the archives"

Capture = Mapping[str, Any]
"""A row of `CAPTURES`."""


@dataclass(frozen=True)
class Elsewhere:
    """A redirect has led to an address of which nothing is known yet."""


@dataclass(frozen=True)
class Chooser:
    """Chooses captures; the rules say which addresses are not wanted."""

    rules: LinkRules
    max_redirects: int

    def choose(self, url: str, hops: list[str], captures: Sequence[Capture]) -> Capture | Drop | Elsewhere:
        """Return the capture to fetch, why there is none, or that the way goes on elsewhere.

        What is fetched is a page, or a redirect whose target the index does not give.

        Args:
            url: of the link.
            hops: where redirects have led so far; they grow on the way.
            captures: the best of each kind and address that were found for the last hop.
        """
        known: dict[str, dict[Kind, Capture]] = {}
        for capture in captures:
            known.setdefault(capture["key"], {})[Kind(capture["kind"])] = capture
        begin = _key(hops[-1] if hops else url)
        while True:
            key = _key(hops[-1] if hops else url)
            there = known.get(key)
            if there is None and key != begin:
                return Elsewhere()
            if not there:
                return Drop(NOT_THERE, detail=f"redirected to {hops[-1]}" if hops else "")
            if Kind.PAGE in there:
                return there[Kind.PAGE]
            redirect = there.get(Kind.REDIRECT)
            if redirect is None:
                return _no_page(there)
            if not redirect["fetch_redirect"]:
                return redirect
            target = self.follow(url, hops, redirect["url"], redirect["fetch_redirect"])
            if target is None:  # to https alone, which is no other page: the twin was not captured
                return _no_page(there)
            if isinstance(target, Drop):
                return target

    def follow(self, url: str, hops: list[str], base: str, location: str) -> str | Drop | None:
        """Take a redirect into the way; return where it leads, why it may not, or None if nowhere new."""
        target = parse(redirect_address(base, location))
        if isinstance(target, Drop):
            return Drop("bad redirect", detail=f"{target.reason}: {location[:300]}")
        if target.key == _key(hops[-1] if hops else url):
            return None
        if target.key in map(_key, (url, *hops)):
            return Drop("redirect loop", detail=target.url)
        if len(hops) >= self.max_redirects:
            return Drop("too many redirects", detail=target.url)
        hops.append(target.url)
        return self._refused(target) or target.url

    def _refused(self, address: Address) -> Drop | None:
        refused = self.rules.drop_for(address)
        return None if refused is None else Drop(refused.reason, detail=address.url)


def _no_page(there: Mapping[Kind, Capture]) -> Drop:
    kind = min((kind for kind in there if kind in REASONS), default=None)
    if kind is None:
        return Drop(NOT_THERE, detail="only a redirect to https")
    capture = there[kind]
    return Drop(REASONS[kind], detail=f"{capture['source']}, {capture['fetch_time']:%Y-%m-%d}")


def _key(url: str) -> str:
    return url.partition("://")[2]
