"""Numbers add up to the same whether they fit into memory or go to disk in runs."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.runner import sums
from pipeline.runner.sums import Sums, merge_sorted, read_sums, write_sums

COUNTS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])

PART = st.dictionaries(st.binary(max_size=3), st.integers(1, 5), max_size=12)


def table(counts: dict[bytes, int]) -> pa.Table:
    return pa.table([list(counts), list(counts.values())], schema=COUNTS)


def pairs(tables: list[pa.Table]) -> list[tuple[bytes, int]]:
    return [pair for part in tables for pair in zip(*part.to_pydict().values(), strict=True)]


def added(parts: list[dict[bytes, int]]) -> list[tuple[bytes, int]]:
    whole = Counter[bytes]()
    for part in parts:
        whole.update(part)
    return sorted(whole.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART, max_size=8), bytes_in_memory=st.sampled_from([0, 200, 10**9]))
def test_sums_are_the_same_whenever_words_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[dict[bytes, int]], bytes_in_memory: int
) -> None:
    monkeypatch.setattr(sums, "BYTES_IN_MEMORY", bytes_in_memory)
    monkeypatch.setattr(sums, "ROWS_PER_BLOCK", 2)
    found = Sums(tmp_path, COUNTS)
    for part in parts:
        found.add(table(part))
    assert pairs(list(found.total())) == added(parts)
    assert not list(tmp_path.iterdir())


@given(st.lists(st.lists(PART, max_size=4), max_size=4))
def test_merging_is_adding_up_in_order(sources: list[list[dict[bytes, int]]]) -> None:
    cut = [[dict(rows[i : i + 2]) for i in range(0, len(rows), 2)] for rows in map(added, sources)]
    merged = merge_sorted([iter([table(part) for part in source]) for source in cut])
    assert pairs(list(merged)) == added([part for source in sources for part in source])


def test_little_more_than_the_bound_is_held_however_much_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "BYTES_IN_MEMORY", 2**20)
    held = []
    for parts in (20, 200):
        before = pa.total_allocated_bytes()
        found, most = Sums(tmp_path, COUNTS), 0
        for part in range(parts):
            found.add(table({b"word %d of part %d" % (word, part): 1 for word in range(2_000)}))
            most = max(most, pa.total_allocated_bytes() - before)
        held.append(most)
        assert sum(map(len, found.total())) == parts * 2_000
    assert held[1] < 1.2 * held[0] < 1.2 * 2**21


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert (
        write_sums([table({b"\x00\xff": 2**40}), table({}), table({b"x": 1})], tmp_path / "counts", COUNTS)
        == 2
    )
    assert pairs(list(read_sums(str(tmp_path / "counts"), COUNTS))) == [(b"\x00\xff", 2**40), (b"x", 1)]


def test_every_column_is_added_up_by_itself(tmp_path: Path) -> None:
    schema = pa.schema([("domain", pa.large_binary()), ("documents", pa.int64()), ("words", pa.int64())])
    found = Sums(tmp_path, schema)
    found.add(pa.table([[b"b", b"a", b"b"], [1, 1, 1], [10, 20, 30]], schema=schema))
    found.add(pa.table([[b"a"], [2], [5]], schema=schema))
    (whole,) = found.total()
    assert whole.schema == schema
    assert whole.to_pydict() == {"domain": [b"a", b"b"], "documents": [3, 2], "words": [25, 40]}


def test_nothing_adds_up_to_nothing(tmp_path: Path) -> None:
    assert sum(map(len, Sums(tmp_path, COUNTS).total())) == 0


def test_two_sums_in_one_folder_keep_their_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runner.sums.BYTES_IN_MEMORY", 1)
    schemas = [pa.schema([(name, pa.binary()), ("count", pa.int64())]) for name in ("word", "domain")]
    both = [Sums(tmp_path, schema) for schema in schemas]
    for number in range(6):
        for added, schema in zip(both, schemas, strict=True):
            added.add(pa.table([[b"a%d" % number, b"b"], [1, 2]], schema=schema))
    for added, schema in zip(both, schemas, strict=True):
        found = pa.concat_tables(added.total())
        assert found.schema.names == schema.names
        assert dict(zip(*(column.to_pylist() for column in found.columns), strict=True)) == {b"b": 12} | {
            b"a%d" % number: 1 for number in range(6)
        }
    assert not list(tmp_path.iterdir())
