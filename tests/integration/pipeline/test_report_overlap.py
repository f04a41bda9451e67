"""The overlap study counts what sets of strings count, resumes, and tells what it did and what was wrong."""

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from pipeline.decontaminate.plain_texts import TextOptions
from pipeline.report_overlap import OverlapOptions, main
from pipeline.runner.records import DOCUMENTS
from pipeline.runner.tables import TableWriter

ROOT = Path(__file__).parents[3]
WORDS = ["The", "cat", "sat;", "on", "a", "mat", "I've", "2"]


def grams(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+", text.lower())
    return [" ".join(words[start : start + 8]) for start in range(len(words) - 7)]


def made_up(seed: int, words: int) -> str:
    """Text in which runs of words come again, now and then."""
    chance = random.Random(seed)
    phrases = [" ".join(random.Random(n).choices(WORDS, k=12)) for n in range(9)]
    return "\n".join(chance.choice(phrases) + " " + chance.choice(WORDS) for _ in range(words // 13))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files of a corpus, and one that is held out."""
    for number in range(4):
        side = "validation" if number == 3 else "train"
        path = tmp_path / "corpus" / side / f"part-{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with TableWriter(path, DOCUMENTS) as writer:
            for document in range(10):
                row: dict[str, Any] = dict.fromkeys(DOCUMENTS.names)
                text = made_up(100 * number + document, 40 * document)
                writer.write(row | {"url": f"http://x.org/{number}|{document}", "text": text})
    return tmp_path / "corpus"


def documents_of(corpus: Path) -> dict[str, str]:
    return {row["url"]: row["text"] for row in ds.dataset(corpus / "train").to_table().to_pylist()}


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(made_up(1, 900).encode()))
    records = [{"text": made_up(seed, 30)} for seed in range(2, 40)]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, records)))
    return str(tmp_path / "a.txt.gz"), str(tmp_path / "b.jsonl")


def report(output: Path) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads((output / "report.json").read_text())
    return printed


def test_shares_are_those_of_sets_of_strings(
    ray: None, corpus: Path, sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"evaluation": sets, "corpus": str(corpus)}
    main(OverlapOptions(**options, output=str(tmp_path / "one"), workers=1))  # type: ignore[arg-type]
    printed = report(tmp_path / "one")
    documents = documents_of(corpus)
    there = {gram for text in documents.values() for gram in grams(text)}
    texts = [[made_up(1, 900)], [made_up(seed, 30) for seed in range(2, 40)]]
    for one, of_set in zip(printed["sets"], texts, strict=True):
        counts = Counter(gram for text in of_set for gram in grams(text))
        found = there & counts.keys()
        assert (one["texts"], one["grams"], one["distinct"]) == (len(of_set), counts.total(), len(counts))
        assert (one["found"], one["distinct_found"]) == (sum(counts[gram] for gram in found), len(found))
        assert one["share"] == one["found"] / one["grams"]
        assert 0.05 < one["distinct_share"] < 0.95
        most = sorted(
            ((len(counts.keys() & set(grams(text))), url) for url, text in documents.items()),
            key=lambda pair: (-pair[0], pair[1]),
        )
        assert [(row["grams"], row["url"]) for row in one["documents"]] == most[:10]
    assert printed["grams"] == sum(len(grams(text)) for text in documents.values())
    assert printed["filter"]["random_strings"] == 1_000_000
    assert printed["filter"]["random_strings_found"] == 0
    assert printed["filter"]["false_positive_rate"] <= 1e-8
    page = (tmp_path / "one" / "report.md").read_text()
    assert page in capsys.readouterr().out
    assert f"| a.txt.gz | 1 | {printed['sets'][0]['grams']:,} |" in page
    assert "| in WebText's training set | 0.88% | 1.63% | 6.31% | 3.94% | 2.42% | 3.75% |" in page
    assert "http://x.org/0\\|9" in page

    shutil.rmtree(tmp_path / "one" / ".stages" / "overlap")
    by_one_worker = {name: (tmp_path / "one" / name).read_bytes() for name in ("report.json", "report.md")}
    for told_of_stage in (r"overlap +3 partitions +30 records .* s$", r"overlap .* 0\.0 s \(3 were there\)$"):
        capsys.readouterr()
        main(OverlapOptions(**options, output=str(tmp_path / "one"), workers=2))  # type: ignore[arg-type]
        assert re.search(told_of_stage, capsys.readouterr().err, re.MULTILINE)
        for name, written in by_one_worker.items():
            assert (tmp_path / "one" / name).read_bytes() == written


def test_a_set_is_compared_with_its_own_training_split(
    ray: None, sets: tuple[str, str], tmp_path: Path
) -> None:
    training = [made_up(1, 500), made_up(77, 2_000)]
    (tmp_path / "train.txt").write_text("\n".join(training))
    texts = TextOptions(evaluation_by_line=True)
    options = OverlapOptions(
        evaluation=sets[:1], against=(str(tmp_path / "train.txt"),), texts=texts, output=str(tmp_path / "out")
    )
    main(options)
    (one,) = report(tmp_path / "out")["sets"]
    counts = Counter(gram for line in made_up(1, 900).splitlines() for gram in grams(line))
    there = {gram for text in training for line in text.splitlines() for gram in grams(line)}
    assert one["found"] == sum(count for gram, count in counts.items() if gram in there)
    assert 0 < one["found"] < one["grams"] == counts.total()
    assert one["documents"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give --corpus .* or --against"),
        ({"corpus": "c", "against": ("d",)}, "give --corpus .* or --against"),
        ({"corpus": "nowhere"}, "no corpus at nowhere"),
        ({"against": ("nowhere",)}, "no file of text at nowhere"),
        ({"corpus": "nowhere", "evaluation": ("nowhere",)}, "no evaluation set at nowhere"),
        ({"corpus": "c", "evaluation": ()}, "no evaluation set is named"),
    ],
)
def test_mistake_is_told_before_anything_is_done(
    tmp_path: Path, sets: tuple[str, str], changes: dict[str, Any], message: str
) -> None:
    options = {"evaluation": sets, "output": str(tmp_path / "out")} | changes
    with pytest.raises(ValueError, match=message):
        main(OverlapOptions(**options))
    assert not (tmp_path / "out").exists()


def test_command_tells_a_wrong_set_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"sentence": "x"}')
    command = [sys.executable, "pipeline/report_overlap.py", "--evaluation", str(tmp_path / "set.jsonl")]
    command += ["--corpus", str(tmp_path), "--output", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*set\.jsonl, line 1 has no field 'text' but sentence: .*\n", result.stderr)
