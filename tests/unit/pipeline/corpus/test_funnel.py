"""The funnel must sum, and say every reason."""

import pytest

from pipeline.corpus.funnel import Step, check_funnel, funnel_json, funnel_text, steps_of
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
