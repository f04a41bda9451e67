"""The crawler: links in, WARC files and a fetch log out; thousands of hosts at once, each left in peace.

A link's way is a `Visit`: one request after another (its redirects, its retries), each in the queue of
the domain that it goes to. An origin's robots.txt and tdmrep.json are visits too, on which the pages
of that origin wait. Every visit ends as a page or as a `Drop`, and as one row of the fetch log.
"""

import asyncio
import hashlib
import resource
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import can_ada
from aiohttp.abc import AbstractResolver

from pipeline.gather import content_coding, robots
from pipeline.gather.fetch import Client, Failure, Headers, Limits, is_redirect
from pipeline.gather.guard import Guard, parse_networks, url_refusal
from pipeline.gather.optout import (
    MAX_TDMREP_BYTES,
    NO_TDM_RULES,
    TDMREP_PATH,
    header_opt_out,
    meta_opt_out,
    parse_tdmrep,
)
from pipeline.gather.policies import Policies, Policy
from pipeline.gather.politeness import Domain, Frontier
from pipeline.gather.segments import Finished, SegmentWriter, finish_interrupted, locked
from pipeline.gather.urls import registrable_domain
from pipeline.gather.warc import HTML_TYPES, Response, media_type, response_record
from pipeline.records import Drop

VERSION = "0.1"
TICK_S = 1.0
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
RETRIED_REASONS = frozenset({"connection lost", "no connection"})

# What fails before a server could answer fails for a page as it does for its robots.txt, and is told
# as what it is; the rest (a robots.txt that hangs, that is cut off) is "robots.txt unreachable".
ANSWER_REASONS = frozenset(
    {"deadline", "connection lost", "bad HTTP", "too slow", "too large", "bad encoding", "server error"}
)


@dataclass(frozen=True, kw_only=True)
class CrawlOptions:
    """How the crawler behaves. Sizes are in bytes, times in seconds."""

    contact: str = ""
    """Address or e-mail at which site owners reach you; it is part of the User-Agent. Needed to crawl."""
    delay_s: float = 1.0
    """Rest between two requests to one registrable domain, where its robots.txt gives no Crawl-delay."""
    max_crawl_delay_s: float = 60.0
    """Longest Crawl-delay that is waited for; a longer one counts as this."""
    max_domains: int = 2_000
    """Domains worked on at once; the others wait for one of them to be done."""
    max_connections: int = 500
    """Requests under way at once, each of which may hold `max_compressed_bytes` in memory."""
    max_queued_links: int = 100_000
    """Links read ahead and kept in memory."""
    deadline_s: float = 60.0
    """Time that all requests of one link may take together; waiting for its turn does not count."""
    robots_deadline_s: float = 20.0
    """The same for a robots.txt or tdmrep.json."""
    connect_timeout_s: float = 10.0
    """Time that making one connection may take."""
    min_bytes_per_second: float = 500.0
    """Slowest rate at which a body may come, once `rate_grace_s` has passed."""
    rate_grace_s: float = 5.0
    """Time that a body may come at any rate."""
    max_compressed_bytes: int = 4 * 1024 * 1024
    """Largest body as it is received."""
    max_decompressed_bytes: int = 16 * 1024 * 1024
    """Largest body once it is decoded."""
    max_redirects: int = 10
    """Redirects followed for one link."""
    retries: int = 2
    """Times that a request is made again after a lost connection or status 429, 500, 502, 503 or 504."""
    backoff_s: float = 5.0
    """Rest before the first retry where the server names none; doubled for each further one."""
    max_retry_after_s: float = 120.0
    """Longest Retry-After that is waited for; after a longer one the link is given up."""
    allow_networks: tuple[str, ...] = ()
    """Networks (CIDR) that may be connected to although they are not public, on any port."""
    allowed_ports: tuple[int, ...] = (80, 443)
    """Ports that may be connected to."""
    respect_robots: bool = True
    """Ask for robots.txt and obey it."""
    respect_opt_outs: bool = True
    """Leave out pages that opt out by X-Robots-Tag, meta robots or TDM reservation."""
    spare_after_opt_outs: int = 20
    """Opt-outs in a row after which a host's other pages are not asked for; 0 asks for each."""
    warc_bytes: int = 1024 * 1024 * 1024
    """Size at which a WARC file is closed and the next one begun."""

    def fingerprint(self) -> str:
        """Return what changes when the options do that decide which links get a page."""
        deciding = {name: value for name, value in asdict(self).items() if name not in _NOT_DECIDING}
        return hashlib.sha256(repr(sorted(deciding.items())).encode()).hexdigest()[:16]


