"""How a crawl behaves, and what came of it."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field

from pipeline.web.guard import parse_networks

VERSION = "0.1"  # in the User-Agent, and in the WARC files


@dataclass(frozen=True, kw_only=True)
class CrawlOptions:
    """How the crawler behaves. Sizes are in bytes, times in seconds."""

    contact: str = ""
    """Address or e-mail at which site owners reach you; it is part of the User-Agent. Needed to crawl."""
    delay_s: float = 1.0
    """Delay between requests to a registrable domain whose robots.txt gives no Crawl-delay."""
    max_crawl_delay_s: float = 60.0
    """Longest Crawl-delay that is obeyed; a longer one is cut to this."""
    max_domains: int = 2_000
    """Domains crawled at once; the others wait."""
    max_connections: int = 500
    """Requests at once, each of which may hold `max_compressed_bytes` in memory."""
    max_queued_links: int = 100_000
    """Links read ahead into memory."""
    deadline_s: float = 60.0
    """Total time for all requests of a link, not counting the wait for its turn."""
    robots_deadline_s: float = 20.0
    """Total time for a robots.txt or tdmrep.json."""
    connect_timeout_s: float = 10.0
    """Timeout of a connection attempt."""
    min_bytes_per_second: float = 500.0
    """Slowest rate at which a body may arrive, after `rate_grace_s`."""
    rate_grace_s: float = 5.0
    """Time during which a body may arrive at any rate."""
    max_compressed_bytes: int = 4 * 1024 * 1024
    """Largest body as received."""
    max_decompressed_bytes: int = 16 * 1024 * 1024
    """Largest body after decoding."""
    max_redirects: int = 10
    """Redirects followed per link."""
    retries: int = 2
    """Retries after a lost connection or status 429, 500, 502, 503 or 504."""
    backoff_s: float = 5.0
    """Delay before the first retry if the server gives none; doubled for each further retry."""
    max_retry_after_s: float = 120.0
    """Longest Retry-After that is obeyed; a link with a longer one is given up."""
    allow_networks: tuple[str, ...] = ()
    """Non-public networks (CIDR) that may be connected to, on any port."""
    allowed_ports: tuple[int, ...] = (80, 443)
    """Ports that may be connected to."""
    respect_robots: bool = True
    """Fetch robots.txt and obey it."""
    respect_opt_outs: bool = True
    """Leave out pages that opt out by X-Robots-Tag, meta robots or TDM reservation."""
    give_up_after_opt_outs: int = 20
    """Consecutive opt-outs after which a host's other pages are not requested; 0: never."""
    warc_bytes: int = 1024 * 1024 * 1024
    """Size at which a WARC file is committed and the next one started."""
    segment_s: float = 1_800.0
    """Age at which a WARC file is committed: on an object store, only committed files exist. A crawl's first
    files are committed after 15 s, 30 s and so on, up to this."""

    def check(self) -> None:
        """Raise `ValueError` where a crawl cannot be made with these options."""
        if not self.contact or not self.contact.isprintable() or not self.contact.isascii():
            raise ValueError("a crawl needs a contact: an address or e-mail at which site owners reach you")
        if min(self.max_domains, self.max_connections, self.max_queued_links) < 1:
            raise ValueError("max_domains, max_connections and max_queued_links must be at least 1")
        parse_networks(self.allow_networks)

    def fingerprint(self) -> str:
        """Return what changes when the options do that decide which links get a page."""
        named = {_FIRST_NAMES.get(name, name): value for name, value in asdict(self).items()}
        deciding = {name: value for name, value in named.items() if name not in _NOT_DECIDING}
        return hashlib.sha256(repr(sorted(deciding.items())).encode()).hexdigest()[:16]


# Crawls of earlier versions stay known.
_FIRST_NAMES = {"give_up_after_opt_outs": "spare_after_opt_outs"}
_NOT_DECIDING = frozenset(
    {"contact", "delay_s", "max_crawl_delay_s", "max_domains", "max_connections", "max_queued_links"}
    | {"backoff_s", "warc_bytes", "segment_s"}
)


@dataclass(slots=True, kw_only=True)
class CrawlCounts:
    """What became of the links; `links` is `reused` + `pages` + all of `drops`."""

    links: int = 0
    reused: int = 0  # links that an earlier crawl into the same folder had settled
    pages: int = 0
    bytes: int = 0  # of the pages' bodies, as they were received
    requests: int = 0  # all of them: redirects, retries, robots.txt
    drops: Counter[str] = field(default_factory=Counter)
