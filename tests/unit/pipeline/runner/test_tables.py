"""Rows go into Parquet and come back; what is not Parquet is printed with its address."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runner.records import Drop
from pipeline.runner.tables import ROWS_PER_GROUP, FilterWriter, TableWriter, read_rows, read_tables

SCHEMA = pa.schema([("url", pa.string()), ("seen", pa.timestamp("s", tz="UTC"))])


def write(path: Path, rows: int) -> None:
    with TableWriter(path, SCHEMA) as writer:
        for number in range(rows):
            writer.write({"url": str(number), "seen": number})


def test_rows_come_back_in_their_order_over_many_groups(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 2 * ROWS_PER_GROUP + 5)
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3
    urls = [row["url"] for row in read_rows(str(tmp_path / "x.parquet"), ["url"])]
    assert urls == [str(number) for number in range(2 * ROWS_PER_GROUP + 5)]


def test_long_texts_make_shorter_groups(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "x.parquet", pa.schema([("text", pa.string())])) as writer:
        for _ in range(9):
            writer.write({"text": "x" * 2**23})
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3


def test_tables_come_back_in_their_schema_and_none_as_an_empty_one(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 3)
    addresses = [str(tmp_path / "x.parquet")] * 2
    assert read_tables(addresses, SCHEMA).schema == SCHEMA
    assert len(read_tables(addresses, SCHEMA)) == 6
    assert len(read_tables([], SCHEMA)) == 0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all, but long enough to look into"])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet"):
        list(read_rows(str(path)))


def test_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 1)
    with pytest.raises(ValueError, match="no column karma"):
        list(read_rows(str(tmp_path / "x.parquet"), ["url", "karma"]))


@pytest.mark.parametrize("columns", [["url"], None])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, columns: list[str] | None) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["url", "more", "url"]), path)
    with pytest.raises(ValueError, match=r"x\.parquet: 2 columns are named 'url'"):
        list(read_rows(str(path), columns))
    assert list(read_rows(str(path), ["more"])) == [{"more": "a"}]


def test_rows_come_in_the_types_of_a_schema_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"n": pa.array([1, None], pa.int8()), "text": pa.array(["a", "b"]).dictionary_encode()}
    pq.write_table(pa.table({"more": [[1], []], **columns}), path)
    text = pa.field("text", pa.large_string(), nullable=False)
    wanted = pa.schema([text, pa.field("n", pa.int64())])
    assert list(read_rows(str(path), wanted)) == [{"text": "a", "n": 1}, {"text": "b", "n": None}]
    with pytest.raises(ValueError, match=r"x\.parquet: column 'n' has rows without a value"):
        list(read_rows(str(path), pa.schema([text, pa.field("n", pa.int64(), nullable=False)])))
    with pytest.raises(ValueError, match=r"x\.parquet: column 'more': "):
        list(read_rows(str(path), pa.schema([text, pa.field("more", pa.string())])))


def test_sieve_counts_what_it_keeps_and_what_it_drops(tmp_path: Path) -> None:
    with FilterWriter(tmp_path, "kept.parquet", SCHEMA) as writer:
        writer.put({"url": "a", "seen": 1})
        writer.put(Drop("too short", "b", "3 words"))
        writer.put(Drop("too short", "c"))
    assert (writer.counts.read, writer.counts.kept, writer.counts.dropped) == (3, 1, {"too short": 2})
    assert [row["url"] for row in read_rows(str(tmp_path / "drops.parquet"))] == ["b", "c"]
