"""What the runner's tests share: a made-up web as files."""

from pathlib import Path

import pytest
from made_web import all_files, write_web


@pytest.fixture(scope="session")
def web_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dumps and archives of about sixty pages."""
    folder = tmp_path_factory.mktemp("web")
    write_web(folder, 40)
    return folder


@pytest.fixture(scope="session")
def six_partitions(ray: None, web_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a build of these files in six partitions, on one machine, undisturbed."""
    from pipeline.build_webtext import Options, main

    output = tmp_path_factory.mktemp("six")
    dumps, archives = (f"{web_files}/RS_*.zst",), (f"{web_files}/pages-*.warc.gz",)
    main(Options(submissions=dumps, warcs=archives, partitions=6, output=str(output)))
    return output


@pytest.fixture(scope="session")
def built_in_six(six_partitions: Path) -> dict[str, bytes]:
    """The corpus folder of that build."""
    return all_files(six_partitions / "corpus")
