"""From submissions to links: which one is an outbound link, to which page, with which karma.

A submission becomes a `Candidate` or a `Drop`. Its karma decides nothing yet: a link's karma is the
highest score that any one of its submissions got, so `merging.py` applies the threshold when all of
them are together.
"""

import gc
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.links.submissions import Submission
from pipeline.runner.records import DROPS, UTC_SECONDS, Drop
from pipeline.web.blocklist import load_blocklist
from pipeline.web.guard import address_reject_reason, parse_networks
from pipeline.web.urls import LONGEST_ADDRESS, Address, parse

BATCH_SUBMISSIONS = 16_384
BATCH_CHARACTERS = 16 * 2**20  # of the text in a batch, which may have fewer submissions for it

# What is kept of a field; Reddit's own limits are 300 characters for a title, 21 for a subreddit's name.
TITLE_CHARACTERS = 1_000
NAME_CHARACTERS = 100

CANDIDATES = pa.schema(
    [
        ("key", pa.string()),  # canonical address without its scheme: what makes submissions one link
        ("key_hash", pa.uint64()),  # its XXH3, which decides the bucket
        ("secure", pa.bool_()),  # https
        ("karma", pa.int32()),
        ("seen", UTC_SECONDS),  # null where the dump gives no time
        ("subreddit", pa.string()),
        ("title", pa.string()),
        ("submission_id", pa.string()),
    ]
)


class Candidate(NamedTuple):
    """One submission of an outbound link; the fields are those of `CANDIDATES`."""

    key: str
    key_hash: int
    secure: bool
    karma: int
    seen: int | None
    subreddit: str
    title: str
    submission_id: str


@dataclass(frozen=True, kw_only=True)
class LinkOptions:
    """Which submissions count as links."""

    blocklist: str = "webtext"
    """Profile of what is left out: webtext, or the path of one's own file in the same form."""
    adult: bool = False
    """Take submissions marked over_18 too."""


class LinkRules:
    """What the options mean, made ready for millions of look-ups.

    Links into `allow_networks` (CIDR, such as 10.1.0.0/16) pass although they are not public.

    Raises:
        ValueError: there is no such blocklist, or a network is none.
    """

    def __init__(self, options: LinkOptions, allow_networks: Sequence[str] = ()) -> None:
        self.adult = options.adult
        self.blocklist = load_blocklist(options.blocklist)
        self._networks = parse_networks(allow_networks)
        self.host_reject_reason = lru_cache(maxsize=65_536)(self._judge_host)

    def drop_for(self, address: Address) -> Drop | None:
        """Say why a page is not wanted whoever links to it, or None if it is; for redirects' ends too."""
        refused = self.host_reject_reason(address.host)
        if refused is not None:
            return Drop(refused.reason, address.url, refused.detail)
        return self.path_reject_reason(address)

    def path_reject_reason(self, address: Address) -> Drop | None:
        """Say why a page is not wanted although its host is welcome, or None if it is."""
        reason = self.blocklist.path_reject_reason(address.host, address.path)
        return Drop(reason, address.url) if reason else None

    def _judge_host(self, host: str) -> Drop | None:
        private = self._private(host)
        if private is not None:
            return Drop("private address", detail=private)
        reason = self.blocklist.host_reject_reason(host)
        return Drop(reason, detail=host) if reason else None

    def _private(self, host: str) -> str | None:
        """Say how one can see that a host is not on the public web, or None if one cannot.

        Numbers are judged here; names only by their form, and not at all once a network is allowed:
        whether a name leads there shows when it is resolved, which the crawler's guard checks.
        """
        if host.startswith("[") or host.rpartition(".")[2].isdigit():
            return address_reject_reason(host.strip("[]"), self._networks)
        if self._networks:
            return None
        if "." not in host:
            return "a name without a dot"
        return "a name for private use" if host.endswith(_PRIVATE_NAMES) else None


# Names that no public resolver answers: RFC 6761, 6762 (local), 7686 (onion), 8375 (home.arpa), 9476
# (alt), ICANN's reservation of internal (2024), and those that RFC 6762, appendix G, found in use.
_PRIVATE_NAMES = (
    *(".localhost", ".test", ".invalid", ".example", ".local", ".onion", ".home.arpa", ".alt", ".internal"),
    *(".intranet", ".private", ".corp", ".home", ".lan", ".localdomain"),
)


def link_of(submission: Submission, rules: LinkRules) -> Candidate | Drop:
    """Turn one submission of any year's layout into a candidate link, or say why it is none.

    The reasons: "self post", "removed", "promoted", "adult content", "no address", "media host" (also
    for Reddit's own galleries and films), "Reddit", "no score", those of `urls.parse`, "private
    address", and those of the blocklist.
    """
    parents = submission.get("crosspost_parent_list")
    post = _original_post(submission, parents) if parents else submission
    address = _text(post.get("url_overridden_by_dest")) or _text(post.get("url"))
    reason = _post_reject_reason(submission, post, rules)
    if reason is None and not address:
        reason = "no address"
    elif reason is None and address[0] == "/" and address[:2] != "//":
        reason = "Reddit"  # crossposts and galleries are linked to by their place on it
    if reason is not None:
        return Drop(reason, address[:LONGEST_ADDRESS])
    page = parse(_unescape(address), rules.host_reject_reason)
    if isinstance(page, Drop):
        return page
    refused = rules.path_reject_reason(page)
    if refused is not None:
        return refused
    karma = _karma(submission)
    if karma is None:
        return Drop("no score", page.url)
    key = page.key
    return Candidate(
        key,
        xxhash.xxh3_64_intdigest(key.encode()),
        page.scheme == "https",
        karma,
        _seconds(submission.get("created_utc")),
        _text(submission.get("subreddit"))[:NAME_CHARACTERS],
        # Cut first: an escape is at most five characters for one.
        _unescape(_text(submission.get("title"))[: 5 * TITLE_CHARACTERS])[:TITLE_CHARACTERS],
        _submission_id(submission)[:NAME_CHARACTERS],
    )


