"""All submissions of one link become one row: highest karma, earliest time, number of submissions.

The result depends on the submissions alone, not on their order or on how many dumps held them: every
choice between two of them is made by their content, and a submission that comes twice counts once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runner.records import DROPS, LINKS, UTC_SECONDS
from pipeline.web.urls import host_of_key, registrable_domain

Flags = npt.NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).max

# Between two rows of the same submission (other dumps, other days): the higher score; then whatever
# is decided by the rest of the row.
_SAME_SUBMISSION = [
    ("key", "ascending"),
    ("submission_id", "ascending"),
    ("karma", "descending"),
    ("seen", "ascending"),
    ("secure", "descending"),
    ("subreddit", "ascending"),
    ("title", "ascending"),
]
# Between two submissions of the same link: the higher score, the earlier one, the smaller id.
_SAME_LINK = [
    ("key", "ascending"),
    ("karma", "descending"),
    ("seen", "ascending"),
    ("submission_id", "ascending"),
]


@dataclass(frozen=True)
class Merged:
    """What became of a bucket's candidates; together the two tables have as many rows as it had."""

    links: pa.Table  # LINKS, sorted by address
    drops: pa.Table  # DROPS


def merge(candidates: pa.Table, min_karma: int = 3) -> Merged:
    """Merge the candidates of one bucket into links, and keep those with enough karma.

    `candidates` has the schema `candidates.CANDIDATES` and holds every submission of each link in it. The
    reasons of the drops: "duplicate submission", "duplicate link", "low karma".
    Takes memory in proportion to the bucket, about three times its size.
    """
    ordered = candidates.sort_by(_SAME_SUBMISSION)
    again = _equal_to_row_before(ordered, "key", "submission_id")
    distinct = ordered.filter(pa.array(~again)).sort_by(_SAME_LINK)
    further = _equal_to_row_before(distinct, "key")
    links = _links(distinct, np.flatnonzero(~further))
    enough = pc.greater_equal(links["karma"], min_karma)
    low = links.filter(pc.invert(enough))
    drops = [
        _drops(_url(ordered.filter(pa.array(again))), "duplicate submission"),
        _drops(_url(distinct.filter(pa.array(further))), "duplicate link"),
        _drops(low["url"], "low karma", pc.cast(low["karma"], pa.string())),
    ]
    return Merged(links.filter(enough), pa.concat_tables(drops))


def _equal_to_row_before(table: pa.Table, *columns: str) -> Flags:
    equal = np.ones(table.num_rows, dtype=np.bool_)
    equal[:1] = False
    for name in columns:
        column = table[name]
        equal[1:] &= pc.equal(column[1:], column[:-1]).to_numpy()
    return equal


def _links(distinct: pa.Table, firsts: npt.NDArray[np.int64]) -> pa.Table:
    """Make one link of each group of rows, the best of which stands first, at an index of `firsts`."""
    seen = pc.fill_null(pc.cast(distinct["seen"], pa.int64()), _NEVER).to_numpy()
    secure = distinct["secure"].to_numpy()
    best = distinct.take(pa.array(firsts)).set_column(
        distinct.schema.get_field_index("secure"), "secure", pa.array(np.logical_or.reduceat(secure, firsts))
    )
    first_seen = np.minimum.reduceat(seen, firsts)
    return pa.table(
        {
            "url": _url(best),
            "domain": pa.array(
                [registrable_domain(host_of_key(key)) for key in best["key"].to_pylist()], pa.string()
            ),
            "karma": best["karma"],
            "submissions": pa.array(np.diff(firsts, append=distinct.num_rows), pa.int32()),
            "first_seen": pc.cast(pa.array(first_seen, mask=first_seen == _NEVER), UTC_SECONDS),
            "subreddit": best["subreddit"],
            "title": best["title"],
            "submission_id": best["submission_id"],
        },
        schema=LINKS,
    )


def _url(table: pa.Table) -> pa.ChunkedArray:
    scheme = pc.if_else(table["secure"], "https://", "http://")
    return pc.binary_join_element_wise(scheme, table["key"], "")


def _drops(urls: pa.ChunkedArray, reason: str, detail: Any = None) -> pa.Table:
    empty = pa.array([""] * len(urls), pa.string())
    reasons = pa.array([reason] * len(urls), pa.string())
    return pa.table(
        {"url": urls, "reason": reasons, "detail": empty if detail is None else detail}, schema=DROPS
    )
