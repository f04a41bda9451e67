from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.links.candidates import (
    BATCH_CHARACTERS,
    CANDIDATES,
    Candidate,
    LinkOptions,
    LinkRules,
    extract,
    link_of,
    scatter,
)
from pipeline.links.merging import merge
from pipeline.links.submissions import read_submissions
from pipeline.runner.buckets import bucket_of
from pipeline.runner.records import Drop

SHARED_DATA = Path(__file__).parents[4].parent / "shared" / "data"
RULES = LinkRules(LinkOptions())

POST = {
    "id": "abc",
    "url": "https://example.com/story",
    "score": 7,
    "created_utc": 1_337_000_000,
    "subreddit": "news",
    "title": "A story",
    "is_self": False,
    "over_18": False,
}


def link(**changes: Any) -> Candidate:
    candidate = link_of({**POST, **changes}, RULES)
    assert isinstance(candidate, Candidate), candidate
    return candidate


def reason(**changes: Any) -> str:
    drop = link_of({**POST, **changes}, RULES)
    assert isinstance(drop, Drop), drop
    return drop.reason


def test_an_outbound_link_keeps_what_the_link_table_needs() -> None:
    assert link()._replace(key_hash=0) == Candidate(
        "example.com/story", 0, True, 7, 1_337_000_000, "news", "A story", "abc"
    )


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("self post", {"is_self": True}),
        ("self post", {"is_self": "true"}),
        ("self post", {"is_self": None, "domain": "self.news"}),
        ("removed", {"removed_by_category": "moderator", "author": "[deleted]"}),
        ("promoted", {"promoted": True}),
        ("adult content", {"over_18": True}),
        ("adult subreddit", {"subreddit": "NSFW"}),
        ("no address", {"url": None}),
        ("no address", {"url": ""}),
        ("media host", {"is_gallery": True, "url": "https://www.reddit.com/gallery/abc"}),
        ("media host", {"is_video": True, "url": "https://v.redd.it/abc"}),
        ("media host", {"url": "https://i.redd.it/abc.jpg"}),
        ("Reddit", {"url": "https://www.reddit.com/r/news/comments/abc/"}),
        ("Reddit", {"url": "/r/news/comments/abc/a_story/"}),
        ("Wikipedia", {"url": "http://EN.wikipedia.org./wiki/Cake"}),
        ("media file", {"url": "http://example.com/a.JPG?size=large"}),
        ("not http", {"url": "ftp://example.com/"}),
        ("invalid address", {"url": "http://"}),
        ("invalid address", {"url": "//example.com/"}),
        ("no score", {"score": None}),
        ("no score", {"score": "many"}),
    ],
)
def test_what_is_no_outbound_link_has_its_reason(expected: str, changes: dict[str, Any]) -> None:
    assert reason(**changes) == expected


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "10.0.0.1:8080",
        "169.254.169.254",
        "100.64.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "localhost",
        "localhost.",
        "router",
        "nas.local",
        "vault.internal",
        "abcdefghij234567.onion",
    ],
)
def test_private_addresses_are_seen_in_every_form(host: str) -> None:
    assert reason(url=f"http://{host}/admin") == "private address"


def test_an_allowed_network_may_be_linked_to_and_no_other() -> None:
    rules = LinkRules(LinkOptions(), allow_networks=["127.0.0.0/8"])
    assert isinstance(link_of({**POST, "url": "http://127.0.0.1:8080/page"}, rules), Candidate)
    assert isinstance(link_of({**POST, "url": "http://localhost:8080/page"}, rules), Candidate)
    assert isinstance(link_of({**POST, "url": "http://10.0.0.1/page"}, rules), Drop)


def test_adult_posts_are_taken_on_request() -> None:
    rules = LinkRules(LinkOptions(adult=True))
    assert isinstance(link_of({**POST, "over_18": True}, rules), Candidate)


@pytest.mark.parametrize(
    ("changes", "karma"),
    [
        ({"score": "12"}, 12),
        ({"score": 12.0}, 12),
        ({"score": -3}, -3),
        ({"score": 10**30}, 2**31 - 1),
        ({"score": None, "ups": 10, "downs": 4}, 6),
        ({"score": None, "ups": "10"}, 10),
    ],
)
def test_karma_is_read_from_every_layout(changes: dict[str, Any], karma: int) -> None:
    assert link(**changes).karma == karma


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("1337000000", 1_337_000_000),
        (1_337_000_000.0, 1_337_000_000),
        ("1337000000.5", 1_337_000_000),
        (None, None),
        ("yesterday", None),
        (-1, None),
        (10**18, None),
        (float("inf"), None),
    ],
)
def test_the_time_is_read_from_every_layout(written: object, seen: int | None) -> None:
    assert link(created_utc=written).seen == seen


def test_escaped_addresses_and_titles_of_the_api_are_unescaped_once() -> None:
    candidate = link(url="http://example.com/?a=1&amp;b=2", title="Q&amp;A: 1 &lt; 2 &amp;lt;")
    assert (candidate.key, candidate.title) == ("example.com/?a=1&b=2", "Q&A: 1 < 2 &lt;")


