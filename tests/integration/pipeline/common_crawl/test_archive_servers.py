"""The same bytes from a folder, an HTTP server and an object store, whatever goes wrong between."""

import dataclasses
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from made_common_crawl import Capture, write_cdxj, write_common_crawl, write_dump
from range_server import RangeServer, serving

from pipeline.build_webtext import Options, main
from pipeline.common_crawl.options import ArchiveOptions
from pipeline.runner import storage

URLS = [f"http://site-{number % 5}.example.com/story-{number}" for number in range(40)]
CAPTURES = [
    Capture(url=url, crawl=crawl)
    for number, url in enumerate(URLS)
    for crawl in ("CC-MAIN-2018-43", "CC-MAIN-2013-48")[: 1 + number % 2]
]


@pytest.fixture(scope="module")
def small_crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `archive` and a dump."""
    folder = tmp_path_factory.mktemp("small")
    write_common_crawl(folder / "archive", CAPTURES, zipnum=["CC-MAIN-2013-48"])
    write_dump(folder / "RS_made", dict.fromkeys(URLS))
    return folder


@pytest.fixture
def server(small_crawl: Path) -> Iterator[RangeServer]:
    """The archive over HTTP."""
    with serving(small_crawl / "archive") as running:
        yield running


def options(folder: Path, output: Path | str, root: str, **more: Any) -> Options:
    given: dict[str, Any] = {
        "archive_backoff_s": 0.01,
        "common_crawl": ("CC-MAIN-2018-43", "CC-MAIN-2013-48"),
    }
    return Options(
        submissions=(str(folder / "RS_made"),), output=str(output), partitions=2,
        archive=ArchiveOptions(archive_root=root, **given | more),
    )  # fmt: skip


def corpus(output: str) -> dict[str, bytes]:
    """Every file of the corpus folder."""
    folder = f"{output}/corpus"
    files = {name: storage.open_read(f"{folder}/{name}").read() for name in storage.file_sizes(folder)}
    files["funnel.json"] = json.dumps(json.loads(files["funnel.json"])["steps"]).encode()
    return files


def reasons(output: Path) -> dict[str, str]:
    files = [*output.glob("pages*/*/fetches.parquet"), *output.glob("captures*/*/fetches.parquet")]
    return {row["url"]: row["reason"] for row in ds.dataset(files).to_table().to_pylist()}


@pytest.fixture(scope="module")
def expected(ray: None, small_crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The corpus from a folder on the disk."""
    output = tmp_path_factory.mktemp("disk")
    main(options(small_crawl, output, str(small_crawl / "archive")))
    found = corpus(str(output))
    assert sum(name.startswith("train/") for name in found)
    return found


def test_http_archive_that_loses_connections_and_is_busy_gives_the_same_bytes(
    small_crawl: Path, server: RangeServer, expected: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    main(options(small_crawl, tmp_path / "sound", server.address))
    assert corpus(str(tmp_path / "sound")) == expected
    sizes = [end - begin for _, begin, end in server.ranges]
    files = {name for name, _, _ in server.ranges}
    assert len(sizes) <= 2 * len(files), "neighbours in one file are fetched together"
    server.loses_each, server.busy_each = 5, 4
    main(options(small_crawl, tmp_path / "bad", server.address, archive_retries=8))
    assert corpus(str(tmp_path / "bad")) == expected
    capsys.readouterr()
    main(options(small_crawl, tmp_path / "bad", server.address, archive_retries=8))
    assert "Nothing to do" in capsys.readouterr().out


def test_s3_archive_and_output_give_the_same_bytes(
    ray: None, s3: str, s3_server: Any, small_crawl: Path, expected: dict[str, bytes]
) -> None:
    filesystem, path = storage.locate(s3)
    filesystem.put(f"{small_crawl}/archive/", f"{path}/archive/", recursive=True)
    s3_server.loses_each = 6
    main(options(small_crawl, f"{s3}/out", f"{s3}/archive", common_crawl=("CC-MAIN-20*",)))
    assert s3_server.lost > 2
    assert _texts(corpus(f"{s3}/out")) == _texts(expected)


def _texts(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(("train/", "validation/"))}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda server: server.statuses.update({"/warc/CC": 403}), "archive forbidden"),
        (lambda server: server.statuses.update({"/warc/CC": 404}), "archive file not found"),
        (lambda server: server.statuses.update({"/warc/CC": 416}), "outside the archive file"),
        (lambda server: server.statuses.update({"/warc/CC": 503}), "archive unavailable"),
        (lambda server: setattr(server, "garbage", "/warc/CC"), "damaged archive"),
    ],
    ids=["403", "404", "416", "503", "garbage"],
)  # fmt: skip
def test_archive_that_answers_with_errors_is_a_counted_drop_and_the_run_goes_on(
    ray: None, small_crawl: Path, server: RangeServer, tmp_path: Path,
    spoil: Callable[[RangeServer], None], reason: str,
) -> None:  # fmt: skip
    spoil(server)
    asked = dataclasses.replace(
        options(small_crawl, tmp_path, server.address, archive_retries=1), only="pages"
    )
    with pytest.raises(ValueError, match="no pages are left"):
        main(asked)
    assert reasons(tmp_path) == dict.fromkeys(URLS, reason)


