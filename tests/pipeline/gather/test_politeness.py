"""Whose turn it is: proved on the queue alone, and from the server's side over two hundred hosts."""

import asyncio
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.politeness import Frontier

if TYPE_CHECKING:
    from tests.pipeline.gather.conftest import Asked, Web


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5)), max_size=60),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_every_visit_has_its_turn_and_no_domain_two_or_one_too_soon(
    visits: list[tuple[str, int]], max_domains: int, chance: "st.Random"
) -> None:
    frontier: Frontier[int] = Frontier(max_domains)
    rests = {}
    for number, (name, rest) in enumerate(visits):
        frontier.push(name, number)
        rests[number] = rest
    now, taken, under_way, ready_at = 0.0, [], {}, defaultdict(float)
    while len(frontier) or under_way:
        turn = frontier.take(now)
        if turn is not None:
            domain, number = turn
            assert domain.name == visits[number][0]
            assert domain.name not in under_way
            assert now >= ready_at[domain.name]
            under_way[domain.name] = (domain, number)
            assert len(under_way) <= max_domains
            taken.append(number)
        if under_way and (turn is None or chance.random() < 0.5):
            domain, number = under_way.pop(chance.choice(sorted(under_way)))
            ready_at[domain.name] = now + rests[number]
            frontier.release(domain, now + rests[number])
        now += 0.5
    assert sorted(taken) == list(range(len(visits)))
    for name in "abcdef":  # first come, first served
        assert [n for n in taken if visits[n][0] == name] == [n for n, v in enumerate(visits) if v[0] == name]


def test_visit_pushed_while_its_domain_rests_waits_for_the_rest() -> None:
    frontier: Frontier[str] = Frontier(10)
    frontier.push("a", "first")
    domain, _ = frontier.take(0.0) or (None, None)
    assert domain is not None
    frontier.release(domain, 5.0)
    frontier.push("a", "second")
    assert frontier.take(4.9) is None
    assert frontier.next_ready_at() == 5.0
    assert frontier.take(5.0) == (domain, "second")


def test_rested_domains_are_forgotten_and_resting_ones_are_not() -> None:
    frontier: Frontier[str] = Frontier(10)
    for name in ("a", "b"):
        frontier.push(name, "visit")
    for rest in (1.0, 9.0):
        turn = frontier.take(0.0)
        assert turn is not None
        frontier.release(turn[0], rest)
    frontier.forget_rested(2.0)
    frontier.push("a", "again")
    frontier.push("b", "again")
    assert frontier.next_ready_at() == 0.0  # a is new, b still rests
    assert frontier.take(0.0) is not None
    assert frontier.take(8.9) is None


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
    rows = web.crawl(links, tmp_path, delay_s=DELAY_S, deadline_s=10.0)
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
