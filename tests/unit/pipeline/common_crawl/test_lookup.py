"""The join finds what a plain loop over all pairs finds, whatever the order, the slices and the files."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from surt import surt

from pipeline.common_crawl import sought as seeking
from pipeline.common_crawl.captures import CAPTURE_COLUMNS, Wanted, best
from pipeline.common_crawl.index_batch import IndexBatch, IndexTally, Rows
from pipeline.common_crawl.lookup import matches
from pipeline.common_crawl.parquet_index import NEEDED, read_parquet
from pipeline.common_crawl.sought import ANYTHING, Sought, sought_table
from pipeline.common_crawl.surt import surt_of
from pipeline.runner.records import ROUTED, Drop
from pipeline.web.urls import parse

AT = datetime(2014, 1, 1, tzinfo=UTC)
PATHS = ["/", "/a", "/a/", "/A", "/a/b", "/a?id=1", "/a?id=2", "/a?b&c", "/z", "/a;jsessionid=1", "/é"]
TAILS = ["", "?utm_source=x", "&utm_source=x", "?fbclid=1", "&gclid=2&zz=1", ";jsessionid=ABC"]


def captured(chance: random.Random, count: int) -> list[str]:
    """Addresses as a crawler meets them: twins, `www.`, case, slashes, tracking parameters."""
    return [
        f"{chance.choice(['http', 'https'])}://{chance.choice(['', 'www.'])}{chance.choice('abc')}.com"
        + chance.choice(PATHS) + chance.choice(TAILS)
        for _ in range(count)
    ]  # fmt: skip


def canonical(url: str) -> str:
    found = parse(url)
    assert not isinstance(found, Drop)
    return found.key


def write_sought(folder: Path, urls: set[str], files: int) -> Sought:
    ordered = sorted(urls)
    for number in range(files):
        rows = [dict.fromkeys(ROUTED.names) | {"url": url, "hops": []} for url in ordered[number::files]]
        table = sought_table(pa.Table.from_pylist(rows, schema=ROUTED))
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=3)
    return Sought([str(folder / f"{number}.parquet") for number in range(files)])


def index_of(urls: list[str]) -> pa.Table:
    usual = dict.fromkeys(CAPTURE_COLUMNS) | {"fetch_time": AT, "fetch_status": 200, "warc_filename": "f"}
    rows = [
        usual | {"url_surtkey": surt(url), "url": url, "warc_record_offset": number, "warc_record_length": 9}
        for number, url in enumerate(urls)
    ]
    schema = pa.schema([("url_surtkey", pa.string()), *CAPTURE_COLUMNS.items()])
    return pa.Table.from_pylist(rows, schema=schema)


def batches(index: pa.Table, size: int) -> Iterator[IndexBatch]:
    for begin in range(0, len(index), size):
        part = index.slice(begin, size)

        def load(rows: Rows, part: pa.Table = part) -> pa.Table:
            return part.drop_columns("url_surtkey").take(pa.array(rows))

        yield IndexBatch(part["url_surtkey"].combine_chunks(), load)


def found_pairs(tables: list[pa.Table]) -> set[tuple[str, str]]:
    rows = best(pa.concat_tables(tables).drop_columns("bucket")).to_pylist() if tables else []
    return {(row["link"], row["key"]) for row in rows if row["link"].partition("://")[2] == row["key"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("is_sorted", [True, False])
def test_join_finds_every_capture_of_every_link_and_no_other(
    seed: int, is_sorted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(seeking, "ROWS_PER_SLICE", chance.choice([1, 4, 100]))
    monkeypatch.setattr(seeking, "ROWS_KEPT", chance.choice([1, 100]))
    urls = captured(chance, 120)
    index = index_of(urls)
    if is_sorted:
        index = index.sort_by("url_surtkey")
    links = {f"http://{canonical(url)}" for url in captured(chance, 25)}
    sought = write_sought(tmp_path, links, 3)
    size = chance.choice([1, 7, 1_000])
    tables = [t for batch in batches(index, size) for t in matches(batch, sought, "CC", Wanted())]
    there = {canonical(url) for url in urls}
    expected = {(link, canonical(link)) for link in links if canonical(link) in there}
    assert found_pairs(tables) == expected
    # Row groups that are not read hold nothing that is looked for.
    pq.write_table(index, tmp_path / "index.parquet", row_group_size=chance.choice([2, 50]))
    tally = IndexTally()
    read = read_parquet(str(tmp_path / "index.parquet"), sought, tally)
    assert found_pairs([t for batch in read for t in matches(batch, sought, "CC", Wanted())]) == expected
    assert tally.rows == len(urls) and tally.groups >= tally.groups_read


@pytest.mark.parametrize("seed", range(10))
def test_slices_are_all_that_lies_in_a_range_in_order_and_never_split_a_surt(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(seeking, "ROWS_PER_SLICE", chance.choice([1, 5, 1_000]))
    links = {f"http://{canonical(url)}" for url in captured(chance, 80)}
    sought = write_sought(tmp_path, links, 4)
    every = sorted(surt_of(canonical(link)) for link in links)
    for _ in range(10):
        low, high = sorted(chance.choices(["", *every, ANYTHING], k=2))
        slices = list(sought.slices(low, high))
        rows: list[Any] = [surt for found in slices for surt in found.table["surt"].to_pylist()]
        assert rows == [surt for surt in every if low <= surt <= high]
        ends = [(found.table["surt"][0].as_py(), found.table["surt"][-1].as_py()) for found in slices]
        assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
        assert np.all([len(found.table) for found in slices])


def test_file_that_is_no_index_says_what_it_lacks(tmp_path: Path) -> None:
    sought = write_sought(tmp_path, {"http://a.com/"}, 1)
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "other.parquet")
    (tmp_path / "garbage.parquet").write_bytes(b"garbage" * 9)
    names = ["url_surtkey", *NEEDED, "url"]
    twice = pa.Table.from_arrays([pa.array(["com,a)/"])] * len(names), names=names)
    pq.write_table(twice, tmp_path / "twice.parquet")
    for name, said in (
        ("other", "no column url_surtkey"),
        ("twice", "2 columns are named 'url'"),
        ("garbage", "Parquet magic bytes"),
    ):
        with pytest.raises(ValueError, match=said):
            list(read_parquet(str(tmp_path / f"{name}.parquet"), sought, IndexTally()))


@pytest.mark.parametrize("surts", [["a", "b", "b", "é"], ["b", "é", "a"], ["x"]])
def test_bounds_of_a_batch_are_its_least_and_greatest_surt_in_any_order(surts: list[str]) -> None:
    batch = IndexBatch(pa.array(surts), lambda rows: pa.table({}))
    assert batch.bounds() == (min(surts), max(surts))
    assert batch.is_sorted == (surts == sorted(surts))


@pytest.mark.parametrize("seed", range(20))
def test_links_with_which_the_least_surt_begins_are_candidates_however_far_before_it(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    paths = ["/" + "/".join(chance.choices("abc", k=chance.randint(1, 4))) for _ in range(40)]
    sought = write_sought(tmp_path, {f"http://{chance.choice('xy')}.com{path}" for path in paths}, 3)
    every = {surt for found in sought.slices("", ANYTHING) for surt in found.table["surt"].to_pylist()}
    least = f"com,{chance.choice('xy')}){chance.choice(paths)}/zz"
    found = {surt for part in sought.candidates(least, least) for surt in part.table["surt"].to_pylist()}
    assert found == {surt for surt in every if least.startswith(surt)}
