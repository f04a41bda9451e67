"""Files come from a store whole or not at all, however often it fails, and each only once."""

import errno
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.runner import storage, transfer
from pipeline.runner.transfer import DamagedError, fetch, one_at_a_time, patiently, scratch_folder, send


class Flaky(MemoryFileSystem):
    """A store whose next answers are these errors, or this content in place of the right one."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012  # as the class above has it
    answers: list[Exception | bytes] = []  # noqa: RUF012
    reads = 0

    def get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        type(self).reads += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            Path(lpath).write_bytes(b"hal")  # a line that breaks leaves a part
            raise answer
        if answer is not None:
            Path(lpath).write_bytes(answer)
            return
        super().get_file(rpath, lpath, **more)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.001)
    Flaky.answers, Flaky.reads = [], 0
    Flaky.store.clear()
    storage.write_text("flaky://b/file", "whole")
    return Flaky


def is_whole(path: Path) -> bool:
    return path.read_text() == "whole"


def test_a_lost_connection_costs_another_try(flaky: type[Flaky], tmp_path: Path, capfd: Any) -> None:
    flaky.answers = [ConnectionResetError("lost"), TimeoutError("slow")]
    fetch("flaky://b/file", tmp_path / "file", is_whole=is_whole)
    assert (tmp_path / "file").read_text() == "whole"
    assert flaky.reads == 3
    assert capfd.readouterr().err.count("flaky://b/file: lost: trying again") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_file_is_fetched_again_and_named_if_it_stays_so(flaky: type[Flaky], tmp_path: Path) -> None:
    flaky.answers = [b"whale"]
    fetch("flaky://b/file", tmp_path / "file", is_whole=is_whole)
    assert (tmp_path / "file").read_text() == "whole"

    flaky.answers = [b"whale"] * 3
    with pytest.raises(DamagedError, match="flaky://b/file is damaged: its checksum is wrong, 3 times"):
        fetch("flaky://b/file", tmp_path / "other", is_whole=is_whole)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x"), OSError(errno.ENOSPC, "x")])
def test_what_another_try_does_not_mend_is_not_tried_again(
    flaky: type[Flaky], tmp_path: Path, error: OSError
) -> None:
    flaky.answers = [error]
    with pytest.raises(type(error)):
        fetch("flaky://b/file", tmp_path / "file")
    assert flaky.reads == 1
    assert not list(tmp_path.iterdir())


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(transfer, "TRY_FOR_S", 0.02)
    with pytest.raises(OSError, match=r"s3://b: \[Errno 5\] no answer"):
        patiently(lambda: _raise(OSError(5, "no answer")), what="s3://b")
    with pytest.raises(KeyError):  # a defect of ours
        patiently(lambda: _raise(KeyError("x")), what="s3://b")


def _raise(error: Exception) -> None:
    raise error


def test_what_a_killed_process_left_goes(flaky: type[Flaky], tmp_path: Path) -> None:
    (tmp_path / ".file.0123abcd.partial").write_text("hal")
    fetch("flaky://b/file", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_of_many_that_want_a_file_one_fetches_it(flaky: type[Flaky], tmp_path: Path) -> None:
    path = tmp_path / "file"

    def want() -> None:
        with one_at_a_time(path):
            if not path.exists():
                fetch("flaky://b/file", path)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flaky.reads == 1


def test_what_is_sent_is_what_comes_back(flaky: type[Flaky], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\xff")
    send(tmp_path / "a", "flaky://b/a")
    fetch("flaky://b/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"


def test_each_address_has_a_scratch_folder_that_shows_no_secret(tmp_path: Path) -> None:
    folders = [scratch_folder(str(tmp_path), "runs", f"s3://{place}/run") for place in ("a", "b")]
    assert len(set(folders)) == 2
    assert scratch_folder(str(tmp_path), "runs", "s3://a/run/") == folders[0]
    assert scratch_folder(str(tmp_path), "runs", "s3://key:secret@a/run?token=x") == folders[0]
    assert folders[0].parent == tmp_path / "runs"


@pytest.mark.parametrize("name", ["NoCredentialsError", "ParamValidationError"])
def test_a_mistake_is_not_tried_again(name: str) -> None:
    """Classes of botocore's, which need not be installed."""
    mistake = type(name, (Exception,), {"__module__": "botocore.exceptions"})
    assert not transfer.is_temporary(mistake())
    assert not transfer.is_temporary(OSError(errno.EINVAL, "The specified bucket is not valid"))
    assert transfer.is_temporary(
        type("ConnectTimeout", (Exception,), {"__module__": "botocore.exceptions"})()
    )


def test_a_scratch_folder_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("pipeline.runner.transfer.fcntl.flock", no_locks)
    with (
        pytest.raises(ValueError, match="has no file locks: give --scratch a local disk"),
        one_at_a_time(tmp_path / "a"),
    ):
        pass
