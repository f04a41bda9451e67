"""The report tells what vocabularies make of a corpus, by counts that others can repeat."""

import json
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import report_vocabulary
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.report.usage import KINDS, Usage, lines_of
from tokenizer.report_vocabulary import ReportOptions

KIND_NAMES = list(KINDS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, vocabulary: Vocabulary) -> Path:
    """Another vocabulary: the first hundred merges of the one."""
    path = tmp_path_factory.mktemp("small") / "tokenizer.json"
    path.write_text(Vocabulary(vocabulary.merges[:100]).tokenizer_json)
    return path


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, vocabulary_folder: Path, small: Path
) -> Path:
    folder = tmp_path_factory.mktemp("report")
    options = ReportOptions(
        vocabulary=str(vocabulary_folder), corpus=str(corpus), output=str(folder), compare=(str(small),)
    )
    report_vocabulary.main(options)
    return folder


def test_the_report_counts_what_the_encoder_gives(
    report: Path, texts: list[str], vocabulary: Vocabulary, small: Path
) -> None:
    said = json.loads((report / "report.json").read_text())
    assert said["corpus"]["validation"]["bytes"] == sum(len(text.encode()) for text in texts[::10])
    assert sum(said["bytes_by_kind"].values()) == sum(len(text.encode()) for text in texts)
    for side, found in zip(said["vocabularies"], [vocabulary, load_vocabulary(str(small))], strict=True):
        encoder = Encoder(found)
        encoded = [encoder.encode(text.encode()).tolist() for text in texts]
        uses = Counter(number for ids in encoded for number in ids)
        lengths = sorted(map(len, encoded))
        assert side["size"] == found.size
        assert sum(split["tokens"] for split in side["splits"].values()) == sum(lengths)
        assert sum(kind["tokens"] for kind in side["kinds"].values()) == sum(lengths)
        never = [number for number in range(found.size - 1) if not uses[number]]
        assert [token["id"] for token in side["never_used"]] == never
        seldom = [number for number in range(found.size - 1) if uses[number] < 10]
        assert side["used_less_than_10_times"] == len(seldom)
        longest = side["longest_tokens"][0]
        assert len(found.tokens[longest["id"]]) == max(map(len, found.tokens))
        assert side["tokens_per_document"]["most"] == lengths[-1]
        assert side["tokens_per_document"]["least"] == lengths[0]
        assert side["tokens_per_document"]["median"] == statistics.median_low(lengths)
        assert side["tokens_per_document"]["mean"] == pytest.approx(statistics.mean(lengths), abs=0.06)
    assert said["vocabularies"][1]["tokens_of_the_first"] == 356


def test_the_page_has_a_column_for_each_vocabulary(report: Path, vocabulary_folder: Path) -> None:
    page = (report / "report.md").read_text()
    said = json.loads((report / "report.json").read_text())["vocabularies"]
    assert page.startswith("# Vocabularies on the same text\n")
    assert f"1. `{vocabulary_folder}`" in page
    per_token = [f"{side['splits']['validation']['bytes_per_token']:.3f}" for side in said]
    row = next(line for line in page.splitlines() if line.startswith("| validation"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["validation", *per_token]
    assert "| entries                         |        1,000 |          357 |" in page


def test_a_second_run_measures_nothing_again_and_says_the_same(
    report: Path, corpus: Path, vocabulary_folder: Path, small: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (report / ".stages").rglob("*")}
    page = (report / "report.md").read_text()
    options = ReportOptions(
        vocabulary=str(vocabulary_folder),
        corpus=str(corpus),
        output=str(report),
        compare=(str(small),),
        workers=1,
    )
    report_vocabulary.main(options)
    assert {path: path.stat().st_mtime_ns for path in (report / ".stages").rglob("*")} == before
    assert (report / "report.md").read_text() == page


def test_a_corpus_without_text_is_told(tmp_path: Path, vocabulary_folder: Path) -> None:
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    rows = {"id": ["a"], "text": [""], "characters": [0]}
    pq.write_table(pa.table(rows), tmp_path / "corpus" / "train" / "a.parquet")
    options = ReportOptions(
        vocabulary=str(vocabulary_folder), corpus=str(tmp_path / "corpus"), output=str(tmp_path / "out")
    )
    with pytest.raises(ValueError, match="no text in"):
        report_vocabulary.main(options)
    assert not (tmp_path / "out" / "report.md").exists()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("", "blank"),
        (" \t\r", "blank"),
        ("see https://example.org", "address"),
        ("    return total", "code"),
        ("if (a) {", "code"),
        ("12 345.67 89", "number"),
        ("in 2019 there were 12", "prose"),
        ("Привет, мир", "other script"),
        ("Grüße aus Köln", "prose"),
        ("GPT のこと 言語", "other script"),
        ("It rained.", "prose"),
    ],
)
def test_kinds_of_lines(line: str, kind: str) -> None:
    sizes, kinds = lines_of([line.encode()])
    assert (sizes.tolist(), [KIND_NAMES[number] for number in kinds]) == ([len(line.encode())], [kind])


@given(st.lists(st.text(st.sampled_from("a\n\r 1é你"), min_size=1), min_size=1, max_size=5))
def test_lines_are_all_of_the_text(texts: list[str]) -> None:
    sizes, _ = lines_of([text.encode() for text in texts])
    assert sizes.sum() == sum(len(text.encode()) for text in texts)
    assert len(sizes) == sum(1 + text.count("\n") for text in texts)


LENGTHS = st.dictionaries(st.integers(0, 9), st.integers(1, 9))


@given(LENGTHS, LENGTHS)
def test_usages_of_parts_add_up(one: dict[int, int], other: dict[int, int]) -> None:
    def usage(lengths: dict[int, int]) -> Usage:
        ordered = dict(sorted(lengths.items()))
        none = Usage.none(3)
        return Usage(
            none.by_kind, none.uses + 1, np.array([*ordered], int), np.array([*ordered.values()], int)
        )

    whole = usage(one) + usage(other)
    added = dict(zip(whole.lengths.tolist(), whole.documents.tolist(), strict=True))
    assert added == Counter(one) + Counter(other)
    assert list(added) == sorted(added)
    assert whole.tokens == 6
