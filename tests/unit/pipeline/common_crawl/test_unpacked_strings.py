"""String columns unpacked here are what Arrow reads, whatever wrote them; the unusual is left to Arrow."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common_crawl import unpacked_strings
from pipeline.common_crawl.index_batch import CountedFile, IndexTally
from pipeline.common_crawl.unpacked_strings import unpacked_column

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=30), st.just("com,example)/a")), max_size=300)
FORMS = st.fixed_dictionaries(
    {
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([64, 1_000, 2**20]),
        "write_statistics": st.booleans(),
        "write_page_checksum": st.booleans(),
        "write_page_index": st.booleans(),
        "row_group_size": st.sampled_from([7, 100, 1_000]),
    }
)


def written(table: pa.Table, **form: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **{"compression": "gzip", **form})
    return file.getvalue()


def unpacked(content: bytes, name: str) -> list[bytes | None]:
    """The unpacked column of each row group."""
    file = CountedFile(io.BytesIO(content), IndexTally())
    parquet = pq.ParquetFile(pa.BufferReader(content))
    return [unpacked_column(file, parquet, group, name) for group in range(parquet.metadata.num_row_groups)]


@given(texts=TEXTS, form=FORMS, is_required=st.booleans())
def test_unpacked_column_is_what_arrow_reads(
    texts: Sequence[str | None], form: dict[str, Any], is_required: bool
) -> None:
    texts = [text or "" for text in texts] if is_required else texts
    schema = pa.schema([pa.field("a", pa.int32()), pa.field("url", pa.string(), nullable=not is_required)])
    content = written(pa.table([range(len(texts)), texts], schema=schema), **form)
    groups = unpacked(content, "url")
    assert None not in groups or not texts
    found = [pq.read_table(pa.BufferReader(group))["url"].to_pylist() for group in groups if group]
    assert [text for part in found for text in part] == list(texts)


@pytest.mark.parametrize(
    ("column", "form"),
    [
        (pa.array(["a", "b"]), {"compression": "zstd"}),
        (pa.array(["a", "b"]), {"compression": "none"}),
        (pa.array([1, 2]), {}),
        (pa.array([["a"], ["b"]]), {}),
        (pa.array([b"ab", b"cd"], pa.binary(2)), {}),
    ],
    ids=["zstd", "none", "numbers", "lists", "of one length"],
)
def test_other_columns_are_left_to_arrow(column: pa.Array, form: dict[str, Any]) -> None:
    content = written(pa.table({"url": column}), **form)
    name = pq.ParquetFile(pa.BufferReader(content)).schema.names[0]
    assert unpacked(content, name) == [None]


def test_too_large_a_column_is_left_to_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(pa.table({"url": ["a" * 5_000]}))
    monkeypatch.setattr(unpacked_strings, "MAX_BYTES", 4_000)
    assert unpacked(content, "url") == [None]
