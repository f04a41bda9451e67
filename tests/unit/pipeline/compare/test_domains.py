"""Domains of two corpora, out of tables that come block by block."""

import random
from collections.abc import Iterator

import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from pipeline.compare.domains import BOTH, by_label, compare_domains, likeness_by_labels
from pipeline.corpus.likeness import likeness_to_webtext


def tables(counts: dict[str, tuple[int, int]], rows: int = 100) -> Iterator[pa.Table]:
    names = sorted(counts)
    for start in range(0, len(names), rows):
        piece = names[start : start + rows]
        some, others = ([counts[name][side] for name in piece] for side in (0, 1))
        sizes = [[10 * count for count in side] for side in (some, others)]
        columns = [[name.encode() for name in piece], some, sizes[0], some, others, sizes[1], others]
        yield pa.table(columns, schema=BOTH)


def test_what_is_shared_is_counted_by_domain_and_by_document() -> None:
    found = compare_domains(tables({"": (7, 1), "a.org": (6, 0), "b.org": (2, 3), "c.org": (0, 1)}))
    assert (found.distinct, found.shared, found.covered) == ((2, 2), 1, (0.25, 0.75))
    assert [row["domain"] for row in found.largest] == ["a.org", "b.org", "c.org"]
    assert found.largest[1] == {
        "domain": "b.org",
        **{"documents": 2, "words": 20, "tokens": 2},
        **{"other_documents": 3, "other_words": 30, "other_tokens": 3},
    }
    assert found.ranking.shared == 1
    assert found.ranking.correlation == pytest.approx(spearmanr([6, 2, 0], [0, 3, 1]).statistic)


def test_blocks_of_rows_change_nothing() -> None:
    chance = random.Random(1)
    counts = {
        f"{n}.org": (int(chance.paretovariate(1)) - 1, int(chance.paretovariate(1)) - 1) for n in range(3000)
    }
    expected = compare_domains(tables(counts, 5000))
    assert compare_domains(tables(counts, 71)) == expected
    assert expected.ranking.top == (1000, 1000)
    assert expected.distinct[0] == sum(count > 0 for count, _ in counts.values())


def test_without_domains_there_is_no_ranking() -> None:
    found = compare_domains(tables({"": (7, 1)}))
    assert (found.covered, found.distinct, found.ranking.top, found.largest) == ((0, 0), (0, 0), (0, 0), [])


def test_likeness_to_webtext_is_the_same_block_by_block() -> None:
    counts = {"bbc.co.uk": (5, 1), "x.blogspot.com": (2, 0), "y.blogspot.de": (3, 0), "own.org": (4, 0)}
    labels: dict[str, tuple[int, int]] = {}
    for table in by_label(tables(counts, 2)):
        for row in table.to_pylist():
            name = row["domain"].decode()
            before = labels.get(name, (0, 0))
            labels[name] = (before[0] + row["documents"], before[1] + row["other_documents"])
    assert set(labels) == {"bbc", "blogspot", "own"}
    first, other = likeness_by_labels(tables(labels, 1))
    assert first == likeness_to_webtext((name, count) for name, (count, _) in counts.items())
    assert other is not None and (other.documents, other.listed) == (1, 1)
    assert likeness_by_labels(tables({"bbc": (0, 1)}))[0] is None
