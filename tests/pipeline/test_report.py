"""The funnel must sum; card and report say what it says."""

import pyarrow as pa
import pytest

from pipeline.report import (
    STATISTICS,
    Step,
    check_funnel,
    dataset_card,
    funnel_json,
    funnel_text,
    report_html,
    statistics,
    steps_of,
)
from pipeline.stages import Counts

STEPS = [
    Step("submissions", "outbound links", Counts(1200, 1000, {"self post": 150, "<b>odd</b>": 50})),
    Step("links", "links", Counts(1000, 700, {"low karma": 300})),
]


def table(domains: list[str]) -> pa.Table:
    rows = [{"domain": name, "karma": 3 + n, "characters": 1000 * (n + 1)} for n, name in enumerate(domains)]
    return pa.Table.from_pylist(rows, schema=STATISTICS)


def test_funnel_that_loses_records_is_refused() -> None:
    check_funnel(STEPS)
    with pytest.raises(AssertionError):
        check_funnel([STEPS[0], Step("links", "links", Counts(999, 999))])


def test_funnel_survives_its_way_through_json() -> None:
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
    ]


def test_card_begins_with_what_the_hub_reads_and_has_every_number() -> None:
    numbers = statistics({"train": table(["a.org", "a.org", "b.org"]), "validation": table(["c.org"])})
    card = dataset_card(STEPS, numbers, ["en", "cy"], "python pipeline/build_webtext.py --x 1")
    head = card.split("---")[1]
    assert "- en\n- cy\n" in head
    assert "path: validation/*.parquet" in head
    for number in ("| train | 3 | 6,000 |", "| validation | 1 | 1,000 |", "low karma 300"):
        assert number in card


def test_report_shows_reasons_as_text_and_domains_by_frequency() -> None:
    numbers = statistics({"train": table(["a.org", "b.org", "b.org"]), "validation": table([])})
    page = report_html(STEPS, numbers, "python x <y>")
    assert "<b>odd</b>" not in page
    assert "python x &lt;y&gt;" in page
    assert page.index("b.org") < page.index("a.org")
    assert numbers.lengths == [("512 to 1,023", 1), ("1,024 to 2,047", 1), ("2,048 to 4,095", 1)]


def test_empty_corpus_has_a_report_too() -> None:
    numbers = statistics({"train": table([]), "validation": table([])})
    assert "0 documents" in report_html([], numbers, "")
