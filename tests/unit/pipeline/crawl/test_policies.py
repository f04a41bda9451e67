"""What is remembered about an origin, how long, and what happens when room runs out."""

from pipeline.crawl import policies, robots
from pipeline.crawl.policies import Policies, Policy

DAY_S = 24 * 3600.0


def test_policy_is_kept_a_day_at_most() -> None:
    kept = Policies(10)
    policy = Policy(asked_at=100.0)
    kept.put("http://site.example", policy)
    assert kept.get("http://site.example", 100.0 + DAY_S - 1) is policy
    assert kept.get("http://site.example", 100.0 + DAY_S) is None
    assert kept.get("https://site.example", 100.0) is None


def test_policies_unused_for_longest_go_when_there_are_too_many_or_too_large_ones() -> None:
    kept = Policies(2)
    for name in ("a", "b"):
        kept.put(name, Policy())
    assert kept.get("a", 0.0) is not None
    kept.put("c", Policy())
    assert [kept.get(name, 0.0) is not None for name in "abc"] == [True, False, True]
    large = robots.parse(b"User-agent: *\n" + b"Disallow: /x\n" * 20_000)
    kept = Policies(1_000)
    for number in range(100):
        kept.put(str(number), Policy(robots=large))
    left = [number for number in range(100) if kept.get(str(number), 0.0) is not None]
    assert left == list(range(100 - len(left), 100))
    assert 0 < len(left) * large.size_bytes <= policies.MAX_KEPT_BYTES


def test_policy_tells_whether_and_how_soon_a_page_may_be_asked_for() -> None:
    policy = Policy(
        robots=robots.parse(b"User-agent: *\nDisallow: /no\nCrawl-delay: 7\n"), opt_outs_in_a_row=3
    )
    assert policy.crawl_delay_s(default_s=1.0, max_s=60.0) == 7.0
    assert policy.crawl_delay_s(default_s=1.0, max_s=5.0) == 5.0
    assert Policy().crawl_delay_s(default_s=1.0, max_s=60.0) == 1.0
    drops = [policy.drop_for("http://site.example/", give_up_after) for give_up_after in (0, 3, 4)]
    assert [drop.reason if drop else "" for drop in drops] == ["", "opt-out of the whole site", ""]
    drop = policy.drop_for("http://site.example/no", 0)
    assert drop is not None and drop.reason == "robots.txt"
