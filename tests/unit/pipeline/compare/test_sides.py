"""The files of a corpus, what it is called, and the build that it is from."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.compare.sides import Build, open_side


def write_build(folder: Path) -> Path:
    for side in ("train", "validation"):
        path = folder / "corpus" / side / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": ["1"], "text": [side]}), path)
    drops = folder / "corpus" / "drops" / "stage=links"
    drops.mkdir(parents=True)
    pq.write_table(pa.table({"url": ["u"], "reason": ["r"], "detail": [""]}), drops / "part-00000.parquet")
    (folder / "corpus" / "funnel.json").write_text('{"steps": [{"step": "links"}, {"step": "split"}]}')
    (folder / "options.json").write_text('{"karma": {"min_karma": 3}}')
    return folder


@pytest.mark.parametrize("within", ["", "corpus"])
def test_a_build_is_known_by_its_folder_and_by_its_corpus(tmp_path: Path, within: str) -> None:
    build = write_build(tmp_path / "mine")
    side = open_side(str(build / within), "text", "")
    assert side.name == "mine"
    assert side.build == Build(
        folder=str(build),
        corpus=str(build / "corpus"),
        options={"karma": {"min_karma": 3}},
        steps=["links", "split"],
    )
    files = [source.address for sources in side.files.values() for source in sources]
    assert [Path(file).parent.name for file in files] == ["train", "validation"]  # and no drops


def test_a_corpus_without_its_build_is_texts(tmp_path: Path) -> None:
    write_build(tmp_path / "mine")
    (tmp_path / "mine" / "options.json").unlink()
    assert open_side(str(tmp_path / "mine" / "corpus"), "text", "").build is None


BAD = [b"", b'{"steps": [{"step"', b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b'{"\xff": 1}']


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in ("options.json", "corpus/funnel.json") for content in BAD]
    + [
        ("options.json", b'{"a":' * 500 + b"1" + b"}" * 500),  # too deep for what walks through it
        ("corpus/funnel.json", b'{"steps": {"links": 1}}'),
        ("corpus/funnel.json", b'{"steps": ["links"]}'),
        ("corpus/funnel.json", b'{"steps": [{"step": 3}]}'),
        ("corpus/funnel.json", b'{"steps": [{"read": 3}]}'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_description_of_a_build_is_a_mistake_before_anything_runs(
    tmp_path: Path, name: str, content: bytes
) -> None:
    build = write_build(tmp_path / "mine")
    (build / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"\Acannot read \S*mine/{name}: .+\Z"):
        open_side(str(build), "text", "")


def test_other_files_in_a_folder_are_passed_by_and_results_too(tmp_path: Path) -> None:
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "deep" / "a.jsonl").write_text(json.dumps({"text": "x"}))
    for name in ("README.md", "picture.png", "statistics.json"):
        (tmp_path / "texts" / name).write_text("[1]")
    (tmp_path / "texts" / "out").mkdir()
    (tmp_path / "texts" / "out" / "b.jsonl").write_text(json.dumps({"text": "y"}))
    side = open_side(str(tmp_path / "texts"), "text", str(tmp_path / "texts" / "out"))
    files = [source.address for sources in side.files.values() for source in sources]
    assert [Path(file).name for file in files] == ["a.jsonl"]
    assert (side.name, side.build) == ("texts", None)


def test_a_missing_column_is_named_beside_those_that_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"], "url": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'text' among content, url"):
        open_side(str(tmp_path), "text", "")
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.jsonl").write_text('{"content": "x"}')
    with pytest.raises(ValueError, match="no field 'text' among content"):
        open_side(str(tmp_path), "text", "")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no corpus at"):
        open_side(str(tmp_path / "nothing"), "text", "")
