"""Documents in Parquet and Arrow, in the layouts that others publish."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.batches import DocumentBatch, content_id
from pipeline.sources.options import Reading
from pipeline.sources.tables import measure_parquet, read_arrow, read_parquet

FINEWEB = {
    "text": ["First page.", "Second page."],
    "id": ["<urn:uuid:1>", "<urn:uuid:2>"],
    "dump": ["CC-MAIN-2024-10"] * 2,
    "url": ["https://example.org/1", "https://example.org/2"],
    "date": ["2024-03-01T00:00:00Z"] * 2,
    "file_path": ["s3://commoncrawl/x.warc.gz"] * 2,
    "language": ["en"] * 2,
    "language_score": [0.98, 0.91],
    "token_count": [3, 3],
}


def write(path: Path, table: pa.Table) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    new = pa.ipc.new_stream if path.name.startswith("stream") else pa.ipc.new_file
    with new(path, table.schema) as file:
        file.write_table(table)


def read(path: Path, **reading: Any) -> tuple[list[tuple[str, str]], dict[str, int]]:
    reader = read_parquet if path.suffix == ".parquet" else read_arrow
    batches: Iterator[DocumentBatch] = reader(str(path), Reading(**reading))
    pairs, left_out = list[tuple[str, str]](), dict[str, int]()
    for batch in batches:
        pairs += [(i.decode(), t.decode()) for i, t in zip(batch.ids, batch.texts, strict=True)]
        for reason, number in batch.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + number
    return pairs, left_out


NAMES = ["a.parquet", "stream.arrow", "file.arrow"]


@pytest.mark.parametrize("name", NAMES)
def test_finewebs_layout_is_read_as_it_comes(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pa.table(FINEWEB))
    assert read(tmp_path / name) == (list(zip(FINEWEB["id"], FINEWEB["text"], strict=True)), {})


@pytest.mark.parametrize("name", NAMES)
def test_openwebtexts_layout_gets_ids_from_its_texts(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pa.table({"text": ["one", "two"]}))
    assert read(tmp_path / name)[0] == [(content_id(text.encode()), text) for text in ("one", "two")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(),
    ],
)
def test_every_type_that_holds_text_is_read_and_odd_rows_are_counted(
    tmp_path: Path, name: str, kind: pa.DataType
) -> None:
    raw = pa.array([b"one", None, b"", b"\xff\xfe", "zwei Bücher".encode(), b"one"])
    text = raw.dictionary_encode() if pa.types.is_dictionary(kind) else raw
    if pa.types.is_dictionary(kind):
        values = pa.Array.from_buffers(pa.string(), len(text.dictionary), text.dictionary.buffers())
        text = pa.DictionaryArray.from_arrays(text.indices, values)
    else:
        plain = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
        text = raw.cast(kind) if "binary" in str(kind) else plain
        if kind == pa.large_string():
            large = raw.cast(pa.large_binary())
            text = pa.Array.from_buffers(kind, len(large), large.buffers())
        if kind == pa.string_view():
            view = raw.cast(pa.binary_view())
            text = pa.Array.from_buffers(kind, len(view), view.buffers())
    write(tmp_path / name, pa.table({"text": text}))
    pairs, left_out = read(tmp_path / name)
    assert [text for _, text in pairs] == ["one", "zwei Bücher", "one"]
    assert left_out == {"no text": 2, "bad encoding": 1}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [1, 2]}, "column 'text' has type int64"),
        ({"text": [["a"], ["b"]]}, "column 'text' has type list"),
        ({"content": ["a", "b"]}, "no column 'text' among content: name it by --text-column"),
        ({"text": ["a", "b"], "id": [1.5, 2.5]}, "column 'id' has type double"),
    ],
)
def test_a_column_without_text_is_told(
    tmp_path: Path, name: str, columns: dict[str, list[Any]], message: str
) -> None:
    write(tmp_path / name, pa.table(columns))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_another_column_can_be_the_text(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"id": ["x"], "text": ["no"], "content": ["yes"]}))
    assert read(tmp_path / "a.parquet", text_column="content")[0] == [("x", "yes")]
    assert read(tmp_path / "a.parquet", text_column="id")[0] == [(content_id(b"x"), "x")]


def test_a_column_of_nothing_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.arrow", pa.table({"text": pa.nulls(3), "id": pa.nulls(3)}))
    with pytest.raises(ValueError, match="column 'text' has type null"):
        read(tmp_path / "a.arrow")
    write(tmp_path / "a.arrow", pa.table({"text": ["a"], "id": pa.nulls(1)}))
    assert read(tmp_path / "a.arrow")[0] == [(content_id(b"a"), "a")]


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_file_is_one_plain_error(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pa.table({"text": [f"text {n}" * 50 for n in range(2000)]}))
    raw = (tmp_path / name).read_bytes()
    for size in (0, 3, len(raw) // 2, len(raw) - 20):
        (tmp_path / name).write_bytes(raw[:size])
        if name == "stream.arrow" and size == len(raw) - 20:
            continue  # only the mark of its end is gone
        with pytest.raises(ValueError, match=name):
            read(tmp_path / name)


def test_offsets_that_lead_nowhere_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "stream.arrow", pa.table({"text": ["abcdefgh", "ijklmnop", "qrstuvwx"]}))
    raw = (tmp_path / "stream.arrow").read_bytes()
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 8, 16, 24))
    assert raw.count(offsets) == 1
    for wrong in ((0, 8, 2**31 - 1, 24), (0, 16, 8, 24), (0, 8, 16, 2**30)):
        changed = raw.replace(offsets, b"".join(n.to_bytes(4, "little") for n in wrong))
        (tmp_path / "stream.arrow").write_bytes(changed)
        with pytest.raises(ValueError, match=r"stream\.arrow"):
            read(tmp_path / "stream.arrow")


def test_the_sides_of_a_split_by_hash_share_every_document_once(tmp_path: Path) -> None:
    texts = [f"document {n}" for n in range(500)]
    write(tmp_path / "a.parquet", pa.table({"text": [*texts, "", texts[0]]}))
    sides = [read(tmp_path / "a.parquet", side=side, limit=0.1) for side in ("train", "validation")]
    found = [[text for _, text in pairs] for pairs, _ in sides]
    assert sorted(found[0] + found[1]) == sorted([*texts, texts[0]])
    assert 20 < len(found[1]) < 90
    assert texts[0] not in found[0] or texts[0] not in found[1]
    assert [left_out for _, left_out in sides] == [{"no text": 1}, {}]


def test_the_size_of_a_parquet_file_is_known_without_reading_it(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table(FINEWEB))
    rows, size, has_ids = measure_parquet(str(tmp_path / "a.parquet"), "text")
    assert (rows, has_ids) == (2, True)
    assert 23 < size < 300


@pytest.mark.parametrize("name", NAMES)
def test_further_columns_come_as_text_wherever_they_lie(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "text": ["one", "", "three"],
            "id": ["1", "2", "3"],
            "seen": pa.array([0, 86_400_000, None], pa.timestamp("ms", tz="UTC")),
            "karma": pa.array([5, None, 7], pa.int32()),
            "kind": pa.array(["x", "y", None]).dictionary_encode(),
            "list": [[1], [2], []],
            "meta": [{"url": "http://a.org/", "more": 1}, {"url": None, "more": 2}, None],
            "dotted.name": ["d", "e", "f"],
        }
    )
    write(tmp_path / name, table)
    columns = ("karma", "seen", "kind", "list", "meta.url", "meta.none", "nothing", "dotted.name", "id")
    reader = read_parquet if name.endswith(".parquet") else read_arrow
    (batch,) = reader(str(tmp_path / name), Reading(columns=columns))
    assert batch.texts == [b"one", b"three"]
    assert batch.values == [
        ("5", "1970-01-01 00:00:00.000Z", "x", "", "http://a.org/", "", "", "d", "1"),
        ("7", "", "", "", "", "", "", "f", "3"),
    ]


TWO = pa.array(["one", "two"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("names", "twice"),
    [
        (["text", "text", "url"], "text"),
        (["text", "id", "url", "id"], "id"),
        (["url", "text", "url", "url"], "url"),
        (["meta", "text", "meta"], "meta"),
    ],
)
def test_several_columns_of_one_name_are_told_with_file_and_name(
    tmp_path: Path, name: str, names: list[str], twice: str
) -> None:
    write(tmp_path / name, pa.Table.from_arrays([TWO] * len(names), names=names))
    message = rf"{name}: {names.count(twice)} columns are named '{twice}'"
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, columns=("url", "meta.url"))
    if name == "a.parquet" and twice in ("text", "id"):
        with pytest.raises(ValueError, match=message):
            measure_parquet(str(tmp_path / name), "text")


@pytest.mark.parametrize("name", NAMES)
def test_several_fields_of_one_name_in_a_struct_are_told_too(tmp_path: Path, name: str) -> None:
    meta = pa.StructArray.from_arrays([TWO, TWO, TWO], names=["url", "date", "url"])
    write(tmp_path / name, pa.table({"text": TWO, "meta": meta}))
    with pytest.raises(ValueError, match=rf"{name}: 2 columns are named 'url'"):
        read(tmp_path / name, columns=("url", "meta.url"))
    assert [text for _, text in read(tmp_path / name, columns=("meta.date",))[0]] == ["one", "two"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_nobody_reads_may_be_there_twice(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pa.Table.from_arrays([TWO] * 3, names=["more", "text", "more"]))
    assert [text for _, text in read(tmp_path / name, columns=("url",))[0]] == ["one", "two"]
