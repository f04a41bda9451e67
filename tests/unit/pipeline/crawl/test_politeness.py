"""Whose turn it is: proved on the queue alone."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.politeness import Frontier


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
