from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.runner.json_text import parse_as, parse_json


def test_json_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "", b"\xff"])
def test_what_is_none_or_too_deep_is_a_mistake(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@dataclass(frozen=True)
class Inner:
    count: int
    share: float = 1.0


@dataclass(frozen=True)
class Outer:
    parts: Mapping[str, Sequence[Inner]]
    name: str | None = None


def test_a_dataclass_is_filled() -> None:
    content = {"parts": {"a": [{"count": 1, "share": 2}]}, "of a later version": 3}
    assert parse_as(Outer, content) == Outer({"a": [Inner(1, 2.0)]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "parts: Field required"),
        ([], "Input should be an object"),
        ({"parts": {"a": [{"count": "1"}]}}, "parts.a.0.count: Input should be a valid integer"),
        ({"parts": {"a": [{"count": 1.5}]}}, "parts.a.0.count: Input should be a valid integer"),
        ({"parts": {"a": [{"count": True}]}}, "parts.a.0.count: Input should be a valid integer"),
        ({"parts": {"a": 3}}, "parts.a"),
        ({"parts": {}, "name": 3}, "name: Input should be a valid string"),
    ],
)
def test_another_type_is_named(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_as(Outer, content)


def test_half_a_surrogate_pair_is_replaced() -> None:
    content = parse_json('{"parts": {"\\udcff": []}, "name": "\\ud83d\\ude00 \\ud83d"}')
    assert parse_as(Outer, content) == Outer({"?": []}, "\U0001f600 ?")


def test_what_is_nested_too_deep_to_be_checked_is_a_mistake() -> None:
    content: Any = []
    for _ in range(100_000):
        content = [content]
    with pytest.raises(ValueError, match="it is nested too deep"):
        parse_as(Outer, content)
