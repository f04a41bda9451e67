"""Documents in JSON Lines and plain text: each row is one, or counted with its reason."""

import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sources import lines
from pipeline.sources.lines import read_json_lines, read_plain_text
from pipeline.sources.options import Reading, TextOptions

Found = tuple[list[tuple[str, str]], dict[str, int]]


def read(path: Path, reader=read_plain_text, **reading: object) -> Found:
    batches = list(reader(str(path), Reading(**reading)))
    assert sum(batch.rows for batch in batches) == sum(
        len(batch.texts) + sum(batch.left_out.values()) for batch in batches
    )
    pairs = [(i.decode(), t.decode()) for b in batches for i, t in zip(b.ids, b.texts, strict=True)]
    assert sum(batch.characters for batch in batches) == sum(len(text) for _, text in pairs)
    left_out = sum((Counter(batch.left_out) for batch in batches), Counter[str]())
    return pairs, dict(left_out)


def texts(found: Found) -> list[str]:
    return [text for _, text in found[0]]


def test_every_odd_line_of_json_is_counted_by_its_reason(tmp_path: Path) -> None:
    rows = [
        b'{"id": "a", "text": "one"}',
        b'{"id": 7, "text": "two", "more": {"x": [1]}}',
        b'{"text": null}',
        b'{"text": ""}',
        b"{}",
        b'{"text": 5}',
        b'{"text": ["a"]}',
        b'{"text": "cut',
        b"[1]",
        b'"text"',
        b'{"text": "\xff\xfe"}',
        b"[" * 5000,
        b"",
        b'{"id": null, "text": "half \\ud83d pair"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    pairs, left_out = read(tmp_path / "a.jsonl", read_json_lines)
    assert [text for _, text in pairs] == ["one", "two", "half � pair"]
    assert [name for name, _ in pairs][:2] == ["a", "7"]
    assert left_out == {"no text": 3, "not text": 2, "broken JSON line": 5}


def test_an_id_is_the_texts_hash_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    # printf one | sha256sum
    assert read(tmp_path / "a.txt")[0] == [("7692c3ad3540bb803c020b3aee66cd88", "one")]


def test_a_line_too_long_is_counted_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINE_LIMIT_BYTES", 100)
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{"x" * 200}"}}\n{{"text": "next"}}\n')
    found = read(tmp_path / "a.jsonl", read_json_lines)
    assert (texts(found), found[1]) == (["next"], {"over-long line": 1})


def test_a_cut_archive_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"{n} {n * 7919 % 104729}"}) + "\n" for n in range(5000))
    whole = gzip.compress(rows.encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found = read(tmp_path / "a.jsonl.gz", read_json_lines)
    assert 1000 < len(texts(found)) < 4000
    assert texts(found) == [f"{n} {n * 7919 % 104729}" for n in range(len(texts(found)))]
    assert found[1] == {"damaged file": 1}
    (tmp_path / "a.txt.gz").write_bytes(whole[: len(whole) // 2])
    assert read(tmp_path / "a.txt.gz") == ([], {"damaged file": 1})
    by_line = read(tmp_path / "a.txt.gz", separator="\n")
    assert (len(texts(by_line)), by_line[1]) == (len(texts(found)), {"damaged file": 1})


def test_a_file_is_a_document_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\n")
    assert texts(read(tmp_path / "a.txt")) == ["a\r\n\r\nb\n"]


@pytest.mark.parametrize(("raw", "reason"), [(b"", "no text"), (b"caf\xe9", "bad encoding")])
def test_a_file_that_is_no_document_is_counted(tmp_path: Path, raw: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    assert read(tmp_path / "a.txt") == ([], {reason: 1})


@pytest.mark.parametrize(
    ("separator", "text", "documents"),
    [
        ("\n", "one\ntwo\r\n\nthree", ["one", "two", "three"]),
        ("\n\n", "a\nb\n\n\n\nc\n", ["a\nb", "c"]),
        ("<|endoftext|>", "a\n<|endoftext|>\nb <|endoftext|><|endoftext|>", ["a", "b "]),
    ],
)
def test_a_separator_cuts_a_file(tmp_path: Path, separator: str, text: str, documents: list[str]) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read(tmp_path / "a.txt", separator=separator) == read(tmp_path / "a.txt", separator=separator)
    assert texts(read(tmp_path / "a.txt", separator=separator)) == documents
    assert not read(tmp_path / "a.txt", separator=separator)[1]


def test_a_separator_is_typed_with_a_backslash() -> None:
    assert TextOptions(document_separator=r"\n\n").separator == "\n\n"
    assert TextOptions(document_separator=r"a\\n").separator == r"a\n"
    with pytest.raises(ValueError, match="must not be empty"):
        TextOptions(document_separator="")


@given(
    documents=st.lists(st.text("aé \n", max_size=60), max_size=8),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    separator=st.sampled_from([None, "\n", "\n\n", "##", "\n#\n"]),
)
@example(documents=["\na" + 9 * "a" + 8 * "é", ""], sizes=[1], separator="\n\n")
@example(documents=[20 * "a" + "\n\n" + "a" + 30 * "\n", "a"], sizes=[1], separator="##")
@example(documents=[30 * "\n", "a"], sizes=[1], separator="\n#\n")
def test_how_a_file_comes_in_pieces_changes_no_document(
    documents: list[str], sizes: list[int], separator: str | None
) -> None:
    raw = (separator or "").join(documents).encode()
    ends = separator.encode() if separator else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONGEST_DOCUMENT_BYTES", 24)
        pieces, place = [], 0
        while place < len(raw):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(raw[place : place + size])
            place += size
        found = list(lines._cut(pieces, ends))
        assert found == list(lines._cut([raw], ends))
        whole = [document.strip(b"\r\n") for document in raw.split(ends)] if ends else [raw]
        assert found == (
            [part for document in whole for part in lines._parts(document)] or [b""] * (not ends)
        )
    assert max(map(len, found), default=0) <= 24
    for document in found:
        document.decode()
    if separator is None:
        assert b"".join(found) == raw


def test_however_many_line_ends_there_are_they_do_not_fill_the_memory() -> None:
    held = 0

    def pieces() -> Iterator[bytes]:
        nonlocal held
        tracemalloc.reset_peak()
        yield b"one"
        for _ in range(200):
            yield b"\r\n" * 5_000
        yield b"two##"
        held = tracemalloc.get_traced_memory()[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONGEST_DOCUMENT_BYTES", 10_000)
        tracemalloc.start()
        try:
            assert list(lines._cut(pieces(), b"##")) == [b"one", b"two"]
        finally:
            tracemalloc.stop()
    assert 0 < held < 500_000  # of 2 MB


def test_further_fields_come_as_text_wherever_they_lie(tmp_path: Path) -> None:
    rows = [
        {"text": "one", "url": "http://a.org/", "meta": {"year": 2012, "deep": {"er": "x"}}, "flag": True},
        {"url": "http://b.org/"},
        {"text": "three", "url": ["http://c.org/"], "meta": "none"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reading = Reading(columns=("url", "meta.year", "meta.deep.er", "flag"))
    (batch,) = read_json_lines(str(tmp_path / "a.jsonl"), reading)
    assert batch.values == [("http://a.org/", "2012", "x", ""), ("", "", "", "")]
    (tmp_path / "a.txt").write_text("plain")
    (batch,) = read_plain_text(str(tmp_path / "a.txt"), reading)
    assert batch.values == [("", "", "", "")]
