"""A user's mistake is one line; our own defects keep their tracebacks."""

from dataclasses import dataclass

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
    assert capsys.readouterr().err == "interrupted: run the same command again to go on\n"


def test_store_that_cannot_be_reached_ends_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, EndpointConnectionError(endpoint_url="http://192.0.2.1/"))
    assert ended.value.code == 'error: Could not connect to the endpoint URL: "http://192.0.2.1/"'


def test_unknown_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, None, "--nonsense", "2")
    assert ended.value.code == 2
