"""An index in Parquet, whoever wrote it: what cannot be read is unreadable, a bad row spoils itself."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common_crawl import parquet_index
from pipeline.common_crawl.captures import Wanted
from pipeline.common_crawl.index_batch import IndexTally, UnreadableIndexError
from pipeline.common_crawl.lookup import matches
from pipeline.common_crawl.sought import SOUGHT, Sought, sought_table
from pipeline.runner.records import ROUTED

URLS = [f"http://a.example.com/{number:04}" for number in range(500)]
INDEX = pa.table(
    {
        "url_surtkey": [f"com,example,a)/{number:04}" for number in range(500)],
        "url": URLS,
        "fetch_time": pa.array([1_400_000_000_000] * 500, pa.timestamp("ms", "UTC")),
        "fetch_status": pa.array([200] * 500, pa.int16()),
        "content_digest": [f"{number:032}" for number in range(500)],
        "warc_filename": ["w"] * 500,
        "warc_record_offset": range(500),
        "warc_record_length": range(500),
    }
)


@pytest.fixture(scope="module")
def sought(tmp_path_factory: pytest.TempPathFactory) -> Sought:
    path = tmp_path_factory.mktemp("sought") / "sought.parquet"
    links = pa.table(
        {name: [None] * len(URLS) for name in ROUTED.names} | {"url": URLS, "hops": [[]] * len(URLS)}
    )
    pq.write_table(sought_table(links.cast(ROUTED)).cast(SOUGHT), path)
    return Sought([str(path)])


def rows_of(path: Path, sought: Sought) -> list[dict[str, Any]] | None:
    """All rows of an index; None if it cannot be read."""
    try:
        return [
            row | {"surt": surt}
            for batch in parquet_index.read_parquet(str(path), sought, IndexTally())
            for surt, row in zip(
                batch.surts.to_pylist(),
                batch.load(pa.array(range(len(batch.surts))).to_numpy()).to_pylist(),
                strict=True,
            )
        ]
    except UnreadableIndexError:
        return None


def test_index_in_several_row_groups_and_batches(
    sought: Sought, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.parquet"
    path.write_bytes(_written(INDEX, row_group_size=130, data_page_size=100))
    monkeypatch.setattr(parquet_index, "ROWS_PER_BATCH", 50)
    rows = rows_of(path, sought)
    assert rows is not None
    for name in ("url", "content_digest", "warc_record_offset"):
        assert [row[name] for row in rows] == INDEX[name].to_pylist()
    assert [row["surt"] for row in rows] == INDEX["url_surtkey"].to_pylist()


@given(data=st.data())
def test_damaged_index_is_read_or_refused_as_arrow_would(
    sought: Sought, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_written(INDEX.slice(0, 60), row_group_size=30))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    path.write_bytes(content)
    ours = rows_of(path, sought)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_index, "LONG", ())
        assert ours == rows_of(path, sought)


def _written(table: pa.Table, **form: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="gzip", **form)
    return file.getvalue()


def found(path: Path, sought: Sought) -> set[str]:
    """The links of which an index has captures."""
    batches = parquet_index.read_parquet(str(path), sought, IndexTally())
    tables = [table for batch in batches for table in matches(batch, sought, "CC", Wanted())]
    return {link for table in tables for link in table["link"].to_pylist()}


def of_bytes(values: list[bytes]) -> pa.Array:
    """Bytes that are said to be text, as an index's own tools may write them."""
    array = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(array), array.buffers())


@pytest.mark.parametrize("name", ["url", "url_surtkey", "content_digest", "warc_filename"])
def test_text_that_is_no_utf8_spoils_its_row_alone(name: str, sought: Sought, tmp_path: Path) -> None:
    values = [str(value).encode() for value in INDEX[name].to_pylist()]
    values[0] = values[200] = values[-1] = b"\xc3\xff\xfe"
    table = INDEX.set_column(INDEX.schema.get_field_index(name), name, of_bytes(values))
    path = tmp_path / "index.parquet"
    path.write_bytes(_written(table))
    assert found(path, sought) >= {*URLS} - {URLS[0], URLS[200], URLS[-1]}


@pytest.mark.parametrize(
    "surts",
    [
        INDEX["url_surtkey"].cast(pa.binary()),
        INDEX["url_surtkey"].cast(pa.large_string()),
        INDEX["url_surtkey"].combine_chunks().dictionary_encode(),
    ],
    ids=["binary", "large", "dictionary"],
)
def test_surts_may_be_of_any_type_that_holds_text(surts: Any, sought: Sought, tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    path.write_bytes(_written(INDEX.set_column(0, "url_surtkey", surts)))
    assert found(path, sought) == {*URLS}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("url_surtkey", pa.array(range(500))),
        ("url_surtkey", pa.nulls(500)),
        ("url_surtkey", pa.array(range(500)).dictionary_encode()),
        ("url", pa.array(range(500))),
        ("url", pa.array([{"a": 1}] * 500)),
        ("fetch_time", pa.array(["yesterday"] * 500)),
        ("warc_record_offset", pa.array([1.5] * 500)),
        ("content_digest", pa.array([["a"]] * 500)),
    ],
)  # fmt: skip
def test_columns_of_other_types_make_an_index_unreadable(
    name: str, column: Any, sought: Sought, tmp_path: Path
) -> None:
    path = tmp_path / "index.parquet"
    path.write_bytes(_written(INDEX.set_column(INDEX.schema.get_field_index(name), name, column)))
    with pytest.raises(UnreadableIndexError):
        found(path, sought)


def test_rows_without_a_url_are_no_captures(sought: Sought, tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    urls = pa.array([None if number % 2 else url for number, url in enumerate(URLS)])
    path.write_bytes(_written(INDEX.set_column(1, "url", urls)))
    assert found(path, sought) == {*URLS[::2]}
