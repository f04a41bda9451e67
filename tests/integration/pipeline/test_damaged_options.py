"""A damaged options.json or funnel.json of a build is one plain line of every command that reads it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import build_webtext, compare_corpora, show_document
from pipeline.crawl.options import CrawlOptions

BAD = {
    "empty": b"",
    "cut": b'{"partitions": 6',
    "a list": b"[]",
    "too deep to parse": b"[" * 100_000,
    "too deep to walk": b'{"a":' * 500 + b"1" + b"}" * 500,
    "not UTF-8": b"\xff\xfe",
}
OTHER_PARTITIONS = {"none": b"{}", "text": b'{"partitions": "6"}', "zero": b'{"partitions": 0}'}


def write_build(folder: Path) -> Path:
    (folder / "corpus" / "train").mkdir(parents=True)
    pq.write_table(pa.table({"text": ["x"]}), folder / "corpus" / "train" / "part-00000.parquet")
    (folder / "corpus" / "funnel.json").write_text('{"steps": []}')
    (folder / "options.json").write_text('{"partitions": 6}')
    (folder / "pages" / "store").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", ["options.json", "corpus/funnel.json"])
@pytest.mark.parametrize("place", ["corpus", "other"])
def test_builds_are_not_compared_and_nothing_is_written(
    tmp_path: Path, place: str, name: str, kind: str
) -> None:
    builds = {side: str(write_build(tmp_path / side)) for side in ("corpus", "other")}
    (tmp_path / place / name).write_bytes(BAD[kind])
    with pytest.raises(ValueError, match=rf"\Acannot read \S*{place}/{name}: .+\Z"):
        compare_corpora.main(compare_corpora.CompareOptions(**builds, output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", BAD | OTHER_PARTITIONS)
def test_no_documents_life_is_shown(tmp_path: Path, kind: str) -> None:
    build = write_build(tmp_path / "build")
    (build / "options.json").write_bytes((BAD | OTHER_PARTITIONS)[kind])
    with pytest.raises(ValueError, match=r"\Acannot read \S*build/options.json: .+\Z"):
        show_document.main(show_document.ShowOptions(page="http://a.org/", output=str(build)))


@pytest.mark.parametrize("kind", BAD)
def test_a_build_does_not_go_on(tmp_path: Path, kind: str) -> None:
    build = write_build(tmp_path / "build")
    (build / "options.json").write_bytes(BAD[kind])
    (tmp_path / "RS.jsonl").write_text("{}")
    options = build_webtext.Options(
        submissions=(str(tmp_path / "RS.jsonl"),), crawl=CrawlOptions(contact="me@a.org"), output=str(build)
    )
    with pytest.raises(ValueError, match=r"\Acannot read \S*build/options.json: .+\Z"):
        build_webtext.main(options)
    assert (build / "options.json").read_bytes() == BAD[kind]
