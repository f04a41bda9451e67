"""Ctrl-C in the middle of a build: one line, a code of its own, nothing left running, nothing lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from made_web import all_files

from pipeline.build_webtext import Options, main

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_interrupted_build_ends_with_a_line_and_leaves_no_process(
    built_in_six: dict[str, bytes], web_files: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "pipeline/build_webtext.py", "--partitions", "6", "--output", str(tmp_path)]
    dumps, archives = (f"{web_files}/RS_*.zst",), (f"{web_files}/pages-*.warc.gz",)
    command += ["--submissions", *dumps, "--warcs", *archives]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    build = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, text=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("documents/.*.partial")):
        assert build.poll() is None and time.monotonic() < deadline, "no page was extracted"
        time.sleep(0.02)
    started = psutil.Process(build.pid).children(recursive=True)
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does: to all that it runs
    _, printed = build.communicate(timeout=60)
    assert build.returncode == 130
    assert printed.endswith("interrupted: run the same command again to resume\n"), printed
    assert "Traceback" not in printed
    assert psutil.wait_procs(started, timeout=30)[1] == [], "processes are left"
    main(Options(submissions=dumps, warcs=archives, partitions=6, output=str(tmp_path)))
    assert all_files(tmp_path / "corpus") == built_in_six
