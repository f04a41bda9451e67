"""The funnel must sum, and say every reason."""

import json
from pathlib import Path

import pytest

from pipeline.corpus.funnel import (
    Step,
    check_funnel,
    funnel_json,
    funnel_text,
    read_funnel,
    read_step_names,
    steps_of,
)
from pipeline.runner.stages import Counts

STEPS = [
    Step("submissions", "outbound links", Counts(1200, 1000, {"self post": 150, "<b>odd</b>": 50})),
    Step("links", "links", Counts(1000, 700, {"low karma": 300})),
    Step(
        "trimmed", "documents", Counts(700, 700), changed={"documents shortened": 5, "characters taken": 1234}
    ),
]


def test_funnel_that_loses_records_is_refused() -> None:
    check_funnel(STEPS)
    with pytest.raises(AssertionError):
        check_funnel([STEPS[0], Step("links", "links", Counts(999, 999))])


def test_funnel_survives_its_way_through_json() -> None:
    assert steps_of(funnel_json(STEPS)) == STEPS
    assert funnel_text(steps_of(funnel_json(STEPS))) == funnel_text(STEPS)


def test_funnel_text_has_a_line_for_every_reason() -> None:
    lines = [line.split(maxsplit=1) for line in funnel_text(STEPS).splitlines()]
    assert lines == [
        ["1,200", "submissions"],
        ["-150", "self post"],
        ["-50", "<b>odd</b>"],
        ["1,000", "outbound links"],
        ["-300", "low karma"],
        ["700", "links"],
        ["700", "documents"],
        ["5", "documents shortened"],
        ["1,234", "characters taken"],
    ]


def test_the_steps_of_a_funnel_file_are_in_their_order(tmp_path: Path) -> None:
    content = {"fingerprint": "f", "steps": funnel_json(STEPS)}
    (tmp_path / "funnel.json").write_text(json.dumps(content))
    assert read_funnel(str(tmp_path)) == content
    assert read_step_names(str(tmp_path)) == ["submissions", "links", "trimmed"]
    (tmp_path / "funnel.json").write_text("{}")
    assert read_step_names(str(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b'{"steps": [', b"[]", b"[" * 100_000, b"\xff"], ids=range(5))
def test_a_damaged_funnel_file_is_none_to_its_build_and_a_mistake_to_others(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "funnel.json").write_bytes(content)
    assert read_funnel(str(tmp_path)) == {}
    with pytest.raises(ValueError, match=r"cannot read .*funnel\.json: "):
        read_step_names(str(tmp_path))


def test_without_a_funnel_file_there_is_no_funnel(tmp_path: Path) -> None:
    assert read_funnel(str(tmp_path)) == {}
