"""Which capture is the best, and which are none to take."""

import itertools
import random

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common_crawl.captures import (
    CAPTURE_COLUMNS,
    CAPTURES,
    DAY_S,
    Kind,
    Wanted,
    best,
    distances,
    kinds,
)


def kind_of(wanted: Wanted = Wanted(), **row: object) -> Kind:  # noqa: B008
    usual = {"fetch_status": 200, "content_mime_detected": "text/html"}
    columns = {name: pa.array([(usual | row).get(name)], kind) for name, kind in CAPTURE_COLUMNS.items()}
    return Kind(kinds(pa.table(columns), wanted)[0].as_py())


def test_kinds_of_captures() -> None:
    english = Wanted(languages=("eng",))
    assert kind_of() is Kind.PAGE
    assert kind_of(content_mime_detected="application/xhtml+xml") is Kind.PAGE
    assert kind_of(content_mime_detected=None, content_mime_type="text/html") is Kind.PAGE
    assert kind_of(content_mime_detected=None) is Kind.PAGE  # the earliest tables do not say
    assert kind_of(content_mime_detected="application/pdf", content_mime_type="text/html") is Kind.NOT_HTML
    assert kind_of(content_mime_type="warc/revisit", content_mime_detected=None) is Kind.NOT_HTML
    assert kind_of(content_truncated="length") is Kind.TRUNCATED
    assert kind_of(content_truncated="") is Kind.PAGE
    assert [kind_of(fetch_status=status) for status in (301, 302, 303, 307, 308)] == [Kind.REDIRECT] * 5
    assert [kind_of(fetch_status=status) for status in (304, 404, 500, 206, None)] == [Kind.NOT_200] * 5
    assert kind_of(english, content_languages="fra") is Kind.OTHER_LANGUAGE
    assert [kind_of(english, content_languages=said) for said in ("fra,eng", "eng", "", None)] == [
        Kind.PAGE
    ] * 4
    assert kind_of(content_languages="fra") is Kind.PAGE


@given(st.lists(st.integers(-4_000, 4_000), min_size=1), st.integers(0, DAY_S - 1))
def test_nearest_day_is_best_and_later_comes_before_earlier(days: list[int], second: int) -> None:
    submitted = 20_000 * DAY_S
    fetched = np.array([submitted + day * DAY_S + second for day in days], np.int64)
    found = distances(fetched, np.full(len(days), submitted, np.int64))
    chosen = days[int(np.argmin(found))]
    assert all((abs(chosen), chosen < 0) <= (abs(day), day < 0) for day in days)


def test_of_a_link_without_a_time_the_latest_capture_is_best() -> None:
    fetched = np.array([100, 300, 200], np.int64) * DAY_S
    assert int(np.argmin(distances(fetched, np.full(3, -1, np.int64)))) == 1


def test_best_of_parts_is_the_best_of_all_in_any_order() -> None:
    rows = [
        dict.fromkeys(CAPTURES.names)
        | {"link": link, "key": "k", "kind": kind, "distance": distance, "source": "s"}
        | {"warc_filename": f"f{number}"}
        for number, (link, kind, distance) in enumerate(itertools.product("abc", (0, 1), (5, 3, 3, 9)))
    ]  # fmt: skip
    chance = random.Random(0)
    expected = best(pa.Table.from_pylist(rows, schema=CAPTURES)).to_pylist()
    assert [(row["link"], row["kind"], row["distance"]) for row in expected] == [
        (link, kind, 3) for link in "abc" for kind in (0, 1)
    ]
    for _ in range(10):
        chance.shuffle(rows)
        cut = chance.randrange(len(rows))
        parts = [best(pa.Table.from_pylist(part, schema=CAPTURES)) for part in (rows[:cut], rows[cut:])]
        assert best(pa.concat_tables(parts)).to_pylist() == expected
