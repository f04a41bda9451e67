"""No host is asked two or one too soon: proved from the server's side, over two hundred hosts."""

import asyncio
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.crawl import policies

if TYPE_CHECKING:
    from tests.integration.pipeline.crawl.conftest import Asked, Web

HOSTS = 200
DELAY_S = 0.15


def test_two_hundred_hosts_are_each_left_in_peace_while_throughput_is_high(
    web: "Web", tmp_path: Path
) -> None:
    async def slowly(asked: "Asked", writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.03)
        asked.ended = time.monotonic()
        writer.write(web.page(f"{asked.host}{asked.path}"))

    links = []
    for number in range(HOSTS):
        # Two hosts of one domain, and every tenth page sends on to another domain.
        host, other = f"www.site{number}.example", f"site{number}.example"
        away = web.redirect(web.url(f"site{(number + 7) % HOSTS}.example", "/target"))
        web.site(host, {"/robots.txt": web.robots("User-agent: *\nDisallow: /private\n"), "/": slowly})
        web.site(other, {"/page": slowly, "/target": slowly, "/away": away})
        links += [web.url(host), web.url(other, "/page")]
        links += [web.url(other, "/away")] if number % 10 == 0 else []
    started = time.monotonic()
    rows = web.crawl(links, tmp_path, delay_s=DELAY_S, deadline_s=30.0)
    seconds = time.monotonic() - started

    assert {row["reason"] for row in rows.values()} == {""}
    by_domain = defaultdict(list)
    for asked in web.log:
        by_domain[asked.host.removeprefix("www.")].append(asked)
    assert len(by_domain) == HOSTS
    for requests in by_domain.values():
        requests.sort(key=lambda asked: asked.started)
        for earlier, later in pairwise(requests):
            assert later.started >= earlier.ended + DELAY_S  # one at a time, and none too soon
    # One after the other, the rests alone would take three minutes.
    assert seconds < len(web.log) * DELAY_S / 10


def test_crawl_delay_of_robots_txt_is_kept_and_capped(web: "Web", tmp_path: Path) -> None:
    web.site("patient.example", {"/robots.txt": web.robots("User-agent: *\nCrawl-delay: 0.2\n")})
    web.site("endless.example", {"/robots.txt": web.robots("User-agent: *\nCrawl-delay: 86400\n")})
    for host in ("patient.example", "endless.example"):
        web.site(host, {"/1": web.page("one"), "/2": web.page("two")})
    links = [web.url(host, path) for host in ("patient.example", "endless.example") for path in ("/1", "/2")]
    rows = web.crawl(links, tmp_path, max_crawl_delay_s=0.4)
    assert {row["reason"] for row in rows.values()} == {""}
    for host, delay_s in (("patient.example", 0.2), ("endless.example", 0.4)):
        times = [asked.started for asked in web.asked(host)]
        assert len(times) == 4  # robots.txt, tdmrep.json, two pages
        assert min(later - earlier for earlier, later in pairwise(times)) >= delay_s


def test_one_host_with_many_links_does_not_hold_up_the_others(web: "Web", tmp_path: Path) -> None:
    web.site("giant.example", {f"/{n}": web.page(str(n)) for n in range(20)})
    web.site("small.example", {"/": web.page("small")})
    links = [web.url("giant.example", f"/{n}") for n in range(20)] + [web.url("small.example")]
    web.crawl(links, tmp_path, delay_s=0.05)
    assert web.asked("small.example", "/")[0].ended < web.asked("giant.example", "/3")[0].started


def test_crawl_ends_even_where_no_policy_is_remembered(
    web: "Web", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "MAX_KEPT_BYTES", 0)
    for number in range(20):
        paths = {f"/{page}": web.page("page") for page in range(3)}
        web.site(
            f"squeezed{number}.example", {**paths, "/robots.txt": web.robots("User-agent: *\nDisallow: /2\n")}
        )
    links = [web.url(f"squeezed{number}.example", f"/{page}") for page in range(3) for number in range(20)]
    rows = web.crawl(links, tmp_path)
    assert {url: row["reason"] for url, row in rows.items()} == {
        url: "robots.txt" if url.endswith("/2") else "" for url in links
    }
    asked = [len(web.asked(f"squeezed{number}.example", "/robots.txt")) for number in range(20)]
    assert max(asked) <= 3  # once a page, not once a turn
