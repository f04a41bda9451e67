"""The crawler: links in, WARC files and a fetch log out; thousands of hosts at once, each left in peace.

A link's way is a `Visit`: one request after another (its redirects, its retries), each in the queue of
the domain that it goes to. An origin's robots.txt and tdmrep.json are visits too, on which the pages
of that origin wait. Every visit ends as a page or as a `Drop`, and as one row of the fetch log.
"""

import asyncio
import resource
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp.abc import AbstractResolver

from pipeline.crawl import robots
from pipeline.crawl.cookies import cookie_header, packed, received
from pipeline.crawl.fetch import MAX_REDIRECT_BYTES, Client, FetchFailure, Limits, is_redirect
from pipeline.crawl.options import VERSION, CrawlCounts, CrawlOptions
from pipeline.crawl.origins import Origins
from pipeline.crawl.politeness import Domain, Frontier
from pipeline.crawl.responses import (
    examine_body,
    examine_file,
    examine_page,
    refresh_address,
    retry_wait_s,
    robots_from,
    tdm_from,
)
from pipeline.crawl.segments import FinishedLinks, SegmentWriter, finish_interrupted
from pipeline.crawl.visits import ELSEWHERE, Link, Purpose, Target, Visit, locate, redirect_target
from pipeline.runner.lock import locked
from pipeline.runner.records import Drop
from pipeline.web.guard import Guard, parse_networks
from pipeline.web.http_head import Response

__all__ = ["CrawlCounts", "CrawlOptions", "crawl"]

TICK_S = 1.0
LOOKUPS_AT_ONCE = 128
READERS = 4  # threads; decoding lets others run
READ_AT_ONCE = 1_000  # links, before the requests under way are looked after again
Answer = TypeVar("Answer")
DropFor = Callable[[str], str | None]
"""Given an address, says why a page there is not wanted ("wikipedia"), or None if it is."""
Ownership = Callable[[str], bool]
"""Given a registrable domain, says whether this crawl may ask it: no two crawls may ask one at once."""