def test_a_crosspost_links_to_what_the_original_links_to_with_its_own_karma() -> None:
    parent = {**POST, "id": "parent", "score": 999, "url": "https://example.com/original"}
    for own in (
        "https://www.reddit.com/r/news/comments/abc/",
        "/r/news/comments/abc/",
        "https://example.com/original",
    ):
        candidate = link(url=own, url_overridden_by_dest=own, crosspost_parent_list=[parent], score=5)
        assert (candidate.key, candidate.karma, candidate.submission_id) == ("example.com/original", 5, "abc")
    assert reason(crosspost_parent_list=[{**parent, "is_self": True}]) == "self post"
    assert reason(crosspost_parent_list=[{**parent, "over_18": True}]) == "adult content"
    assert link(crosspost_parent_list=[], crosspost_parent="t3_gone").key == "example.com/story"


def test_the_destination_outweighs_the_address_shown() -> None:
    assert (
        link(url="https://www.reddit.com/x", url_overridden_by_dest="https://example.com/y").key
        == "example.com/y"
    )


def test_a_closed_account_does_not_take_its_links_along() -> None:
    assert link(author="[deleted]").key == "example.com/story"


def test_the_id_is_found_wherever_it_stands_or_made_from_the_content() -> None:
    assert link(id=None, name="t3_xyz").submission_id == "xyz"
    assert link(id=None, permalink="/r/news/comments/xyz/a_story/").submission_id == "xyz"
    made = link(id=None).submission_id
    assert made == link(id=None, score=9).submission_id != link(id=None, title="Another").submission_id
    assert len(made) == 16


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", "\ud800", [], [None], {}, [{}], [[]], 10**400])
def test_no_field_of_a_wrong_type_raises(value: object) -> None:
    fields = [
        *POST,
        "url_overridden_by_dest",
        "crosspost_parent_list",
        "removed_by_category",
        "promoted",
        "is_video",
    ]
    posts = [{**POST, field: value} for field in (*fields, "is_gallery", "domain", "name", "ups")]
    posts += [dict.fromkeys(POST, value), {}]
    (batch,) = extract(posts, RULES)
    assert batch.candidates.num_rows + batch.drops.num_rows == len(posts)


def test_batches_hold_every_submission_once_in_order() -> None:
    broken = Drop("broken JSON line", "RS", "line 3")
    posts = [
        {**POST, "id": str(n), "url": f"https://example.com/{n % 7}", "is_self": n % 3 == 0}
        for n in range(100)
    ]
    batches = list(extract([*posts, broken], RULES, batch_submissions=16))
    candidates = pa.Table.from_batches([batch.candidates for batch in batches])
    drops = pa.Table.from_batches([batch.drops for batch in batches])
    assert candidates.schema == CANDIDATES
    assert candidates["submission_id"].to_pylist() == [str(n) for n in range(100) if n % 3]
    assert drops["reason"].to_pylist() == ["self post"] * 34 + ["broken JSON line"]


@pytest.mark.parametrize("buckets", [1, 2, 13])
def test_every_candidate_goes_into_the_bucket_of_its_key(buckets: int) -> None:
    posts = [{**POST, "id": str(n), "url": f"https://example.com/{n % 50}"} for n in range(200)]
    (batch,) = extract(posts, RULES)
    parts = dict(scatter(batch.candidates, buckets))
    assert sum(part.num_rows for part in parts.values()) == 200
    for bucket, part in parts.items():
        assert {bucket_of(key, buckets) for key in part["key"].to_pylist()} == {bucket}
    assert list(scatter(batch.candidates.slice(0, 0), buckets)) == []


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="needs the real dumps")
def test_every_submission_of_the_real_dumps_lands_where_it_belongs() -> None:
    def funnel(name: str) -> dict[str, int]:
        batches = list(extract(read_submissions(str(SHARED_DATA / name)), RULES))
        merged = merge(pa.Table.from_batches([batch.candidates for batch in batches]))
        dropped = pa.concat_tables([pa.Table.from_batches([batch.drops for batch in batches]), merged.drops])
        counts = {
            str(row["values"]): int(row["counts"]) for row in dropped["reason"].value_counts().to_pylist()
        }
        return {"links": merged.links.num_rows, **dict(sorted(counts.items()))}

    assert funnel("RS_v2_2005-06.xz") == {"links": 83, "low karma": 20}
    assert funnel("RS_pages.zst") == {
        "links": 261,
        "Reddit": 2,
        "Wikipedia": 2,
        "invalid address": 1,
        "low karma": 114,
        "media file": 1,
        "media host": 2,
        "no address": 1,
        "not http": 17,
        "private address": 2,
        "duplicate link": 63,
        "self post": 40,
    }


def test_stored_fields_are_bounded_in_length() -> None:
    long = link(title="&amp;" * 10_000, subreddit="a" * 10_000, id="b" * 10_000)
    assert (long.title, long.subreddit, long.submission_id) == ("&" * 1_000, "a" * 100, "b" * 100)
    drop = link_of({**POST, "url": "http:///" + "x" * 100_000}, RULES)
    assert isinstance(drop, Drop) and len(drop.url) + len(drop.detail) < 5_000


def test_batches_are_bounded_in_bytes_and_lose_nothing() -> None:
    posts = [{**POST, "id": f"{i}", "url": f"http://example.com/{i}/{'x' * 4_000}"} for i in range(10_000)]
    batches = list(extract(iter(posts), RULES))
    assert max(batch.candidates.nbytes for batch in batches) < 2 * BATCH_CHARACTERS
    ids = [id for batch in batches for id in batch.candidates.column("submission_id").to_pylist()]
    assert ids == [post["id"] for post in posts]
