"""A file is what it should be, or its name is told with what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.runner.json_file import read_as


@dataclass(frozen=True)
class Outer:
    parts: Mapping[str, int]
    name: str | None = None


def test_a_file_is_read_as_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"parts": {"a": 1}, "name": "é"}', encoding="utf-8")
    assert read_as(Outer, str(tmp_path / "a.json")) == Outer({"a": 1}, "é")


@pytest.mark.parametrize(
    "content", [b"", b'{"parts": {', b"[]", b'{"parts": 3}', b"[" * 100_000, b'"\xff"'], ids=range(6)
)
def test_a_file_that_is_not_what_it_should_be_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"\Acannot read \S*a\.json: .+\Z"):
        read_as(Outer, str(tmp_path / "a.json"))
