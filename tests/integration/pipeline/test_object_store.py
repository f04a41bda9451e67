"""A whole build on an object store: a real S3 server on loopback, also at the end of a bad line."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.build_webtext import Options, main
from pipeline.runner import lock, storage
from pipeline.runner.executor import StageError

OPTIONS = Options(output="", partitions=2)


def on_disk(folder: Path, output: Path) -> Options:
    dumps, archives = (f"{folder}/RS_*.zst",), (f"{folder}/pages-*.warc.gz",)
    return dataclasses.replace(OPTIONS, submissions=dumps, warcs=archives, output=str(output))


def on_s3(bucket: str, web_files: Path) -> Options:
    filesystem, path = storage.locate(bucket)
    for file in web_files.iterdir():
        filesystem.put_file(str(file), f"{path}/web/{file.name}")
    given = {"submissions": (f"{bucket}/web/RS_*.zst",), "warcs": (f"{bucket}/web",)}
    return dataclasses.replace(OPTIONS, **given, output=f"{bucket}/out")


def corpus(output: str) -> dict[str, bytes]:
    """Every file of the corpus folder, without what names the dump, and so the place, that it came from."""
    folder = f"{output}/corpus"
    names = [name for name in storage.file_sizes(folder) if not name.startswith("drops/stage=submissions")]
    files = {name: storage.open_read(f"{folder}/{name}").read() for name in names}
    files["funnel.json"] = json.dumps(json.loads(files["funnel.json"])["steps"]).encode()
    return files


def markers(output: str) -> dict[str, bytes]:
    """Every partition's marker: a partition that is done again has another one, with other times."""
    found = [name for name in storage.file_sizes(output) if name.endswith(".json") and name.count("/") == 1]
    return {name: storage.read_text(f"{output}/{name}").encode() for name in sorted(found)}


@pytest.fixture(scope="module")
def expected(ray: None, web_files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The corpus that a build on the local disk makes."""
    output = tmp_path_factory.mktemp("local")
    main(on_disk(web_files, output))
    return corpus(str(output))


def test_build_on_s3_gives_the_bytes_of_a_local_one_and_is_not_done_twice(
    s3: str, web_files: Path, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    options = on_s3(s3, web_files)
    main(options)
    assert corpus(options.output) == expected
    before = markers(options.output)
    capsys.readouterr()
    main(options)
    assert "Nothing to do" in capsys.readouterr().out
    assert markers(options.output) == before


def test_build_over_a_line_that_loses_connections_gives_the_same_bytes(
    s3: str, s3_server: Any, web_files: Path, expected: dict[str, bytes]
) -> None:
    options = on_s3(s3, web_files)
    s3_server.loses_each = 4
    before = s3_server.lost
    main(options)
    assert s3_server.lost - before > 2, "no connection was lost"
    assert corpus(options.output) == expected


@pytest.mark.usefixtures("ray")
def test_second_build_into_one_address_is_refused_and_the_lock_of_a_dead_one_is_not(
    s3: str, web_files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = dataclasses.replace(on_s3(s3, web_files), only="links", warcs=())
    monkeypatch.setattr(lock, "RENEW_S", 0.2)
    monkeypatch.setattr(lock, "LOOK_S", 0.1)
    monkeypatch.setattr(lock, "EXPIRE_S", 3.0)
    elsewhere = dataclasses.replace(lock.Holder.here(), machine="another", host="n07")
    monkeypatch.setattr(lock, "SETTLE_S", 100.0)  # not waited for: this store keeps to conditions
    with lock._leased(options.output, elsewhere):
        with pytest.raises(
            ValueError, match=r"another run \(process \d+ on n07, since .*\) is writing to s3://"
        ):
            main(options)
        assert not storage.exists(f"{options.output}/options.json")
    assert not storage.exists(f"{options.output}/{lock.LEASE}")

    monkeypatch.setattr(lock, "SETTLE_S", 0.1)
    storage.write_text(f"{options.output}/{lock.LEASE}", json.dumps(dataclasses.asdict(elsewhere)))
    main(options)
    assert "whether that run still lives" in capsys.readouterr().err
    assert not storage.exists(f"{options.output}/{lock.LEASE}")


def test_a_text_that_is_written_anew_is_read_whole(s3: str) -> None:
    """Asking for its size first, a lease that was renewed in between could not be read."""
    address, texts, is_over = f"{s3}/.lease", ["a" * 100, "b" * 200], threading.Event()
    storage.write_text(address, texts[0])

    def renew() -> None:
        while not is_over.is_set():
            for text in texts:
                storage.write_text(address, text)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        assert {storage.read_text(address) for _ in range(100)} == set(texts)
    finally:
        is_over.set()
        renewing.join()


@pytest.mark.slow
def test_build_whose_store_goes_away_says_so_and_goes_on_when_it_is_back(
    s3: str, s3_server: Any, web_files: Path, expected: dict[str, bytes]
) -> None:
    options = on_s3(s3, web_files)
    s3_server.cut_after_puts = s3_server.puts + 40
    with pytest.raises(StageError, match=r"stage \w+, partition .*(connect|[Cc]onnection)"):
        main(options)
    s3_server.is_cut, s3_server.cut_after_puts = False, None
    before = markers(options.output)
    assert before
    main(options)
    assert corpus(options.output) == expected
    after = markers(options.output)
    assert {name: after[name] for name in before} == before, "committed work was done again"
