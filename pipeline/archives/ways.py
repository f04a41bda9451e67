"""From a link to its page in archives, by way of the redirects and revisits that they hold.

All three are cut into buckets by address: a way that leaves one goes on in another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from pipeline.links.candidates import LinkOptions, LinkRules
from pipeline.runner.buckets import bucket_of
from pipeline.runner.records import UTC_SECONDS, Drop
from pipeline.runner.tables import read_tables
from pipeline.web.urls import parse

INDEX = pa.schema(
    [
        ("key", pa.string()),  # canonical address without its scheme
        ("url", pa.string()),  # canonical
        ("domain", pa.string()),
        ("archive", pa.string()),  # its name, as `named` gives it
        ("offset", pa.int64()),
        ("date", UTC_SECONDS),
        ("digest", pa.string()),  # of the payload; empty if the archive does not say
    ]
)

# A record of a page that was as before; `url` to `digest` are its own, as above.
REVISITS = pa.schema(
    [
        *INDEX,
        ("earlier_key", pa.string()),  # of the page that it is the same as; empty if it does not say
        ("earlier_date", UTC_SECONDS),  # and when that was seen, or null
    ]
)

REDIRECTS = pa.schema(
    [
        ("key", pa.string()),  # of the address that is redirected
        ("target", pa.string()),  # canonical
        ("date", UTC_SECONDS),
    ]
)


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Which addresses redirects may lead to, how far, and into how many partitions the index is cut."""

    links: LinkOptions
    allow_networks: tuple[str, ...]
    max_redirects: int
    partitions: int


class Ways:
    """The ways of links through one bucket: from redirect to redirect, as a crawl follows them, to a page."""

    def __init__(
        self,
        indexes: Iterable[str],
        redirects: Iterable[str],
        revisits: Iterable[str],
        options: MatchOptions,
        bucket: int,
    ) -> None:
        """Read the files that hold what is known to one bucket: `INDEX`, `REDIRECTS` and `REVISITS`."""
        self._pages = by_key(indexes, INDEX)
        self._revisits = by_key(revisits, REVISITS)
        order = [("date", "ascending"), ("target", "ascending")]  # so the latest stays
        rows = read_tables(redirects, REDIRECTS).sort_by(order).to_pylist()
        self._targets = {row["key"]: row["target"] for row in rows}
        self._rules = LinkRules(options.links, options.allow_networks)
        self._options = options
        self._bucket = bucket

    def follow(self, link: dict[str, Any]) -> dict[str, Any] | Drop | int:
        """Return a link's page, why it has none, or the bucket that knows more.

        Of a link on its way, `hops` are the redirects so far, and `carried` the capture that a revisit is
        the same as: its key, date and digest, as JSON.
        """
        hops = link["hops"]
        while True:
            at = hops[-1] if hops else link["url"]
            sought = orjson.loads(link["carried"]) if link["carried"] else None
            key = sought["key"] if sought else _key(at)
            bucket = bucket_of(key, self._options.partitions)
            if bucket != self._bucket:
                return bucket
            if sought:
                page = self._capture(**sought)
                return (
                    page | {"url": at} if page else Drop("not in the archives", detail=f"a revisit of {key}")
                )
            if page := self._latest(key):
                return page
            revisits = self._revisits.get(key)
            if revisits and revisits[0]["earlier_key"] not in ("", key):
                link["carried"] = _packed(revisits[0])
                continue
            target = self._targets.get(key)
            if target is None or _key(target) == key:  # http to https alone is no other page
                unresolved = f"a revisit of {at}" if revisits else ""
                return Drop(
                    "not in the archives", detail=unresolved or (f"redirected to {at}" if hops else "")
                )
            if _key(target) in map(_key, (link["url"], *hops)):
                return Drop("redirect loop", detail=target)
            if len(hops) >= self._options.max_redirects:
                return Drop("too many redirects", detail=target)
            hops.append(target)
            address = parse(target)
            refused = address if isinstance(address, Drop) else self._rules.drop_for(address)
            if refused is not None:
                return Drop(refused.reason, detail=target)

    def _latest(self, key: str) -> dict[str, Any] | None:
        """Return the latest page of an address: a capture, or one that was the same again later."""
        pages = self._pages.get(key)
        if pages is None:
            return None
        for revisit in self._revisits.get(key, ()):
            if revisit["date"] <= pages[0]["date"]:
                break
            if (same := self._capture(key, _stamp(revisit["earlier_date"]), revisit["digest"])) is not None:
                return same
        return pages[0]

    def _capture(self, key: str, date: int | None, digest: str) -> dict[str, Any] | None:
        """Return the page of an address with this digest; where none is known, of this date."""
        pages = self._pages.get(key, [])
        same = [page for page in pages if digest and page["digest"] == digest]
        dated = [page for page in pages if _stamp(page["date"]) == date and not (digest and page["digest"])]
        return next(iter([*same, *dated]), None)


def _packed(revisit: dict[str, Any]) -> str:
    date = _stamp(revisit["earlier_date"])
    sought = {"key": revisit["earlier_key"], "date": date, "digest": revisit["digest"]}
    return orjson.dumps(sought).decode()


def _stamp(date: datetime | None) -> int | None:
    return None if date is None else int(date.timestamp())


def _key(url: str) -> str:
    return url.partition("://")[2]


def by_key(files: Iterable[str], schema: pa.Schema) -> dict[str, list[dict[str, Any]]]:
    """Return the pages or revisits in some files by their addresses, of each the latest first.

    Of those of one second in one archive the last counts as the latest: a crawl was sent back to it.
    """
    order = [("key", "ascending"), ("date", "descending"), ("archive", "ascending"), ("offset", "descending")]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_tables(files, schema).sort_by(order).to_pylist():
        found.setdefault(row["key"], []).append(row)
    return found
