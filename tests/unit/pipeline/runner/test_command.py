"""A user's mistake is one line; our own defects keep their tracebacks."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from pipeline.runner.command import run_command


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the command under test."""

    number: int = 1
    """A number."""


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *arguments: str) -> None:
    def main(options: Options) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr("sys.argv", ["command", *arguments])
    run_command(Options, main, "Does something.")


@pytest.mark.parametrize("mistake", [ValueError("no such\n thing"), FileNotFoundError("no such thing")])
def test_mistake_becomes_one_line(monkeypatch: pytest.MonkeyPatch, mistake: Exception) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, mistake)
    assert ended.value.code == "error: no such thing"


def test_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError())


def test_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, KeyboardInterrupt())
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: run the same command again to resume\n"


def test_store_that_cannot_be_reached_ends_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, EndpointConnectionError(endpoint_url="http://192.0.2.1/"))
    assert ended.value.code == 'error: Could not connect to the endpoint URL: "http://192.0.2.1/"'


def test_unknown_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, None, "--nonsense", "2")
    assert ended.value.code == 2


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Configured:
    data: str
    """Where from."""
    steps: int | None = None
    """How many."""
    paths: tuple[Path, ...] = ()
    """Some."""
    mode: Literal["a", "b"] = "a"
    """Which."""
    inner: Inner = field(default_factory=Inner)
    """More."""


def configured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Configured:
    taken: list[Configured] = []
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    run_command(Configured, taken.append, "Does something.", renamed={"--most-steps": "--steps"})
    return taken[0]


def test_options_that_a_run_wrote_are_taken_and_those_of_the_command_line_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = Configured(data="d", steps=3, paths=(Path("p"), Path("q")), mode="b", inner=Inner(share=0.1))
    file = tmp_path / "options.json"
    file.write_text(json.dumps(asdict(before), default=str))
    assert configured(monkeypatch, "--config", str(file)) == before
    changed = configured(monkeypatch, f"--config={file}", "--steps", "4", "--share", "0.2")
    assert changed == replace(before, steps=4, inner=Inner(share=0.2))
    file.write_text(json.dumps({"identity": {}, "options": {"most_steps": 5}}))
    assert configured(monkeypatch, "--config", str(file), "--data", "e") == Configured(data="e", steps=5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "holds no JSON object of options"),
        ('{"data": "d", "stepz": 3}', "has 'stepz', which is no option of this command"),
        ('{"data": "d", "steps": "three"}', "steps is 'three': Input should be a valid integer"),
        ('{"data": "d", "mode": "c"}', "mode is 'c': Input should be 'a' or 'b'"),
        ('{"data": "d", "inner": {"shares": 1}}', "has 'shares', which is no option"),
    ],
)
def test_a_file_of_other_options_ends_as_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "options.json").write_text(content)
    with pytest.raises(SystemExit) as ended:
        configured(monkeypatch, "--config", str(tmp_path / "options.json"))
    assert message in str(ended.value) and "\n" not in str(ended.value)
    with pytest.raises(SystemExit, match="nowhere"):
        configured(monkeypatch, "--config", "nowhere")


def test_an_old_name_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert configured(monkeypatch, "--data", "d", "--most_steps=7").steps == 7
    assert capsys.readouterr().err == (
        "warning: --most_steps is now --steps; the old name goes with the next version\n"
    )


def test_the_ranks_number_that_a_launcher_adds_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured(monkeypatch, "--local_rank=1", "--data", "d") == Configured(data="d")


PRINTS = """
import sys
from dataclasses import dataclass
from pipeline.runner.command import run_command

@dataclass(frozen=True, kw_only=True)
class Options:
    mistake: bool = False
    \"\"\"Fail.\"\"\"

def main(options):
    print("title \\x1b]0;owned\\x07 é 日本")
    if options.mistake:
        raise ValueError("no file \\x1b[2J here")

run_command(Options, main, "Prints.")
"""


def printed(*arguments: str, encoding: str, terminal: bool) -> bytes:
    """What a command of strangers' words prints."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[4])}
    ours, theirs = pty.openpty() if terminal else os.pipe()
    line = [sys.executable, "-c", PRINTS, *arguments]
    subprocess.run(line, stdout=theirs, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    found = b""
    with contextlib.suppress(OSError):  # a terminal that nobody writes to any more
        while part := os.read(ours, 65536):
            found += part
    os.close(ours)
    return found


def test_no_command_lets_strangers_words_command_a_terminal() -> None:
    found = printed("--mistake", encoding="utf-8", terminal=True)
    assert b"\x1b" not in found and b"\x07" not in found
    assert "title \\x1b]0;owned\\x07 é 日本".encode() in found
    assert b"error: no file \\x1b[2J here" in found


def test_no_letter_ends_a_command_and_a_pipe_gets_the_words_as_they_are() -> None:
    assert printed(encoding="ascii", terminal=False) == b"title \x1b]0;owned\x07 \\xe9 \\u65e5\\u672c\n"
    assert printed(encoding="utf-8", terminal=False) == "title \x1b]0;owned\x07 é 日本\n".encode()