_NOT_DECIDING = frozenset(
    {"contact", "delay_s", "max_crawl_delay_s", "max_domains", "max_connections", "max_queued_links"}
    | {"backoff_s", "warc_bytes"}
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


Refusal = Callable[[str], str | None]
"""Given an address, says why a page there is not wanted ("wikipedia"), or None if it is."""


class Target(NamedTuple):
    """Where a request goes: to which origin, and whose turn that takes."""

    url: str
    origin: str
    domain: str


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
    hops: list[str] = field(default_factory=list)  # every address after the first
    redirects: list[Response] = field(default_factory=list)
    retries: int = 0
    spent_s: float = 0.0
    started_at: float = 0.0


def crawl(
    links: Iterable[str],
    folder: str | Path,
    options: CrawlOptions,
    *,
    refusal: Refusal = lambda url: None,
    on_progress: Callable[[CrawlCounts], None] = lambda counts: None,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> CrawlCounts:
    """Fetch pages into a local folder: WARC files, and one row a link in a fetch log (`FETCHES`).

    Run again on the same folder it goes on where it was, however it ended: a link that has its page is
    never fetched again, and one that has none only under other options.

    Args:
        links: canonical addresses, each once. They are read as they are needed. The domains take turns
            in the order in which they come, so links that are not sorted by domain keep more hosts busy.
        folder: for this crawl alone; made if need be. `segments.fetch_log` reads its log.
        options: how to behave.
        refusal: asked about each address, redirects included; what it answers is the reason of the drop.
        on_progress: called about once a second, and at the end.
        resolver: looks names up in place of the system's resolver; what it finds is guarded all the same.
        tls: verifies certificates in place of the system's authorities.

    Raises:
        ValueError: the options cannot be worked with, or another crawl is writing to the folder.
    """
    _check(options)
    _allow_open_files(2 * options.max_domains + 256)
    folder = Path(folder)
    with locked(folder):
        finish_interrupted(folder)
        try:
            return asyncio.run(_crawl(links, folder, options, refusal, on_progress, resolver, tls))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group


def _check(options: CrawlOptions) -> None:
    contact = options.contact
    if not contact or not contact.isprintable() or not contact.isascii():
        raise ValueError("a crawl needs --contact: an address or e-mail at which site owners reach you")
    if min(options.max_domains, options.max_connections, options.max_queued_links) < 1:
        raise ValueError("max_domains, max_connections and max_queued_links must be at least 1")
    parse_networks(options.allow_networks)


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


async def _crawl(
    links: Iterable[str],
    folder: Path,
    options: CrawlOptions,
    refusal: Refusal,
    on_progress: Callable[[CrawlCounts], None],
    resolver: AbstractResolver | None,
    tls: ssl.SSLContext | None,
) -> CrawlCounts:
    user_agent = f"Outbound/{VERSION} (+{options.contact})"
    fields = [
        ("software", f"Outbound/{VERSION}"),
        ("format", "WARC File Format 1.1"),
        ("conformsTo", "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"),
        ("operator", options.contact),
        ("http-header-user-agent", user_agent),
        ("robots", "obey" if options.respect_robots else "ignore"),
    ]
    segments = SegmentWriter(folder, options.fingerprint(), options.warc_bytes, fields)
    client = Client(
        user_agent=user_agent,
        guard=Guard(parse_networks(options.allow_networks), frozenset(options.allowed_ports)),
        max_connections=options.max_connections,
        keepalive_s=options.delay_s + 5,
        resolver=resolver,
        tls=tls,
    )
    finished = Finished(folder, options.fingerprint())
    async with client:
        crawler = _Crawler(options, refusal, client, segments, on_progress)
        try:
            await crawler.run(iter(links), finished)
        except BaseException:
            segments.abandon()
            raise
    segments.close()
    return crawler.counts


class _Crawler:
    """The state of one crawl. Everything happens on one event loop; between two awaits nothing changes."""

    def __init__(
        self,
        options: CrawlOptions,
        refusal: Refusal,
        client: Client,
        segments: SegmentWriter,
        on_progress: Callable[[CrawlCounts], None],
    ) -> None:
        self.counts = CrawlCounts()
        self._options = options
        self._refusal = refusal
        self._client = client
        self._segments = segments
        self._on_progress = on_progress
        self._frontier: Frontier[Visit] = Frontier(options.max_domains)
        self._policies = Policies()
        self._robots: dict[str, robots.Robots] = {}  # of origins whose tdmrep.json is still to come
        self._parked: dict[str, list[Visit]] = {}  # by origin, until its policy is known
        self._open_links = 0
        self._under_way = 0
        self._clock = asyncio.get_running_loop().time
        self._woken = asyncio.Event()

    # --- whose turn ---

    async def run(self, links: Iterator[str], finished: Finished) -> None:
        """Work until every link has its row."""
        next_tick = self._clock() + TICK_S
        async with asyncio.TaskGroup() as group:
            while self._read_ahead(links, finished) or self._under_way:
                while self._under_way < self._options.max_connections:
                    turn = self._frontier.take(self._clock())
                    if turn is None:
                        break
                    self._under_way += 1
                    group.create_task(self._take_turn(*turn))
                if self._clock() >= next_tick:
                    self._tick()
                    next_tick = self._clock() + TICK_S
                await self._wait(next_tick)
        self._on_progress(self.counts)

    def _read_ahead(self, links: Iterator[str], finished: Finished) -> bool:
        """Queue links up to the number kept in memory; say whether any are open."""
        while self._open_links < self._options.max_queued_links:
            link = next(links, None)
            if link is None:
                break
            self.counts.links += 1
            if link in finished:
                self.counts.reused += 1
                continue
            self._open_links += 1
            visit = Visit(Purpose.PAGE, link, Target(link, "", ""))
            target = locate(link)
            if isinstance(target, Drop):
                self._settle(visit, Failure(target))
            else:
                visit.target = target
                self._frontier.push(target.domain, visit)
        return self._open_links > 0

    async def _wait(self, until: float) -> None:
        """Wait for a turn to end, for the next domain to be ready or for the next tick."""
        ready_at = self._frontier.next_ready_at()
        if ready_at is not None and self._under_way < self._options.max_connections:
            until = min(until, ready_at)
        self._woken.clear()
        timer = asyncio.get_running_loop().call_at(until, self._woken.set)
        await self._woken.wait()
        timer.cancel()

    def _tick(self) -> None:
        self._segments.flush()
        self._frontier.forget_rested(self._clock())
        self._on_progress(self.counts)

    async def _take_turn(self, domain: Domain[Visit], visit: Visit) -> None:
        rest_s = await self._advance(domain, visit)
        self._under_way -= 1
        self._frontier.release(domain, self._clock() + rest_s)
        self._woken.set()

    # --- one turn ---

    async def _advance(self, domain: Domain[Visit], visit: Visit) -> float:
        """Take a visit one request further, and return how long its domain is to be left alone then."""
        refusal = self._refusal_before_asking(visit)
        if refusal is not None:
            self._settle(visit, Failure(refusal))
            return 0.0
        if visit.purpose is Purpose.PAGE and self._must_know_policy(visit.target.origin):
            self._park(visit)
            return 0.0
        keep_alive = self._frontier.has_more(domain) or visit.purpose is not Purpose.PAGE
        outcome = await self._ask(visit, keep_alive)
        return self._conclude(visit, outcome)

    def _refusal_before_asking(self, visit: Visit) -> Drop | None:
        url = visit.target.url
        unwanted = self._refusal(url)
        if unwanted is not None:
            return Drop(unwanted, url)
        policy = self._policies.get(visit.target.origin, self._clock())
        if visit.purpose is not Purpose.PAGE or policy is None:
            return None
        return policy.refusal(url, self._options.spare_after_opt_outs)

    async def _ask(self, visit: Visit, keep_alive: bool) -> Response | Failure:
        options = self._options
        asked_at = self._clock()
        if not visit.started_at:
            visit.started_at = asked_at
        is_page = visit.purpose is Purpose.PAGE
        deadline_s = options.deadline_s if is_page else options.robots_deadline_s
        limits = Limits(
            deadline_s=max(0.0, deadline_s - visit.spent_s),
            connect_s=options.connect_timeout_s,
            min_bytes_per_second=options.min_bytes_per_second,
            rate_grace_s=options.rate_grace_s,
            max_bytes=options.max_compressed_bytes if is_page else robots.MAX_BYTES,
            cut=not is_page,
        )
        examine = self._examine_page if is_page else _examine_file
        self.counts.requests += 1
        outcome = await self._client.get(visit.target.url, limits, examine, keep_alive=keep_alive)
        visit.spent_s += self._clock() - asked_at
        return outcome

    def _examine_page(self, status: int, headers: Headers) -> Drop | None:
        if is_redirect(status):
            return None
        if status != 200:
            return Drop(status_reason(status), detail=f"status {status}")
        content_type = headers.get("Content-Type", "")
        if media_type(content_type) not in HTML_TYPES:
            return Drop("not HTML", detail=content_type[:100] or "no Content-Type")
        opt_out = header_opt_out(headers.items()) if self._options.respect_opt_outs else None
        return Drop(opt_out.reason, detail=opt_out.where) if opt_out else None

    def _conclude(self, visit: Visit, outcome: Response | Failure) -> float:
        """Retry, follow or settle; return how long the domain that was asked is to be left alone."""
        origin = visit.target.origin
        retry_s = self._retry_after_s(visit, outcome)
        if retry_s is not None:
            visit.retries += 1
            self._frontier.push(visit.target.domain, visit, first=True)
        elif isinstance(outcome, Response) and is_redirect(outcome.status):
            self._follow(visit, outcome)
        else:
            self._settle(visit, outcome)
        return max(retry_s or 0.0, self._crawl_delay_s(origin))

    def _crawl_delay_s(self, origin: str) -> float:
        options = self._options
        policy = self._policies.get(origin, self._clock())
        if policy is None:
            policy = Policy(robots=self._robots.get(origin, robots.ALLOW_ALL))
        return policy.crawl_delay_s(options.delay_s, options.max_crawl_delay_s)

    def _retry_after_s(self, visit: Visit, outcome: Response | Failure) -> float | None:
        """Return how long to wait before the same request is made again, or None if it is not."""
        if isinstance(outcome, Response) or visit.retries >= self._options.retries:
            return None
        if outcome.status not in RETRIED_STATUSES and outcome.drop.reason not in RETRIED_REASONS:
            return None
        backoff_s = self._options.backoff_s * 2.0**visit.retries
        asked_for_s = retry_after_s(outcome.retry_after, datetime.now(UTC))
        wait_s = backoff_s if asked_for_s is None else asked_for_s
        return wait_s if wait_s <= max(self._options.max_retry_after_s, backoff_s) else None

    def _follow(self, visit: Visit, response: Response) -> None:
        """Send a visit where a redirect points: into the queue of that domain."""
        target = redirect_target(response)
        limit = self._options.max_redirects if visit.purpose is Purpose.PAGE else robots.MAX_REDIRECTS
        if isinstance(target, Drop):
            self._settle(visit, Failure(target, response.status))
            return
        if target.url in (visit.target.url, visit.subject, *visit.hops):
            self._settle(visit, Failure(Drop("redirect loop", target.url), response.status))
            return
        if len(visit.hops) >= limit:
            self._settle(visit, Failure(Drop("too many redirects", target.url), response.status))
            return
        if visit.purpose is Purpose.PAGE:
            visit.redirects.append(response)
        visit.hops.append(target.url)
        visit.target = target
        self._frontier.push(target.domain, visit, first=True)

    # --- what an origin lets us do ---

    def _must_know_policy(self, origin: str) -> bool:
        asks = self._options.respect_robots or self._options.respect_opt_outs
        return asks and self._policies.get(origin, self._clock()) is None

    def _park(self, visit: Visit) -> None:
        """Keep a page's visit until its origin's policy is known, for which the first one asks."""
        origin = visit.target.origin
        parked = self._parked.setdefault(origin, [])
        parked.append(visit)
        if len(parked) == 1:
            if self._options.respect_robots:
                self._ask_about(origin, Purpose.ROBOTS, "/robots.txt", visit.target.domain)
            else:
                self._ask_about(origin, Purpose.TDMREP, TDMREP_PATH, visit.target.domain)

    def _ask_about(self, origin: str, purpose: Purpose, path: str, domain: str) -> None:
        errand = Visit(purpose, origin, Target(origin + path, origin, domain))
        self._frontier.push(domain, errand, first=True)

    def _robots_answered(self, visit: Visit, outcome: Response | Failure) -> None:
        origin = visit.subject
        found = robots_from(outcome, redirected=bool(visit.hops))
        reachable = found.unreachable is None and found.refusal(origin + TDMREP_PATH) is None
        if reachable and self._options.respect_opt_outs:
            self._robots[origin] = found
            waiting = self._parked[origin][0]
            self._ask_about(origin, Purpose.TDMREP, TDMREP_PATH, waiting.target.domain)
        else:
            self._policy_known(origin, Policy(robots=found, asked_at=self._clock()))

    def _tdmrep_answered(self, visit: Visit, outcome: Response | Failure) -> None:
        origin = visit.subject
        tdm = NO_TDM_RULES
        if isinstance(outcome, Response):
            tdm = parse_tdmrep(_file_body(outcome, MAX_TDMREP_BYTES))
        found = self._robots.pop(origin, robots.ALLOW_ALL)
        self._policy_known(origin, Policy(robots=found, tdm=tdm, asked_at=self._clock()))

    def _policy_known(self, origin: str, policy: Policy) -> None:
        """Let the waiting pages go on, and settle those that the policy refuses."""
        self._policies.put(origin, policy)
        for visit in reversed(self._parked.pop(origin)):
            refusal = policy.refusal(visit.target.url, self._options.spare_after_opt_outs)
            if refusal is not None:
                self._settle(visit, Failure(refusal))
            else:
                self._frontier.push(visit.target.domain, visit, first=True)

    # --- the end of a visit ---

    def _settle(self, visit: Visit, outcome: Response | Failure) -> None:
        match visit.purpose:
            case Purpose.ROBOTS:
                self._robots_answered(visit, outcome)
            case Purpose.TDMREP:
                self._tdmrep_answered(visit, outcome)
            case Purpose.PAGE:
                self._record(visit, self._examine_body(outcome))

    def _examine_body(self, outcome: Response | Failure) -> Response | Failure:
        """Drop a page that is empty, broken, too large once decoded, or that opts out in its head."""
        if isinstance(outcome, Failure):
            return outcome
        try:
            codings = outcome.header("Content-Encoding")
            body = content_coding.decode(outcome.body, codings, self._options.max_decompressed_bytes)
        except content_coding.TooLargeError as error:
            return Failure(Drop("too large", outcome.url, str(error)), outcome.status)
        except content_coding.CodingError as error:
            return Failure(Drop("bad encoding", outcome.url, str(error)), outcome.status)
        if not body.strip():
            return Failure(Drop("empty page", outcome.url), outcome.status)
        opt_out = meta_opt_out(body) if self._options.respect_opt_outs else None
        if opt_out is not None:
            return Failure(Drop(opt_out.reason, outcome.url, opt_out.where), outcome.status)
        return outcome

    def _record(self, visit: Visit, outcome: Response | Failure) -> None:
        """Write a link's row, and its page if it has one."""
        self._open_links -= 1
        self._remember_opt_out(visit, outcome)
        is_page = isinstance(outcome, Response)
        drop = Drop("") if isinstance(outcome, Response) else outcome.drop
        row = {
            "url": visit.subject,
            "final_url": visit.target.url,
            "redirects": visit.hops,
            "status": outcome.status,
            "reason": drop.reason,
            "detail": drop.detail,
            "bytes": len(outcome.body) if isinstance(outcome, Response) else 0,
            "seconds": self._clock() - visit.started_at if visit.started_at else 0.0,
            "fetched_at": int(datetime.now(UTC).timestamp()),
        }
        if isinstance(outcome, Response):
            self._segments.add(row, [response_record(response) for response in (*visit.redirects, outcome)])
            self.counts.pages += 1
            self.counts.bytes += len(outcome.body)
        else:
            self._segments.add(row)
            self.counts.drops[drop.reason] += 1
        assert is_page == (drop.reason == "")

    def _remember_opt_out(self, visit: Visit, outcome: Response | Failure) -> None:
        policy = self._policies.get(visit.target.origin, self._clock())
        if policy is None:
            return
        if isinstance(outcome, Response):
            policy.opt_outs_in_a_row = 0
        elif outcome.drop.reason.startswith("opt-out") and outcome.status:
            policy.opt_outs_in_a_row += 1


# --- addresses ---


def locate(url: str) -> Target | Drop:
    """Return where a request for an address goes, or why none may be made."""
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):
        return Drop("bad address", url[:300])
    reason = url_refusal(parsed.protocol.removesuffix(":"), parsed.username, parsed.password)
    if reason is not None:
        return Drop(reason, url[:300], parsed.href[:300])
    if not parsed.hostname:
        return Drop("bad address", url[:300])
    parsed.hash = ""
    return Target(parsed.href, parsed.origin, _domain(parsed.hostname))


@lru_cache(maxsize=65_536)
def _domain(host: str) -> str:
    return registrable_domain(host)


def redirect_target(response: Response) -> Target | Drop:
    """Return where a redirect points, or why it is not followed."""
    location = next((value for name, value in response.headers if name.lower() == b"location"), b"").strip()
    if not location:
        return Drop("bad redirect", response.url, "no Location")
    try:
        text = location.decode()
    except UnicodeDecodeError:
        text = location.decode("latin-1")
    try:
        return locate(urljoin(response.url, text))
    except ValueError:
        return Drop("bad redirect", response.url, text[:300])


# --- what answers mean ---


def _examine_file(status: int, headers: Headers) -> Drop | None:
    if status == 200 or is_redirect(status):
        return None
    return Drop(status_reason(status), detail=f"status {status}")


def _file_body(response: Response, max_bytes: int) -> bytes:
    try:
        return content_coding.decode(response.body, response.header("Content-Encoding"), max_bytes, cut=True)
    except content_coding.CodingError:
        return b""


def robots_from(outcome: Response | Failure, *, redirected: bool) -> robots.Robots:
    """Return what the answer to a request for a robots.txt means (RFC 9309, section 2.3.1)."""
    if isinstance(outcome, Response):
        return robots.parse(_file_body(outcome, robots.MAX_BYTES))
    drop = outcome.drop
    if drop.reason == "too many redirects":
        return robots.ALLOW_ALL
    if outcome.status and not is_redirect(outcome.status):
        return robots.from_status(outcome.status)
    if not redirected and not outcome.status and drop.reason not in ANSWER_REASONS:
        return robots.Robots(unreachable=drop)
    detail = f"{drop.reason}: {drop.detail}"
    return robots.Robots(unreachable=Drop("robots.txt unreachable", drop.url, detail))


def status_reason(status: int) -> str:
    """Return the reason for which a status gives no page."""
    if status in (404, 410):
        return "not found"
    if status in (401, 402, 403, 407, 451):
        return "forbidden"
    if status == 429:
        return "too many requests"
    if 400 <= status < 500:
        return "client error"
    return "server error" if 500 <= status < 600 else "unexpected status"


def retry_after_s(value: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), or None."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
