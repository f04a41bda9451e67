"""Exactly the documents that copy evaluation sets go, and nothing else changes."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from made_web import all_files

from pipeline.build_webtext import Options, main
from pipeline.corpus.funnel import read_funnel
from pipeline.decontaminate.overlap import OverlapLimits
from pipeline.show_document import ShowOptions
from pipeline.show_document import main as show


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def holds(document: str, passage: list[str]) -> bool:
    return f" {' '.join(passage)} " in f" {' '.join(words(document))} "


def options(web_files: Path, output: Path, **changes: Any) -> Options:
    dumps, archives = (f"{web_files}/RS_*.zst",), (f"{web_files}/pages-*.warc.gz",)
    return Options(submissions=dumps, warcs=archives, output=str(output), partitions=6, **changes)


def refined(output: Path) -> list[dict[str, Any]]:
    files = sorted(output.glob("refined/0*/documents.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def life(output: Path, page: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        show(ShowOptions(page=page, output=str(output)))
    return printed.getvalue()


def test_documents_that_copy_an_evaluation_set_go_and_the_rest_is_as_it_was(
    six_partitions: Path, web_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(six_partitions, tmp_path / "out")
    before = all_files(tmp_path / "out" / "corpus")
    assert "decontaminate" not in before["README.md"].decode()
    documents = sorted(refined(tmp_path / "out"), key=lambda row: -len(row["text"]))
    # A test that is made of 60 words in the middle of each of two long pages, one that nobody has.
    passages = [words(row["text"])[50:110] for row in documents[:2]]
    test, other = tmp_path / "made.test.txt", tmp_path / "other.jsonl"
    test.write_text("\n".join(" ".join(passage).upper() for passage in passages))
    other.write_text(json.dumps({"text": " ".join(f"word{number}" for number in range(99))}))
    copies = {row["url"] for row in documents if any(holds(row["text"], passage) for passage in passages)}
    assert 2 <= len(copies) < len(documents) / 2

    changed = options(web_files, tmp_path / "out", decontaminate=(str(test), str(other)), workers=1)
    main(changed)
    drops = ds.dataset(tmp_path / "out" / "corpus" / "drops", partitioning="hive").to_table().to_pylist()
    gone = [drop for drop in drops if drop["stage"] == "decontaminated"]
    assert {drop["url"] for drop in gone} == copies
    assert {drop["reason"] for drop in gone} == {"evaluation overlap"}
    assert all(drop["detail"].startswith("made.test.txt: 60 words in a row, ") for drop in gone)
    steps = read_funnel(str(tmp_path / "out" / "corpus"))["steps"]
    for one, after in itertools.pairwise(steps):
        assert one["kept"] == after["read"]
    (step,) = [step for step in steps if step["step"] == "decontaminated"]
    assert step["dropped"] == {"evaluation overlap": len(copies)}
    card = (tmp_path / "out" / "corpus" / "README.md").read_text()
    assert "| made.test.txt | 1 | 113 |" in card
    assert "--decontaminate tests/" in card
    assert str(tmp_path) not in card + (tmp_path / "out" / "corpus" / "report.html").read_text()
    printed = life(tmp_path / "out", gone[0]["url"])
    assert "decontaminated dropped: evaluation overlap (made.test.txt: 60 words in a row" in printed

    by_one_worker = all_files(tmp_path / "out" / "corpus")
    for stage in ("evaluation", "decontaminated", "signatures", "split", "corpus"):
        shutil.rmtree(tmp_path / "out" / stage)
    main(dataclasses.replace(changed, workers=2))
    assert all_files(tmp_path / "out" / "corpus") == by_one_worker

    capsys.readouterr()
    os.utime(test)  # the same words: nothing after them is done again
    main(changed)
    assert "1 partitions built" in capsys.readouterr().out
    main(
        options(
            web_files,
            tmp_path / "out",
            decontaminate=(str(test),),
            overlap=OverlapLimits(decontaminate_words=61),
        )
    )
    assert "evaluation overlap" not in str(read_funnel(str(tmp_path / "out" / "corpus"))["steps"])
    main(options(web_files, tmp_path / "out"))
    assert all_files(tmp_path / "out" / "corpus") == before
    assert "evaluation overlap" not in life(tmp_path / "out", gone[0]["url"])


def test_a_wrong_evaluation_set_is_told_before_anything_is_done(web_files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"empty\.txt is empty"):
        main(options(web_files, tmp_path / "out", decontaminate=(str(tmp_path / "empty.txt"),)))
    with pytest.raises(ValueError, match="no evaluation set at missing"):
        main(options(web_files, tmp_path / "out", decontaminate=("missing.txt",)))
    assert not (tmp_path / "out").exists()
