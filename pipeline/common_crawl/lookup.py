"""The join of what is looked for with an index: by SURT to find candidates, by canonical form to decide.

A row with the SURT of a link is a candidate. So is one whose SURT begins like a link's and has tracking
parameters or a session after that, which our canonical form leaves out. A candidate whose canonical address
is the one that is looked for is a capture of it; with another one (`www.`, letter case, a slash) it is kept
for redirects alone, which mostly lead to such.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.common_crawl.captures import CAPTURES, Kind, Wanted, best, distances, kinds, tracked_pattern
from pipeline.common_crawl.index_batch import IndexBatch, Rows
from pipeline.common_crawl.sought import Slice, Sought
from pipeline.common_crawl.surt import stems_of
from pipeline.runner.records import Drop
from pipeline.web.urls import parse

FOUND = CAPTURES.append(pa.field("bucket", pa.int32()))

_LEAST = np.iinfo(np.int64).min


def matches(batch: IndexBatch, sought: Sought, source: str, wanted: Wanted) -> Iterator[pa.Table]:
    """Yield the captures (`FOUND`) in a batch of an index of what is looked for, the best of each kind."""
    for links in sought.candidates(*batch.bounds()):
        pairs = _pairs(batch.surts, links, is_sorted=batch.is_sorted)
        rows = np.union1d(pairs.rows, pairs.tracked)
        if len(rows):
            found = _captures(batch.load(rows), rows, pairs, links, wanted)
            if len(found):
                yield best(found.append_column("source", _all(source, len(found))).select(FOUND.names))


@dataclass(frozen=True)
class _Pairs:
    """Rows of an index and the links that have their SURT, and rows that may be links' with tracking."""

    rows: Rows
    links: Rows  # as many
    tracked: Rows


def _pairs(surts: pa.Array, links: Slice, *, is_sorted: bool) -> _Pairs:
    sought = links.table["surt"].combine_chunks()
    first = np.flatnonzero(np.concatenate([[True], pc.not_equal(sought[1:], sought[:-1]).to_numpy(False)]))
    count = np.diff(first, append=len(sought))
    unique = sought.take(pa.array(first))
    if is_sorted:
        begin, end = (pc.search_sorted(surts, unique, side=side).to_numpy() for side in ("left", "right"))
        rows, which = _ranges(begin.astype(np.int64), end.astype(np.int64))
    else:
        found = pc.index_in(surts, value_set=unique)
        rows = np.flatnonzero(found.is_valid().to_numpy(False)).astype(np.int64)
        which = found.drop_null().to_numpy().astype(np.int64)
    row, link = _ranges(first[which], first[which] + count[which])
    return _Pairs(rows[link], row, _tracked(surts, unique, is_sorted=is_sorted))


def _tracked(surts: pa.Array, unique: pa.Array, *, is_sorted: bool) -> Rows:
    """Return the rows that have a tracking parameter, or a session, behind where a link's path ends."""
    rows = np.arange(len(surts))
    if is_sorted:
        stems = stems_of(unique)
        ranges = []
        for begin, end in (("?", "@"), (";", "<"), ("/;", "/<")):  # "@" is after "?", "<" after ";"
            bounds = (
                pc.search_sorted(surts, pc.binary_join_element_wise(stems, mark, "")) for mark in (begin, end)
            )
            ranges.append(_ranges(*(bound.to_numpy().astype(np.int64) for bound in bounds))[0])
        rows = np.unique(np.concatenate(ranges))
    if not len(rows):
        return rows
    tracked = pc.match_substring_regex(surts.take(pa.array(rows)), tracked_pattern())
    found: Rows = rows[tracked.to_numpy(zero_copy_only=False)]
    return found


def _ranges(begin: Rows, end: Rows) -> tuple[Rows, Rows]:
    """Return all numbers of some ranges, and for each of them the place of its range."""
    sizes = end - begin
    which = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    numbers: Rows = np.arange(len(which)) - starts + begin[which]
    return numbers, which


