"""From a link to its page in archives, by way of the redirects that they hold.

Pages and redirects are cut into buckets by address: a way that leaves one goes on in another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
        self, indexes: Iterable[str], redirects: Iterable[str], options: MatchOptions, bucket: int
    ) -> None:
        """Read the files that hold what is known to one bucket: its index (`INDEX`) and `REDIRECTS`."""
        self._pages, _ = latest_pages(indexes)
        order = [("date", "ascending"), ("target", "ascending")]  # so the latest stays
        rows = read_tables(redirects, REDIRECTS).sort_by(order).to_pylist()
        self._targets = {row["key"]: row["target"] for row in rows}
        self._rules = LinkRules(options.links, options.allow_networks)
        self._options = options
        self._bucket = bucket

    def follow(self, link: dict[str, Any]) -> dict[str, Any] | Drop | int:
        """Return a link's page, why it has none, or the bucket that knows more; `hops` grow on the way."""
        hops = link["hops"]
        while True:
            at = hops[-1] if hops else link["url"]
            key = _key(at)
            bucket = bucket_of(key, self._options.partitions)
            if bucket != self._bucket:
                return bucket
            if key in self._pages:
                return self._pages[key]
            target = self._targets.get(key)
            if target is None or _key(target) == key:  # http to https alone is no other page
                return Drop("not in the archives", detail=f"redirected to {at}" if hops else "")
            if _key(target) in map(_key, (link["url"], *hops)):
                return Drop("redirect loop", detail=target)
            if len(hops) >= self._options.max_redirects:
                return Drop("too many redirects", detail=target)
            hops.append(target)
            address = parse(target)
            refused = address if isinstance(address, Drop) else self._rules.drop_for(address)
            if refused is not None:
                return Drop(refused.reason, detail=target)


def _key(url: str) -> str:
    return url.partition("://")[2]


def latest_pages(indexes: Iterable[str]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return the latest page of each address by its key, and the pages that are older."""
    order = [("key", "ascending"), ("date", "descending"), ("archive", "ascending"), ("offset", "ascending")]
    latest: dict[str, dict[str, Any]] = {}
    again = []
    for row in read_tables(indexes, INDEX).sort_by(order).to_pylist():
        if latest.setdefault(row["key"], row) is not row:
            again.append(row)
    return latest, again