def _original_post(submission: Submission, parents: object) -> Submission:
    """Return the post that a crosspost repeats: it has the outbound address in every year's layout."""
    if isinstance(parents, list) and isinstance(parents[0], dict):
        return parents[0]
    return submission


def _post_reject_reason(submission: Submission, post: Submission, rules: LinkRules) -> str | None:
    """Say why a submission is no outbound link whatever its address, or None if it may be one."""
    is_self = post.get("is_self")
    if (is_self and _yes(is_self)) or (is_self is None and _text(post.get("domain")).startswith("self.")):
        return "self post"
    if submission.get("removed_by_category"):  # an author's "[deleted]" alone is a closed account
        return "removed"
    if (promoted := submission.get("promoted")) and _yes(promoted):
        return "promoted"
    adult = submission.get("over_18") or post.get("over_18")
    if adult and not rules.adult and (_yes(adult) or _yes(post.get("over_18"))):
        return "adult content"
    media = post.get("is_gallery") or post.get("is_video")
    if media and (_yes(media) or _yes(post.get("is_video"))):
        return "media host"
    return rules.blocklist.subreddit_reject_reason(_text(submission.get("subreddit")))


def _yes(value: object) -> bool:
    """Say whether a flag is set. To ask only about what is not false is quicker: dumps have billions."""
    return value is True or str(value).lower() in ("true", "1")


def _text(value: object) -> str:
    """Return what a field says as text that can be stored; empty where it says nothing."""
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    return str(value) if type(value) is int else ""


def _unescape(text: str) -> str:
    """Undo the escapes that Reddit's API puts into text, once: these three, unless asked for raw JSON.

    Dumps hold addresses as the API gave them, so all of 2005 has `&amp;` between parameters.
    """
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _number(value: object) -> int | None:
    """Return a whole number, though a dump wrote it as a string or as 12.0; None for anything else."""
    if type(value) is int:
        return value
    if not isinstance(value, str | float):
        return None
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return None


def _karma(submission: Submission) -> int | None:
    """Return the score, within 32 bits; the oldest layouts have upvotes and downvotes only."""
    score = _number(submission.get("score"))
    if score is None:
        ups = _number(submission.get("ups"))
        if ups is None:
            return None
        score = ups - (_number(submission.get("downs")) or 0)
    return max(-(2**31), min(score, 2**31 - 1))


def _seconds(value: object) -> int | None:
    """Return a time in seconds since 1970, or None where a dump has none that can be (1970 to 2106)."""
    seconds = _number(value)
    return seconds if seconds is not None and 0 < seconds < 2**32 else None


_ID_IN_PERMALINK = re.compile(r"/comments/([0-9a-z]+)")


def _submission_id(submission: Submission) -> str:
    """Return Reddit's id of a submission, wherever it stands, or one made of its content if there is none."""
    known = _text(submission.get("id")) or _text(submission.get("name")).removeprefix("t3_")
    if known:
        return known
    permalink = _ID_IN_PERMALINK.search(_text(submission.get("permalink")))
    if permalink:
        return permalink[1]
    content = repr([submission.get(field) for field in ("url", "created_utc", "subreddit", "title")])
    return xxhash.xxh3_64_hexdigest(content.encode("utf-8", "replace"))  # 16 digits; Reddit's have fewer


class LinkBatch(NamedTuple):
    """What some submissions became; together the two have as many rows as there were submissions."""

    candidates: pa.RecordBatch  # CANDIDATES
    drops: pa.RecordBatch  # DROPS


def extract(
    submissions: Iterable[Submission | Drop], rules: LinkRules, batch_submissions: int = BATCH_SUBMISSIONS
) -> Iterator[LinkBatch]:
    """Turn a dump's submissions into batches of candidates and drops, each in the dump's order."""
    stream = iter(submissions)
    while True:
        candidates, drops = _extract_batch(stream, rules, batch_submissions)
        if not candidates and not drops:
            return
        yield LinkBatch(_record_batch(candidates, CANDIDATES), _record_batch(drops, DROPS))


def _extract_batch(
    submissions: Iterator[Submission | Drop], rules: LinkRules, batch_submissions: int
) -> tuple[list[Any], list[str]]:
    """Return the cells of candidates and of drops, row after row, of the next submissions."""
    candidates: list[Any] = []
    drops: list[str] = []
    characters = 0
    collects = gc.isenabled()
    gc.disable()  # parsed JSON has no cycles, and looking for some costs a twentieth of the time
    try:
        for item in islice(submissions, batch_submissions):
            result = item if isinstance(item, Drop) else link_of(item, rules)
            if isinstance(result, Drop):
                drops += (result.url, result.reason, result.detail)
                characters += len(result.url) + len(result.detail)
            else:
                candidates += result
                characters += len(result.key) + len(result.title)
            if characters >= BATCH_CHARACTERS:
                break
    finally:
        if collects:
            gc.enable()
    return candidates, drops


def _record_batch(cells: list[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array(cells[place :: len(schema)], field.type) for place, field in enumerate(schema)]
    return pa.record_batch(columns, schema=schema)


def scatter(candidates: pa.RecordBatch, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch of candidates into the buckets that `bucket_of` names, leaving out empty ones."""
    bucket = candidates.column("key_hash").to_numpy() % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    names, starts = np.unique(bucket[order], return_index=True)
    for name, rows in zip(
        names, np.split(order, starts[1:]), strict=False
    ):  # an empty batch: one split, no name
        yield int(name), candidates.take(rows)
