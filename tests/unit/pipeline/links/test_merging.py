import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.links.candidates import CANDIDATES, Candidate
from pipeline.links.merging import Merged, merge
from pipeline.runner.records import DROPS, LINKS


def candidate(key: str = "a.com/", **changes: Any) -> Candidate:
    return Candidate(key, 0, True, 5, 1_000, "news", "A story", "abc")._replace(**changes)


def merged(*candidates: Candidate, min_karma: int = 3) -> Merged:
    rows = [row._asdict() for row in candidates]
    return merge(pa.Table.from_pylist(rows, schema=CANDIDATES), min_karma)


def links(*candidates: Candidate) -> list[dict[str, Any]]:
    return merged(*candidates).links.to_pylist()


def test_a_link_has_the_highest_karma_and_the_earliest_time_of_its_submissions() -> None:
    (link,) = links(
        candidate(submission_id="late", karma=9, seen=3_000, title="Best", subreddit="best", secure=False),
        candidate(submission_id="early", karma=2, seen=1_000),
        candidate(submission_id="timeless", karma=3, seen=None),
    )
    assert link == {
        "url": "https://a.com/",
        "domain": "a.com",
        "karma": 9,
        "submissions": 3,
        "first_seen": datetime.fromtimestamp(1_000, UTC),
        "subreddit": "best",
        "title": "Best",
        "submission_id": "late",
    }


def test_karma_is_a_maximum_and_never_a_sum() -> None:
    result = merged(*(candidate(submission_id=str(n), karma=2) for n in range(9)))
    assert result.links.num_rows == 0
    assert (
        result.drops.to_pylist().count({"url": "https://a.com/", "reason": "low karma", "detail": "2"}) == 1
    )


def test_equal_karma_is_decided_by_time_and_then_by_id() -> None:
    later, earlier = candidate(submission_id="a", seen=2), candidate(submission_id="b", seen=1)
    assert links(later, earlier)[0]["submission_id"] == "b"
    assert links(candidate(submission_id="d"), candidate(submission_id="c"))[0]["submission_id"] == "c"
    assert links(candidate(submission_id="a", seen=None), earlier)[0]["submission_id"] == "b"


def test_http_and_https_twins_are_one_https_link() -> None:
    (link,) = links(candidate(submission_id="a", secure=False, karma=9), candidate(submission_id="b"))
    assert (link["url"], link["karma"]) == ("https://a.com/", 9)
    assert links(candidate(secure=False))[0]["url"] == "http://a.com/"


def test_a_submission_in_two_dumps_counts_once_with_its_higher_score() -> None:
    result = merged(candidate(karma=4), candidate(karma=6), candidate(karma=4))
    assert [(row["karma"], row["submissions"]) for row in result.links.to_pylist()] == [(6, 1)]
    assert result.drops["reason"].to_pylist() == ["duplicate submission"] * 2


def test_a_link_without_a_time_has_none() -> None:
    assert links(candidate(seen=None))[0]["first_seen"] is None


def test_an_empty_bucket_gives_empty_tables_of_the_right_schema() -> None:
    result = merged()
    assert (result.links.schema, result.links.num_rows) == (LINKS, 0)
    assert (result.drops.schema, result.drops.num_rows) == (DROPS, 0)


candidates = st.lists(
    st.builds(
        Candidate,
        key=st.sampled_from(["a.com/", "a.com/x", "b.com:80/", "[::1]:8080/", "ä"]),
        key_hash=st.just(0),
        secure=st.booleans(),
        karma=st.integers(-5, 5),
        seen=st.none() | st.integers(1, 3),
        subreddit=st.sampled_from(["news", ""]),
        title=st.text(max_size=2),
        submission_id=st.sampled_from(["a", "b", "c"]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(candidates, st.randoms(use_true_random=False))
def test_links_do_not_depend_on_order_or_on_how_often_a_dump_is_given(
    rows: list[Candidate], chance: random.Random
) -> None:
    again = [*rows, *rows]
    chance.shuffle(again)
    assert merged(*again).links.equals(merged(*rows).links)


@settings(deadline=None)
@given(candidates)
def test_every_candidate_is_a_link_or_a_drop(rows: list[Candidate]) -> None:
    result = merged(*rows)
    assert result.links.num_rows + result.drops.num_rows == len(rows)
    result.links.validate(full=True)


@settings(deadline=None)
@given(candidates)
def test_merging_agrees_with_a_plain_loop(rows: list[Candidate]) -> None:
    by_key: dict[str, list[Candidate]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    expected = {
        key: (max(row.karma for row in group), len({row.submission_id for row in group}))
        for key, group in by_key.items()
        if max(row.karma for row in group) >= 3
    }
    found = {
        row["url"].partition("://")[2]: (row["karma"], row["submissions"])
        for row in merged(*rows).links.to_pylist()
    }
    assert found == expected
