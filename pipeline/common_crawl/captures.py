"""Captures as an index lists them, and which of several of an address is the one to take.

A capture is of a kind: a page; a redirect; or something else, which is remembered as the reason why there is
no page. Of each kind the best is the one nearest to the day on which the link was first submitted; of two
that are equally near the later one, which shows what was linked to rather than what stood there before.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runner.records import UTC_SECONDS
from pipeline.web.tracking import tracking_rules
from pipeline.web.warc import HTML_TYPES, REDIRECTS

CAPTURE_COLUMNS = {
    "url": pa.string(),
    "fetch_time": UTC_SECONDS,
    "fetch_status": pa.int16(),
    "fetch_redirect": pa.string(),
    "content_digest": pa.string(),
    "content_mime_type": pa.string(),
    "content_mime_detected": pa.string(),
    "content_languages": pa.string(),
    "content_truncated": pa.string(),
    "warc_filename": pa.string(),
    "warc_record_offset": pa.int64(),
    "warc_record_length": pa.int64(),
}
"""What is read of an index besides `url_surtkey`, by Common Crawl's names; the earliest crawls lack some."""

CAPTURES = pa.schema(
    [
        ("link", pa.string()),  # canonical address of the link that it is a candidate for
        ("key", pa.string()),  # of its own canonical address
        ("kind", pa.int8()),  # `Kind`
        ("distance", pa.int32()),  # from the link's first submission: see `distances`
        ("source", pa.string()),  # the crawl or collection whose index has it
        ("url", pa.string()),
        ("fetch_time", UTC_SECONDS),
        ("fetch_status", pa.int16()),
        ("fetch_redirect", pa.string()),
        ("content_digest", pa.string()),
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int64()),
        ("warc_record_length", pa.int64()),
    ]
)


class Kind(IntEnum):
    """What a capture is good for, the best first."""

    PAGE = 0
    REDIRECT = 1
    TRUNCATED = 2
    OTHER_LANGUAGE = 3
    NOT_HTML = 4
    NOT_200 = 5


REASONS = {
    Kind.TRUNCATED: "truncated capture",
    Kind.OTHER_LANGUAGE: "other language",
    Kind.NOT_HTML: "not HTML",
    Kind.NOT_200: "not status 200",
}
"""Why the captures of a kind give no page."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which captures are pages that are wanted."""

    languages: tuple[str, ...] = ()
    """ISO 639-3 codes; a capture whose index names languages, and none of these, is foreign. Empty: any."""


def kinds(captures: pa.Table, wanted: Wanted) -> pa.Array:
    """Return the kind of each capture (`CAPTURE_COLUMNS`)."""
    status = captures["fetch_status"]
    mime = pc.coalesce(captures["content_mime_detected"], captures["content_mime_type"])
    unknown = pc.or_(pc.is_null(mime), pc.is_in(mime, pa.array(["", "-", "unk"])))
    html = pc.or_(unknown, pc.is_in(mime, pa.array(sorted(HTML_TYPES))))
    cut = pc.greater(pc.binary_length(pc.coalesce(captures["content_truncated"], pa.scalar(""))), 0)
    foreign = _is_foreign(captures["content_languages"], wanted.languages)
    found = pc.case_when(
        pc.make_struct(
            pc.fill_null(pc.is_in(status, pa.array(sorted(REDIRECTS), pa.int16())), False),
            pc.fill_null(pc.not_equal(status, 200), True),
            pc.invert(html),
            cut,
            foreign,
        ),
        *(
            pa.scalar(int(kind), pa.int8())
            for kind in (Kind.REDIRECT, Kind.NOT_200, Kind.NOT_HTML, Kind.TRUNCATED, Kind.OTHER_LANGUAGE)
        ),
        pa.scalar(int(Kind.PAGE), pa.int8()),
    )
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _is_foreign(languages: pa.ChunkedArray, wanted: Sequence[str]) -> pa.ChunkedArray:
    if not wanted:
        return pa.chunked_array([pa.array(np.zeros(len(languages), np.bool_))])
    named = pc.fill_null(pc.not_equal(languages, ""), False)
    pattern = f"(^|,)({'|'.join(map(re.escape, wanted))})(,|$)"
    return pc.and_(named, pc.invert(pc.fill_null(pc.match_substring_regex(languages, pattern), False)))


DAY_S = 86_400
FAR = 2**29  # days: of links without a time, the latest capture is the nearest


def distances(fetched: npt.NDArray[np.int64], submitted: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return how far captures are from the submissions of their links: less is better.

    Twice the days between the two, and one more for a capture that is the earlier one.

    Args:
        fetched: seconds since 1970; of a capture without a time the least there is.
        submitted: the same; negative where it is not known.
    """
    days = fetched // DAY_S - submitted // DAY_S
    near = 2 * np.abs(days) + (days < 0)
    latest = FAR - fetched // DAY_S
    return np.clip(np.where(submitted >= 0, near, latest), 0, 2**31 - 1).astype(np.int32)


_BEST_FIRST = [
    (name, "ascending")
    for name in ("link", "key", "kind", "distance", "fetch_time", "warc_filename", "warc_record_offset")
]


def best(captures: pa.Table) -> pa.Table:
    """Return for each link, address and kind the best capture, sorted by these; of bests the bests again."""
    ordered = captures.sort_by([*_BEST_FIRST, ("source", "ascending")])
    first = np.ones(len(ordered), np.bool_)
    if len(ordered):
        same = np.ones(len(ordered) - 1, np.bool_)
        for name in ("link", "key", "kind"):
            same &= pc.equal(ordered[name][1:], ordered[name][:-1]).to_numpy()
        first[1:] = ~same
    return ordered.filter(pa.array(first))


@cache
def tracked_pattern() -> str:
    """Return a regular expression (RE2) for SURTs that our canonical form may make shorter: `tracking.tsv`.

    It finds too many, and a canonical form then decides.
    """
    rules = tracking_rules()
    names = [*map(re.escape, rules.parameters), *(f"{re.escape(name)}[^=&]*" for name in rules.families)]
    return rf"[?&](?:{'|'.join(names)})(?:=|&|$)|;(?:jsessionid|phpsessid|_yl)|[?&]&|&$"
