"""What is found of an evaluation set, and what is too much, by sets of strings and by hand."""

import dataclasses
import gzip
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decontaminate.ngrams import grams_of
from pipeline.decontaminate.overlap import (
    EvaluationSet,
    Finder,
    Overlap,
    OverlapLimits,
    describe,
    filter_of,
    find_sets,
    is_too_much,
    names_of,
    read_set,
)
from pipeline.decontaminate.plain_texts import TextOptions

LINES = TextOptions(evaluation_by_line=True)
WORD = st.sampled_from("ab")  # two words make 256 different 8-grams: many are found, few are everywhere
TEXTS = st.lists(st.lists(WORD, max_size=25).map(" ".join), max_size=5)


def grams(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+", text.lower())
    return [" ".join(words[start : start + 8]) for start in range(len(words) - 7)]


def passages(text: str, known: set[str]) -> list[str]:
    """The longest passages of a text whose 8-grams are all known, by trying every one."""
    words = text.split()
    spans = [(start, end) for start in range(len(words)) for end in range(start + 8, len(words) + 1)]
    covered = [(start, end) for start, end in spans if set(grams(" ".join(words[start:end]))) <= known]
    return [" ".join(words[start:end]) for start, end in covered]


def evaluation_of(folder: Path, texts: Sequence[str], options: TextOptions = LINES) -> EvaluationSet:
    path = folder / "set.txt"
    path.write_text("\n".join(texts))
    return read_set(str(path), options)


def overlaps(evaluations: Sequence[EvaluationSet], documents: Sequence[str]) -> list[list[Overlap]]:
    bloom = filter_of(evaluation.grams for evaluation in evaluations)
    return Finder(evaluations, bloom).overlaps(grams_of(documents))


@given(TEXTS, TEXTS, TEXTS)
def test_overlaps_are_those_of_sets_of_strings(
    folder: Path, one: list[str], other: list[str], documents: list[str]
) -> None:
    evaluations = [evaluation_of(folder, texts) for texts in (one, other)]
    for texts, found in zip((one, other), overlaps(evaluations, documents), strict=True):
        known = {gram for text in texts for gram in grams(text)}
        expected = []
        for number, document in enumerate(documents):
            held = [gram for gram in grams(document) if gram in known]
            runs = passages(document, known)
            whole = [len(text.split()) for text in texts if len(text.split()) >= 8 and text in runs]
            if held:
                share = len(held) / len(grams(document))
                longest = max(len(run.split()) for run in runs)
                expected.append(Overlap(number, len(set(held)), share, longest, max(whole, default=0)))
        assert found == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@given(TEXTS)
def test_a_set_counts_every_8_gram_of_its_texts(folder: Path, texts: list[str]) -> None:
    found = evaluation_of(folder, texts)
    counts = Counter(gram for text in texts for gram in grams(text))
    assert sorted(found.counts.tolist()) == sorted(counts.values())
    assert found.texts == sum(bool(text) for text in texts)
    assert np.all(np.diff(found.grams.astype(object)) > 0)
    found.write(folder / "grams.npz")
    back = EvaluationSet.read(str(folder / "grams.npz"))
    for name in ("grams", "counts", "examples"):
        assert np.array_equal(getattr(back, name), getattr(found, name))


@given(st.lists(st.lists(WORD, max_size=30).map(" ".join), max_size=5))
def test_a_plain_file_is_one_text_whatever_its_lines(folder: Path, texts: list[str]) -> None:
    found = evaluation_of(folder, texts, TextOptions())
    assert found.counts.sum() == len(grams(" ".join(texts)))
    assert (found.texts, len(found.examples)) == (1, 0)


# --- what is too much ---

CHANCE = random.Random(5)


def prose(words: int) -> str:
    """Words that come but once."""
    return " ".join(f"w{CHANCE.randrange(10**9)}" for _ in range(words))


def cut(text: str, first: int, words: int) -> str:
    return " ".join(text.split()[first : first + words])


TEST, ARTICLE = prose(600), prose(5_000)
SENTENCE, NOTICE = prose(25), prose(12)
MISPELT = " ".join("unk" if number % 12 == 0 else word for number, word in enumerate(TEST.split()))


@pytest.mark.parametrize(
    ("document", "goes"),
    [
        (ARTICLE, False),
        (f"{ARTICLE} {cut(TEST, 100, 49)} {ARTICLE}", False),  # a quotation in a long article
        (f"{ARTICLE} {cut(TEST, 100, 50)} {ARTICLE}", True),  # a paragraph of the test in a long article
        (f"{cut(TEST, 0, 30)} {cut(ARTICLE, 0, 30)} {cut(TEST, 50, 30)}", True),  # most of a short one
        (MISPELT, True),  # a copy whose passages are all short
        (f"{MISPELT} {ARTICLE}", False),
        (" ".join(f"{cut(TEST, 10, 12)} {cut(ARTICLE, 20 * n, 40)}" for n in range(99)), False),  # a phrase
        (f"{ARTICLE} {SENTENCE}", True),  # a whole record
        (f"{ARTICLE} {cut(SENTENCE, 0, 24)}", False),
        (f"{NOTICE} {ARTICLE}", False),  # whole, but too short to be anything
        ("", False),
        ("one two three", False),
    ],
)
def test_a_document_goes_for_a_passage_a_share_or_a_whole_example(
    folder: Path, document: str, goes: bool
) -> None:
    evaluation = evaluation_of(folder, [TEST, SENTENCE, NOTICE])
    (found,) = overlaps([evaluation], [ARTICLE[:300], document])
    too_much = [overlap.document for overlap in found if is_too_much(overlap, OverlapLimits())]
    assert too_much == ([1] if goes else [])


def test_of_texts_that_begin_alike_each_is_an_example_of_its_own(folder: Path) -> None:
    start = prose(10)
    short, long = f"{start} {prose(5)}", f"{start} {prose(20)}"
    evaluation = evaluation_of(folder, [short, long, f"{long} {prose(3)}"])
    documents = [cut(long, 0, 15), cut(long, 0, 29), short, f"{ARTICLE} {long} x"]
    (found,) = overlaps([evaluation], documents)
    assert [overlap.example_words for overlap in found] == [0, 0, 15, 30]


def test_a_passage_does_not_go_on_into_the_next_document(folder: Path) -> None:
    evaluation = evaluation_of(folder, [TEST], TextOptions())
    halves = [cut(TEST, 0, 40), cut(TEST, 40, 40)]
    (found,) = overlaps([evaluation], halves)
    assert [overlap.words_in_a_row for overlap in found] == [40, 40]


@pytest.mark.parametrize(
    ("limits", "goes"),
    [
        ({"decontaminate_words": 30}, True),
        ({"decontaminate_words": 31}, False),
        ({"decontaminate_share": 23 / 93}, True),
        ({"decontaminate_share": 24 / 93}, False),
    ],
)
def test_limits_are_reached_from_the_given_figure_on(
    folder: Path, limits: dict[str, float], goes: bool
) -> None:
    evaluation = evaluation_of(folder, [TEST], TextOptions())
    (found,) = overlaps([evaluation], [f"{cut(TEST, 5, 30)} {cut(ARTICLE, 0, 70)}"])
    strict = OverlapLimits(decontaminate_words=1_000, decontaminate_share=1.0)
    assert is_too_much(found[0], dataclasses.replace(strict, **limits)) == goes  # type: ignore[arg-type]


def test_what_is_told_of_an_overlap_names_the_set(folder: Path) -> None:
    (found,) = overlaps([evaluation_of(folder, [SENTENCE])], [f"{SENTENCE} {cut(ARTICLE, 0, 75)}"])
    printed = "ptb.txt: 25 words in a row, a whole example of 25, 19.4% of its 8-grams"  # 18 of 93
    assert describe(found[0], "ptb.txt") == printed


@pytest.mark.parametrize(
    "wrong",
    [
        {"decontaminate_words": 7},
        {"decontaminate_example_words": 0},
        {"decontaminate_share": 0.0},
        {"decontaminate_share": 1.1},
    ],
)
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        OverlapLimits(**wrong)  # type: ignore[arg-type]


# --- files ---

TWO_FIELDS = TextOptions(evaluation_field=("a", "b"))
RECORDS = [{"text": cut(TEST, 0, 20)}, {"text": cut(TEST, 20, 20), "label": 1}]
JSONL = b"\n\n".join(map(orjson.dumps, RECORDS))


@pytest.mark.parametrize(
    ("name", "content", "options", "texts"),
    [
        ("a.txt", TEST.encode(), TextOptions(), 1),
        ("a.txt", b"\xef\xbb\xbf" + TEST.encode(), TextOptions(), 1),
        ("a.TXT.gz", gzip.compress(TEST.encode(), mtime=0), TextOptions(), 1),
        ("a.tokens", zstandard.compress(TEST.encode()), TextOptions(), 1),
        ("a.txt", TEST.replace(" ", "\u2028 ").encode(), TextOptions(), 1),
        ("a.txt", f"{TEST}\r\n\n{TEST}".encode(), LINES, 2),
        ("a.jsonl", JSONL, TextOptions(), 2),
        ("a.jsonl.gz", gzip.compress(JSONL, mtime=0), LINES, 2),
        ("a.ndjson", b'{"a": ["%s", "x"], "b": "y"}' % TEST.encode(), TWO_FIELDS, 3),
    ],
)  # fmt: skip
def test_sets_are_read_whatever_their_form(
    tmp_path: Path, name: str, content: bytes, options: TextOptions, texts: int
) -> None:
    (tmp_path / name).write_bytes(content)
    assert find_sets([str(tmp_path)], options) == [str(tmp_path / name)]
    found = read_set(str(tmp_path / name), options)
    written = [record["text"] for record in RECORDS] if "jsonl" in name else [TEST]
    assert set(found.grams.tolist()) == set(grams_of(written).hashes.tolist())
    assert found.texts == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty, where an evaluation set was expected"),
        ("a.txt", b"one two three four five six seven.", "no text of 8 words or more in .*a.txt"),
        ("a.txt", b"caf\xe9 is not in UTF-8", "a.txt is not UTF-8 text: byte 3 is invalid continuation byte"),
        ("a.txt", b"x " * 70_000 + b"\xff", "byte 140,000 is invalid start byte"),
        ("a.txt.gz", gzip.compress(TEST.encode(), mtime=0)[:-9], "a.txt.gz is damaged: ends in the middle"),
        ("a.jsonl", b"one two three four five six seven eight", "line 1 is not JSON"),
        ("a.jsonl", b"\n[1]", "line 2 is not a JSON object with the field text"),
        ("a.jsonl", b'{"ctx": "x", "label": 1}', "line 1 has no field 'text' but ctx, label: name it by"),
        ("a.jsonl", b'{"text": [1]}', "line 1, field 'text' holds neither a text nor a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_set_is_told_in_a_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as printed:
        find_sets([str(tmp_path / name)], TextOptions())
        read_set(str(tmp_path / name), TextOptions())
    assert "\n" not in str(printed.value)


def test_a_set_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"no evaluation set at nowhere\.txt"):
        find_sets(["nowhere.txt"], TextOptions())
    with pytest.raises(ValueError, match="no evaluation set is named"):
        find_sets([], TextOptions())


def test_sets_of_the_same_name_are_told_apart() -> None:
    assert names_of(["x/test.txt", "y/ptb.txt"]) == ["test.txt", "ptb.txt"]
    assert names_of(["/a/x/test.txt", "/a/y/test.txt"]) == ["x/test.txt", "y/test.txt"]
    assert names_of([]) == []
