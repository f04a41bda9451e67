import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.links.candidates import LinkOptions, LinkRules, link_of
from pipeline.links.submissions import find_dumps, read_submissions
from pipeline.runner.records import Drop

SHARED_DATA = Path(__file__).parents[4].parent / "shared" / "data"


def dump(folder: Path, *lines: bytes, name: str = "RS_2012-05") -> str:
    file = folder / name
    file.write_bytes(b"\n".join(lines) + b"\n" * bool(lines))
    return str(file)


def test_each_line_is_a_submission_or_a_drop_that_says_which_line(tmp_path: Path) -> None:
    address = dump(tmp_path, b'{"id": "a"}', b'{"id": ', b"", b"null", b'{"id": "b"}\r')
    first, broken, no_object, last = read_submissions(address)
    assert (first, last) == ({"id": "a"}, {"id": "b"})
    assert isinstance(broken, Drop)
    assert (broken.reason, broken.url) == ("broken JSON line", address)
    assert broken.detail.startswith("line 2: ")
    assert no_object == Drop("broken JSON line", address, "line 4: not an object")


def test_the_last_line_needs_no_end_and_the_first_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "RS.json"
    file.write_bytes(b'\xef\xbb\xbf{"id": "a"}\n{"id": "b"}')
    assert list(read_submissions(str(file))) == [{"id": "a"}, {"id": "b"}]


def test_half_a_surrogate_pair_becomes_a_replacement_character(tmp_path: Path) -> None:
    address = dump(tmp_path, rb'{"title": "cut \ud83d", "other": "whole \ud83d\ude00"}')
    assert list(read_submissions(address)) == [{"title": "cut \ufffd", "other": "whole \U0001f600"}]


def test_hostile_nesting_and_bytes_that_are_no_utf8_are_broken_lines(tmp_path: Path) -> None:
    address = dump(tmp_path, b"[" * 100_000, b'{"title": "\xff"}', b'{"score": NaN}', b'{"id": "a"}')
    items = list(read_submissions(address))
    assert [getattr(item, "reason", item) for item in items] == [*["broken JSON line"] * 3, {"id": "a"}]


def test_characters_cut_by_every_boundary_between_pieces_survive(tmp_path: Path) -> None:
    submissions = [{"id": str(n), "title": "Grüße an 世界 \U0001f600 " * 50} for n in range(2_000)]
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in submissions).encode()
    file = tmp_path / "RS.zst"
    file.write_bytes(zstandard.compress(text))
    assert list(read_submissions(str(file))) == submissions


def test_a_line_over_the_limit_is_dropped_without_being_held(tmp_path: Path) -> None:
    file = tmp_path / "RS.zst"
    long = b'{"id": "' + b"x" * 60_000_000 + b'"}'
    file.write_bytes(zstandard.compress(b'{"id": "a"}\n' + long + b'\n{"id": "b"}\n' + long))
    del long
    tracemalloc.start()
    items = list(read_submissions(str(file), line_limit_bytes=1_000_000))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert items == [
        {"id": "a"},
        Drop("over-long line", str(file), "line 2: over 1,000,000 bytes"),
        {"id": "b"},
        Drop("over-long line", str(file), "line 4: over 1,000,000 bytes"),
    ]
    assert peak_bytes < 8_000_000


def test_a_cut_file_keeps_what_comes_before_and_names_the_damage(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "title": str(n**9)}).encode() for n in range(20_000)]
    packed = zstandard.compress(b"\n".join(lines))
    file = tmp_path / "RS.zst"
    file.write_bytes(packed[: len(packed) // 2])
    *kept, damage = read_submissions(str(file))
    assert isinstance(damage, Drop)
    assert (damage.reason, damage.url) == ("damaged file", str(file))
    assert damage.detail.startswith((f"near line {len(kept):,}: ", f"near line {len(kept) + 1:,}: "))
    assert [submission["id"] for submission in kept if isinstance(submission, dict)] == [
        str(n) for n in range(len(kept))
    ]
    assert len(kept) > 5_000


@pytest.mark.parametrize("content", [b"", zstandard.compress(b"")])
def test_an_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "RS.zst"
    file.write_bytes(content)
    assert list(read_submissions(str(file))) == [Drop("empty file", str(file))]


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="RS_none"):
        list(read_submissions(str(tmp_path / "RS_none.zst")))


def test_dumps_are_found_by_file_folder_glob_and_address_each_once(tmp_path: Path) -> None:
    nested = tmp_path / "reddit" / "submissions"
    nested.mkdir(parents=True)
    names = ["RS_2005-06", "RS_2012-05.zst", "more.jsonl", "RC_2012-05.zst", ".RS_2013.zst.part", "README.md"]
    for name in names:
        (nested / name).touch()
    dumps = [str(nested / name) for name in ("RS_2005-06", "RS_2012-05.zst", "more.jsonl")]
    assert find_dumps([str(tmp_path)]) == dumps
    assert find_dumps([f"{nested}/RS_*", dumps[1], str(nested)]) == dumps
    assert find_dumps([f"{tmp_path}/**/*.jsonl"]) == dumps[2:]
    assert find_dumps([str(nested / "README.md")]) == [str(nested / "README.md")]  # asked for by name


def test_dumps_on_an_object_store_keep_their_address() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/dumps/RS_1.json", b'{"id": "a"}\n')
    try:
        assert (
            find_dumps(["memory://dumps/RS_*"])
            == find_dumps(["memory://dumps"])
            == ["memory:///dumps/RS_1.json"]
        )
        assert list(read_submissions("memory:///dumps/RS_1.json")) == [{"id": "a"}]
    finally:
        memory.rm("/dumps", recursive=True)


@pytest.mark.parametrize("source", ["RS_none.zst", "RS_*.zst", ".", "nosuch://bucket/RS"])
def test_a_source_that_names_nothing_is_a_clear_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=source.replace("*", r"\*").replace(".", r"\.")):
        find_dumps([source])


@pytest.mark.parametrize(
    "field", ["is_self", "promoted", "over_18", "created_utc", "title", "media", "id", "url"]
)
@pytest.mark.parametrize("depth", [99, 100, 1_000, 200_000])
def test_nested_line_is_one_drop_and_its_neighbours_are_read(tmp_path: Path, field: str, depth: int) -> None:
    def line(**changes: object) -> str:
        return json.dumps(
            {"id": "a", "url": "http://a.example/", "score": 5, "title": "t", "media": None} | changes
        )

    file = tmp_path / "RS_nested"
    for opening, closing in ("[]", ('{"a":', "}")):
        nested = line(**{field: "?"}).replace('"?"', opening * depth + "1" + closing * depth)
        file.write_text(f"{line()}\n{nested}\n{line()}\n")
        first, second, third = read_submissions(str(file))
        assert first == third == json.loads(line())
        if depth < 100:
            assert isinstance(second, dict)
            link_of(second, LinkRules(LinkOptions()))
        else:
            assert isinstance(second, Drop) and second.reason == "broken JSON line"


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="needs the real dumps")
def test_real_dumps_are_read_whole() -> None:
    counts: dict[str, Any] = {
        name: sum(isinstance(item, dict) for item in read_submissions(str(SHARED_DATA / name)))
        for name in ("RS_v2_2005-06.xz", "RS_pages.zst")
    }
    assert counts == {"RS_v2_2005-06.xz": 103, "RS_pages.zst": 506}