def _captures(table: pa.Table, rows: Rows, pairs: _Pairs, links: Slice, wanted: Wanted) -> pa.Table:
    """Return the captures among some rows: of the addresses looked for, and of others with their SURTs."""
    table = table.append_column("kind", kinds(table, wanted))
    at = np.searchsorted(rows, pairs.rows)
    same_surt = _of_links(table, at, links, pairs.links)
    exact = _bare(same_surt["url"])
    is_same = pc.fill_null(pc.equal(exact, same_surt["sought"]), False)
    keys = _canonical(exact, same_surt["url"], ~is_same.to_numpy())
    same_surt = same_surt.append_column("key", keys)
    is_same = pc.equal(keys, same_surt["sought"])
    leads_on = pc.less_equal(same_surt["kind"], int(Kind.REDIRECT))
    same_surt = same_surt.filter(pc.fill_null(pc.or_(is_same, leads_on), False))
    tracked = _of_tracked(table, np.searchsorted(rows, pairs.tracked), links)
    columns = [name for name in FOUND.names if name != "source"]
    return pa.concat_tables([same_surt.select(columns), tracked.select(columns)])


def _of_tracked(table: pa.Table, rows: Rows, links: Slice) -> pa.Table:
    """Return the captures with tracking parameters whose canonical address is looked for."""
    table = table.take(pa.array(rows))
    keys = _canonical(table["url"], table["url"], np.ones(len(table), np.bool_))
    places: dict[str, list[int]] = {}
    if len(table):
        known = pc.is_in(
            links.table["key"], keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
        )
        for place in np.flatnonzero(known.to_numpy()):
            places.setdefault(links.table["key"][place].as_py(), []).append(int(place))
    pairs = [(row, place) for row, key in enumerate(keys.to_pylist()) for place in places.get(key, ())]
    at, link = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    found = _of_links(table, at, links, link)
    return found.append_column("key", found["sought"])


def _of_links(table: pa.Table, rows: Rows, links: Slice, places: Rows) -> pa.Table:
    """Put some rows of an index beside the links that they are for; one that cannot be read is left out."""
    found = table.take(pa.array(rows))
    ours = links.table.take(pa.array(places))
    distance = distances(_seconds(found["fetch_time"], _LEAST // 2), _seconds(ours["first_seen"], -1))
    for name, column in (
        ("link", ours["link"]),
        ("sought", ours["key"]),
        ("bucket", ours["bucket"]),
        ("distance", pa.array(distance)),
    ):
        found = found.append_column(name, column)
    usable = pc.and_(
        pc.not_equal(found["warc_filename"], ""), pc.greater_equal(found["warc_record_offset"], 0)
    )
    return found.filter(pc.fill_null(usable, False))


def _seconds(times: pa.ChunkedArray, unknown: int) -> Rows:
    found: Rows = pc.fill_null(times.cast(pa.int64()), unknown).to_numpy()
    return found


def _bare(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return http addresses without their scheme."""
    return pc.replace_substring_regex(urls, "^https?://", "")


def _canonical(
    known: pa.ChunkedArray, urls: pa.ChunkedArray, unsure: npt.NDArray[np.bool_]
) -> pa.ChunkedArray:
    """Return the keys of addresses: those that are `known`, but where one is `unsure` the parser's."""
    if not unsure.any():
        return known
    keys = [_key(url) for url in urls.filter(pa.array(unsure)).to_pylist()]
    return pc.replace_with_mask(pc.cast(known, pa.string()), pa.array(unsure), pa.array(keys, pa.string()))


def _key(url: str | None) -> str | None:
    found = parse(url or "")
    return None if isinstance(found, Drop) else found.key


def _all(value: str, rows: int) -> pa.Array:
    return pa.array([value], pa.string()).take(pa.array(np.zeros(rows, np.int64)))