def crawl(
    links: Iterable[str | Link],
    folder: str | Path,
    options: CrawlOptions,
    *,
    drop_for: DropFor = lambda url: None,
    owns: Ownership = lambda domain: True,
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
        drop_for: called with each address, redirects included; a `Drop` that it returns ends the visit.
        owns: asked about the domain of each redirect of a page; where it says no, the link gets the reason
            `ELSEWHERE`, and its redirects are kept.
        on_progress: called about once a second, and at the end.
        resolver: looks names up in place of the system's resolver; what it finds is guarded all the same.
        tls: verifies certificates in place of the system's authorities.

    Raises:
        ValueError: the options cannot be worked with, or another crawl is writing to the folder.
    """
    options.check()
    _allow_open_files(2 * options.max_domains + 256)
    folder = Path(folder)
    with locked(str(folder)):
        finish_interrupted(folder)
        try:
            return asyncio.run(_crawl(links, folder, options, drop_for, owns, on_progress, resolver, tls))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


async def _crawl(
    links: Iterable[str | Link],
    folder: Path,
    options: CrawlOptions,
    drop_for: DropFor,
    owns: Ownership,
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
    segments = SegmentWriter(folder, options, fields)
    client = Client(
        user_agent=user_agent,
        guard=Guard(parse_networks(options.allow_networks), frozenset(options.allowed_ports)),
        max_connections=options.max_connections,
        keepalive_s=options.delay_s + 5,
        resolver=resolver,
        tls=tls,
    )
    finished = FinishedLinks(folder, options.fingerprint())
    # Where aiodns is not installed, aiohttp looks names up in the loop's threads: by default a handful.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS_AT_ONCE))
    async with client:
        crawler = _Crawler(options, drop_for, owns, client, segments, on_progress)
        try:
            await crawler.run(iter(links), finished)
        except BaseException:
            segments.abandon()
            raise
    segments.close()
    return crawler.counts


class _Crawler:
    """The state of one crawl. All of it changes on one event loop only; between two awaits nothing does."""

    def __init__(
        self,
        options: CrawlOptions,
        drop_for: DropFor,
        owns: Ownership,
        client: Client,
        segments: SegmentWriter,
        on_progress: Callable[[CrawlCounts], None],
    ) -> None:
        self.counts = CrawlCounts()
        self._options = options
        self._drop_for = drop_for
        self._owns = owns
        self._client = client
        self._segments = segments
        self._on_progress = on_progress
        self._frontier: Frontier[Visit] = Frontier(options.max_domains)
        self._origins = Origins(options, asyncio.get_running_loop().time)
        self._readers = ThreadPoolExecutor(READERS)
        self._open_links = 0
        self._under_way = 0
        self._clock = asyncio.get_running_loop().time
        self._woken = asyncio.Event()

    # --- whose turn ---

    async def run(self, links: Iterator[str | Link], finished: FinishedLinks) -> None:
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

    def _read_ahead(self, links: Iterator[str | Link], finished: FinishedLinks) -> bool:
        """Queue some links, up to the number kept in memory; say whether there is work left."""
        limit = min(self._options.max_queued_links, self._open_links + READ_AT_ONCE)
        while self._open_links < limit:
            link = next(links, None)
            if link is None:
                return self._open_links > 0
            self.counts.links += 1
            url, hops, cookies = link if isinstance(link, Link) else Link(link)
            if url in finished:
                self.counts.reused += 1
                continue
            self._open_links += 1
            start = hops[-1] if hops else url
            visit = Visit(Purpose.PAGE, url, Target(start, "", ""), hops=hops, cookies=cookies)
            target = locate(start)
            if isinstance(target, Drop):
                self._record(visit, FetchFailure(target))
            else:
                visit.target = target
                self._frontier.push(target.domain, visit)
        return True

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
        drop = self._drop_before_request(visit)
        if drop is not None:
            self._record(visit, FetchFailure(drop))
            return 0.0
        if visit.purpose is Purpose.PAGE and self._origins.must_be_asked(visit):
            self._send(*self._origins.park(visit))
            return 0.0
        keep_alive = self._frontier.has_more(domain) or visit.purpose is not Purpose.PAGE
        outcome = await self._ask(visit, keep_alive)
        return await self._conclude(visit, outcome)

    def _drop_before_request(self, visit: Visit) -> Drop | None:
        if visit.purpose is not Purpose.PAGE:
            return None
        url = visit.target.url
        unwanted = self._drop_for(url)
        if unwanted is not None:
            return Drop(unwanted, url)
        return self._origins.drop_for(visit.target)

    async def _ask(self, visit: Visit, keep_alive: bool) -> Response | FetchFailure:
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
        examine = (
            partial(examine_page, url=visit.target.url, respect_opt_outs=options.respect_opt_outs)
            if is_page
            else examine_file
        )
        self.counts.requests += 1
        cookies = cookie_header(visit.cookies, visit.target.url)
        outcome = await self._client.get(
            visit.target.url, limits, examine, keep_alive=keep_alive, cookies=cookies
        )
        visit.spent_s += self._clock() - asked_at
        return outcome

    async def _conclude(self, visit: Visit, outcome: Response | FetchFailure) -> float:
        """Retry, follow or settle; return how long the domain that was asked is to be left alone."""
        origin = visit.target.origin
        retry_s = retry_wait_s(outcome, visit.retries, self._options)
        if retry_s is not None:
            visit.retries += 1
            self._frontier.push(visit.target.domain, visit, first=True)
        elif isinstance(outcome, Response) and (target := await self._onward(visit, outcome)) is not None:
            await self._follow(visit, outcome, target)
        else:
            await self._settle(visit, outcome)
        return max(retry_s or 0.0, self._origins.crawl_delay_s(origin))

    async def _onward(self, visit: Visit, response: Response) -> Target | Drop | None:
        """Return where a response sends a visit, and keep the cookies that it sets; None: it is the end."""
        if visit.purpose is not Purpose.PAGE:
            return redirect_target(response) if is_redirect(response.status) else None
        had_cookies = bool(cookie_header(visit.cookies, visit.target.url))
        visit.cookies = received(response, len(visit.hops), visit.cookies)
        if is_redirect(response.status):
            return redirect_target(response)
        address = await self._in_thread(partial(refresh_address, response))
        target = locate(address) if address else None
        if isinstance(target, Target) and target.url == visit.target.url:
            # Sent back for its first cookies, or a page that keeps itself up to date.
            return target if not had_cookies and visit.is_new(target.url) else None
        return target

    async def _follow(self, visit: Visit, response: Response, target: Target | Drop) -> None:
        """Send a visit where a redirect points: into the queue of that domain."""
        limit = self._options.max_redirects if visit.purpose is Purpose.PAGE else robots.MAX_REDIRECTS
        if isinstance(target, Drop):
            await self._settle(visit, FetchFailure(target, response.status))
            return
        if not visit.is_new(target.url):
            await self._settle(visit, FetchFailure(Drop("redirect loop", target.url), response.status))
            return
        if len(visit.hops) >= limit:
            await self._settle(visit, FetchFailure(Drop("too many redirects", target.url), response.status))
            return
        if visit.purpose is Purpose.PAGE:
            # Many visits wait for their next turn: of a page that only sends on, its head is kept.
            visit.redirects += (response.cut(MAX_REDIRECT_BYTES),)
        visit.hops += (target.url,)
        visit.target = target
        if visit.purpose is Purpose.PAGE and not self._owns(target.domain):
            drop = self._drop_before_request(visit) or Drop(ELSEWHERE, target.url)
            await self._settle(visit, FetchFailure(drop, response.status))
        else:
            self._frontier.push(target.domain, visit, first=True)

    # --- the end of a visit ---

    async def _settle(self, visit: Visit, outcome: Response | FetchFailure) -> None:
        """Let a visit end. Reading what came may take seconds, so threads do it."""
        match visit.purpose:
            case Purpose.ROBOTS:
                found = await self._in_thread(partial(robots_from, outcome, redirected=bool(visit.hops)))
                self._send(*self._origins.robots_known(visit, found))
            case Purpose.TDMREP:
                self._send(*self._origins.tdm_known(visit, await self._in_thread(partial(tdm_from, outcome))))
            case Purpose.PAGE:
                self._record(visit, await self._in_thread(partial(examine_body, outcome, self._options)))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def _send(self, *visits: Visit | tuple[Visit, Drop]) -> None:
        """Put visits into the queues of their domains, before those that are there, or end those refused."""
        for visit in visits:
            if isinstance(visit, Visit):
                self._frontier.push(visit.target.domain, visit, first=True)
            else:
                self._record(visit[0], FetchFailure(visit[1]))

    def _record(self, visit: Visit, outcome: Response | FetchFailure) -> None:
        """Write a link's row, and its page if it has one."""
        self._open_links -= 1
        self._origins.remember(visit.target.origin, outcome)
        is_page = isinstance(outcome, Response)
        drop = Drop("") if isinstance(outcome, Response) else outcome.drop
        row = {
            "url": visit.subject,
            "final_url": visit.target.url,
            "redirects": visit.hops,
            "status": outcome.status,
            "reason": drop.reason,
            "detail": drop.detail.encode("utf-8", "replace").decode(),  # headers may hold any bytes
            "bytes": len(outcome.body) if isinstance(outcome, Response) else 0,
            "seconds": self._clock() - visit.started_at if visit.started_at else 0.0,
            "fetched_at": int(datetime.now(UTC).timestamp()),
            "carried": packed(visit.cookies) if drop.reason == ELSEWHERE else "",
        }
        if isinstance(outcome, Response):
            self._segments.add(row, (*visit.redirects, outcome))
            self.counts.pages += 1
            self.counts.bytes += len(outcome.body)
        else:
            self._segments.add(row, visit.redirects if drop.reason == ELSEWHERE else ())
            self.counts.drops[drop.reason] += 1
        assert is_page == (drop.reason == "")
