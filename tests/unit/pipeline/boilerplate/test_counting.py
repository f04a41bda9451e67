"""Counts are exact, whatever the runs, the pieces and the order."""

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.boilerplate import runs as sorted_runs
from pipeline.boilerplate.counting import frequent
from pipeline.boilerplate.paragraphs import DOCUMENT
from pipeline.boilerplate.runs import Rows, distinct, merged, spilled

Row = tuple[int, int, int]
FEW = st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1])
TABLES = st.lists(st.lists(st.tuples(FEW, FEW, FEW), min_size=1, max_size=30), max_size=6)


def array(rows: Sequence[Row]) -> Rows:
    return np.array(rows, np.uint64).reshape(-1, 3).T


def pieces(rows: Sequence[Row], size: int) -> Iterator[Rows]:
    whole = distinct(array(rows))
    return (whole[:, start : start + size] for start in range(0, whole.shape[1], size))


def listed(merged_pieces: Iterator[Rows]) -> list[Row]:
    return [tuple(row) for piece in merged_pieces for row in piece.T.tolist()]


@given(tables=TABLES, size=st.integers(1, 9))
def test_merged_runs_are_the_sorted_set_of_their_rows(tables: list[list[Row]], size: int) -> None:
    runs = [pieces(rows, 3) for rows in tables]
    assert listed(merged(runs, Path("unused"), size)) == sorted(set(itertools.chain(*tables)))


def test_more_runs_than_are_read_at_once_are_merged_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_runs, "MOST_RUNS", 3)
    chance = random.Random(0)
    tables = [
        [(chance.randrange(9), chance.randrange(9), chance.randrange(9)) for _ in range(20)]
        for _ in range(31)
    ]
    runs = [spilled(pieces(rows, 7), tmp_path, size=4) for rows in tables]
    assert len(list(tmp_path.iterdir())) == 31
    assert listed(merged(runs, tmp_path, 4)) == sorted(set(itertools.chain(*tables)))
    assert not list(tmp_path.iterdir())


def by_hand(rows: set[Row], least: int, share: float) -> list[tuple[int, int, int, int]]:
    """Count as one would with dictionaries; of paragraphs whose number is 3 mod 4, no share is asked."""
    found = []
    for domain, paragraph in sorted({row[:2] for row in rows}):
        documents = sum(row[:2] == (domain, paragraph) for row in rows)
        of = sum(row[:2] == (domain, DOCUMENT) for row in rows)
        many = documents >= least and (documents / of >= share or paragraph % 4 == 3)
        if many and paragraph != DOCUMENT:
            found.append((domain, paragraph, documents, of))
    return found


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    least=st.integers(1, 6),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
)
def test_frequent_paragraphs_are_those_that_a_plain_count_finds_in_any_cut(
    seed: int, size: int, least: int, share: float
) -> None:
    chance = random.Random(seed)
    rows: set[Row] = set()
    for domain in range(4):
        for document in range(chance.randrange(1, 12)):
            rows.add((domain, DOCUMENT, document))
            rows |= {(domain, chance.randrange(1, 9), document) for _ in range(5)}
    found = [
        row
        for counted in frequent(pieces(sorted(rows), size), least, share)
        for row in zip(
            *(
                column.tolist()
                for column in (counted.domain, counted.paragraph, counted.documents, counted.of)
            ),
            strict=True,
        )
    ]
    assert found == by_hand(rows, least, share)


def test_share_is_reached_by_exactly_so_many_documents() -> None:
    rows = [(7, DOCUMENT, document) for document in range(30)] + [(7, 5, document) for document in range(3)]
    for share, count in ((0.1, 1), (0.1001, 0)):
        assert sum(len(counted.paragraph) for counted in frequent(pieces(rows, 8), 2, share)) == count


def test_nothing_to_count_is_nothing() -> None:
    assert not any(len(counted.paragraph) for counted in frequent(iter([]), 2, 0.1))
    assert listed(merged([], Path("unused"))) == []
