import threading
from pathlib import Path

import pytest
import torch

from trainer.checkpoint import tensor_writer
from trainer.checkpoint.folder import FileRecord, write_file, write_tensors
from trainer.checkpoint.tensor_writer import TensorWriter


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3,), value)}


def test_files_and_records_are_those_of_writing_one_by_one(tmp_path):
    with TensorWriter() as writer:
        for number in range(3):
            writer.write(tmp_path / f"{number}", tensors(number))
    assert writer.error == ""
    for number in range(3):
        record = write_tensors(tmp_path / "expected", tensors(number))
        assert writer.records[f"{number}"] == record
        assert (tmp_path / f"{number}").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_file_is_written_while_the_next_is_gathered_and_only_one(tmp_path, monkeypatch):
    gathered, begun = threading.Event(), []

    def write_when_gathered(path: Path, content: bytes) -> FileRecord:
        assert gathered.wait(60)
        begun.append(path.name)
        return write_file(path, content)

    monkeypatch.setattr(tensor_writer, "write_file", write_when_gathered)
    with TensorWriter() as writer:
        first, second = tensors(1), tensors(2)
        writer.write(tmp_path / "first", first)  # returns before it is written
        assert (first, begun) == ({}, [])
        gathered.set()
        writer.write(tmp_path / "second", second)  # returns only when the first is
        assert "first" in writer.records
    assert begun == ["first", "second"]


def test_after_a_file_that_could_not_be_written_there_are_no_more(tmp_path):
    with TensorWriter() as writer:
        writer.write(tmp_path / "nowhere" / "first", tensors(1))
        writer.write(tmp_path / "second", tensors(2))
    assert "No such file or directory" in writer.error
    assert writer.records == {}
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_kind_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_writer, "write_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), TensorWriter() as writer:
        writer.write(tmp_path / "first", tensors(1))
