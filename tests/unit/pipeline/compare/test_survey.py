"""What is counted of each document."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.signatures import COUNTED_WORDS, KEY_COLUMNS, KEYS, SKETCHES, TwoSides, mapped
from pipeline.compare.survey import Columns, Survey, SurveyOptions, Totals, domain_of, scattered, year_of
from pipeline.sources.batches import DocumentBatch
from pipeline.sources.options import Reading

COLUMNS = Columns()
TEXTS = ["It's the same, THE same!", "Ein zweiter Text, der länger ist als der erste.", "你好 world", "?!"]


def batch(texts: list[str], **columns: str) -> DocumentBatch:
    values = tuple(columns.get(name.replace(".", "_"), "") for name in COLUMNS.names)
    encoded = [text.encode() for text in texts]
    return DocumentBatch(
        len(texts), [b""] * len(texts), encoded, sum(map(len, texts)), {"no text": 2}, [values] * len(texts)
    )


def surveyed(folder: Path, batches: list[DocumentBatch], **options: object) -> Survey:
    with Survey(folder, SurveyOptions(reading=Reading(columns=COLUMNS.names), **options)) as survey:
        for one in batches:
            survey.add(one)
        survey.finish()
    return survey


def pairs(survey: Survey) -> dict[str, int]:
    found = [row for table in survey.words.total() for row in table.to_pylist()]
    return {row["word"].decode(): row["count"] for row in found}


def test_words_are_counted_whatever_their_case(tmp_path: Path) -> None:
    survey = surveyed(tmp_path, [batch(TEXTS[:2]), batch(TEXTS[:1])])
    words = Counter(re.findall(r"\w+", " ".join([*TEXTS[:2], TEXTS[0]]).casefold()))
    assert pairs(survey) == words
    assert survey.totals.words == words.total()
    assert survey.totals.documents == 3


def test_how_much_is_counted_at_once_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pairs(surveyed(tmp_path, [batch(TEXTS)]))
    monkeypatch.setattr("pipeline.compare.survey.LETTERS_AT_ONCE", 1)
    survey = surveyed(tmp_path, [batch([text]) for text in TEXTS])
    assert pairs(survey) == expected
    assert expected["你"] == expected["world"] == 1  # a letter is a word there
    parts = [
        part for parts in scattered(surveyed(tmp_path, [batch(TEXTS)]).words.total(), 3) for part in parts
    ]
    assert sorted(word.decode() for part in parts for word in part["word"].to_pylist()) == sorted(expected)


def test_every_column_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    known = {"metadata_url": "https://news.bbc.co.uk/1", "timestamp": "2019-04-25T12:57:54Z"}
    known |= {"first_seen": "2012-01-02 03:04:05.000Z"}
    survey = surveyed(tmp_path, [batch(TEXTS[:1], **known), batch(TEXTS[:1], domain="BBC.co.uk")])
    (table,) = survey.domains.total()
    assert table.to_pylist() == [{"name": b"bbc.co.uk", "documents": 2, "words": 12, "tokens": 0}]
    totals = survey.totals
    assert (totals.with_url, totals.with_domain) == (1, 2)
    assert totals.years == {"2019": 1, "": 1}
    assert totals.first_seen == {"2012": 1, "": 1}
    assert totals.left_out == {"no text": 4}


def test_totals_of_tasks_add_up(tmp_path: Path) -> None:
    whole = surveyed(tmp_path, [batch(TEXTS), batch(TEXTS)]).totals
    added = Totals()
    added.add(surveyed(tmp_path, [batch(TEXTS)]).totals)
    added.add(surveyed(tmp_path, [batch(TEXTS)]).totals.to_json())
    assert added == whole
    assert whole.lengths == {"1": 2, "4": 2, "3": 2, "5": 2}


def test_each_document_has_a_row_in_every_file_of_signatures(tmp_path: Path) -> None:
    surveyed(tmp_path, [batch(TEXTS), batch(TEXTS[:3])])
    keys = mapped(str(tmp_path / KEYS), tmp_path, np.uint64, KEY_COLUMNS)
    assert keys[:, COUNTED_WORDS].tolist() == [6, 9, 3, 1, 6, 9, 3]
    assert len(mapped(str(tmp_path / SKETCHES), tmp_path, np.uint8, 128)) == 7
    assert keys[0, 0] == keys[4, 0] != keys[1, 0]


def test_unsigned_documents_leave_no_files(tmp_path: Path) -> None:
    surveyed(tmp_path, [batch(TEXTS)], has_signatures=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "domain", "found"),
    [
        ("https://www.example.co.uk/x", "other.org", "example.co.uk"),
        ("nonsense", "Sub.Example.org", "example.org"),
        ("", "someone.blogspot.com", "someone.blogspot.com"),
        ("", "not a domain", "not a domain"),
        ("", "  ", ""),
        ("", "<" * 9000, "<" * 253),
        ("http://127.0.0.1:80/x", "", "127.0.0.1"),
    ],
)
def test_the_address_tells_the_domain_and_the_corpus_where_there_is_none(
    url: str, domain: str, found: str
) -> None:
    assert domain_of(url, domain) == found


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("2012-05-06", "2012"),
        ("2012", "2012"),
        ("1931-01-01", "before 1995"),
        ("20120506", ""),
        ("", ""),
        ("soon", ""),
        ("3012-01-01", ""),
        ("2012/05", "2012"),
    ],
)
def test_a_year_is_what_a_date_begins_with(date: str, year: str) -> None:
    assert year_of(date) == year


def test_numbers_of_both_sides_lead_to_partition_and_row() -> None:
    sides = TwoSides(sizes=[2, 0, 3, 1], first_partitions=2)
    assert (sides.first, sides.total) == (2, 6)
    assert [sides.place(number) for number in range(6)] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (3, 0)]