def test_unreadable_index_files_are_told_and_the_others_are_read(
    ray: None, small_crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_crawl / "archive", archive)
    table = archive / "cc-index/table/cc-main/warc/crawl=CC-MAIN-2018-43/subset=warc"
    first, _ = sorted(table.iterdir())
    first.write_bytes(b"no Parquet at all" * 100)
    next(archive.glob("cc-index/table/**/subset=crawldiagnostics/part-00000*")).unlink()
    asked = options(small_crawl, tmp_path / "out", str(archive), common_crawl=("CC-MAIN-2018-43",))
    main(asked)
    said = capsys.readouterr().err
    assert f"unreadable index: {first.name}" in said and "not found" in said
    found = list(reasons(tmp_path / "out").values())
    assert 0 < found.count("") < len(URLS) == len(found)


def test_index_file_that_is_not_to_be_had_now_is_told_and_asked_for_again_by_the_next_run(
    ray: None, small_crawl: Path, server: RangeServer, expected: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.statuses["subset=warc/part-00000"] = 503
    main(options(small_crawl, tmp_path, server.address))
    assert "part-00000-abc.c000.gz.parquet: status 503; the next run asks again" in capsys.readouterr().err
    assert corpus(str(tmp_path)) != expected
    server.statuses.clear()
    main(options(small_crawl, tmp_path, server.address))
    assert corpus(str(tmp_path)) == expected


def test_requests_are_no_more_a_second_than_allowed(
    ray: None, small_crawl: Path, server: RangeServer, tmp_path: Path
) -> None:
    main(options(small_crawl, tmp_path, server.address, archive_requests_per_second=20.0))
    pauses = len(server.at) - 2  # each of two workers begins at once
    assert server.at[-1] - server.at[0] >= 0.9 * pauses / 20


def test_own_archive_with_a_cdxj_index_is_read_too(ray: None, small_crawl: Path, tmp_path: Path) -> None:
    captures = [Capture(url=url) for url in URLS]
    for ending in ("cdxj", "cdxj.gz"):
        folder = tmp_path / f"collections/mine-{ending}"
        (folder / "indexes").mkdir(parents=True)
        (folder / "archive").mkdir()
        index = folder / f"indexes/index.{ending}"
        write_cdxj(index, folder / "archive", captures)
        lines = gzip.decompress(index.read_bytes()) if ending.endswith("gz") else index.read_bytes()
        # What no tool should write, and some do: lines out of order, broken ones, a header.
        spoiled = (
            b"!meta 0 {}\n" + b"\n".join(reversed(lines.splitlines())) + b"\ncom,broken)/ 2018 {\nno line\n"
        )
        index.write_bytes(gzip.compress(spoiled) if ending.endswith("gz") else spoiled)
        output = tmp_path / ending
        named = {"common_crawl": (), "archive_index": (str(index),)}
        main(options(small_crawl, output, str(folder / "archive"), **named))
        assert reasons(output) == dict.fromkeys(URLS, "")
        rows = ds.dataset(list(output.glob("corpus/train/*.parquet"))).to_table().to_pylist()
        assert {row["source"] for row in rows} == {f"mine-{ending}"}


def test_foreign_captures_are_not_fetched_if_asked(
    ray: None, server: RangeServer, small_crawl: Path, tmp_path: Path
) -> None:
    languages = ["eng", "fra", "fra,eng", "", "deu,fra"]
    captures = [Capture(url=f"http://a.example.com/{code or 'none'}", languages=code) for code in languages]
    write_common_crawl(tmp_path / "archive", captures)
    write_dump(tmp_path / "RS_made", dict.fromkeys(capture.url for capture in captures))
    asked = options(
        tmp_path, tmp_path / "out", str(tmp_path / "archive"),
        common_crawl=("CC-MAIN-2018-43",), skip_foreign_captures=True,
    )  # fmt: skip
    main(dataclasses.replace(asked, only="pages"))
    foreign = {"http://a.example.com/fra", "http://a.example.com/deu,fra"}
    assert {url for url, reason in reasons(tmp_path / "out").items() if reason == "other language"} == foreign


def test_captures_are_those_that_warcio_reads_at_the_places_that_the_index_names(
    ray: None, small_crawl: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    from warcio.archiveiterator import ArchiveIterator

    main(dataclasses.replace(options(small_crawl, tmp_path, str(small_crawl / "archive")), only="pages"))
    theirs = {}
    for path in (small_crawl / "archive/crawl-data").rglob("*.warc.gz"):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    theirs[record.rec_headers["WARC-Target-URI"]] = record.content_stream().read()
    ours = {}
    for path in tmp_path.glob("pages_archive/store/*/*.warc.gz"):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                if record.rec_type == "response":
                    ours[record.rec_headers["WARC-Target-URI"]] = record.content_stream().read()
    assert ours.keys() == set(URLS) and ours == theirs
