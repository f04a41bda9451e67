"""`ray job submit`, as the README gives it, on a cluster that is running already."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from made_web import all_files

ROOT = Path(__file__).parents[3]
RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture
def head(
    tmp_path_factory: pytest.TempPathFactory, free_ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address that takes jobs of a cluster made by `ray start`, with a token of its own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # As after `source .venv/bin/activate`: jobs run the `python` that the head finds.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(RAY).parent), os.environ["PATH"]]))
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    ports = [f"--{name}={port}" for name, port in zip(names, free_ports, strict=False)]
    log = tmp_path_factory.mktemp("head") / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=100000000", *ports],
            stdout=file, stderr=file, cwd=log.parent, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{free_ports[1]}"
    deadline = time.monotonic() + 60
    while not answers(f"{address}/api/version"):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield address
    for child in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it requires the token
    except OSError:
        return False
    return True


def submit(head: str, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Submit a job from the folder that has the code, as a user would from a fresh checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    whole = [RAY, "job", "submit", "--address", head, "--working-dir", ".", "--", *command]
    return subprocess.run(
        whole, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180
    )


@pytest.mark.slow
@pytest.mark.timeout(240)  # Ray's dashboard takes its time to start, and so does a job
def test_submitted_job_builds_the_same_corpus(
    built_in_six: dict[str, bytes], head: str, web_files: Path, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    shutil.copytree(ROOT / "pipeline", code / "pipeline")
    shutil.copy(ROOT / ".gitignore", code)
    # What Ray would refuse to carry, were it not left out: it takes 500 MB at most.
    (code / "out").mkdir()
    os.truncate(os.open(code / "out" / "large.bin", os.O_CREAT | os.O_WRONLY), 2**30)
    given = ["--submissions", f"{web_files}/RS_*.zst", "--warcs", f"{web_files}/pages-*.warc.gz"]
    command = ["python", "pipeline/build_webtext.py", *given, "--partitions", "6"]
    result = submit(head, code, *command, "--output", str(tmp_path / "job"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "documents in the corpus" in result.stdout
    assert all_files(tmp_path / "job" / "corpus") == built_in_six
