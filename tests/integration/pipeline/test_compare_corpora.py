"""Two corpora side by side: any kinds, any order, their own copies, and two builds of one's own."""

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline import build_webtext
from pipeline.compare import comparison as running
from pipeline.compare_corpora import CompareOptions, main
from pipeline.filters.quality import RefineOptions
from pipeline.links.stages import MergeOptions
from pipeline.runner import storage, sums

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.usefixtures("ray"), pytest.mark.slow]


def compared(corpus: Path | str, other: Path | str, output: Path, **options: Any) -> dict[str, Any]:
    main(CompareOptions(corpus=str(corpus), other=str(other), output=str(output), workers=2, **options))
    content: dict[str, Any] = json.loads((output / "comparison.json").read_text())
    return content


def made(seed: int, words: int = 80) -> str:
    chance = random.Random(seed)
    return " ".join(f"w{int(chance.paretovariate(0.8)) % 4000}" for _ in range(words))


def rows(numbers: range) -> list[dict[str, str]]:
    domains = ["bbc.co.uk", "x.blogspot.com", "a|b <i>.org", "made-up.org"]
    return [
        {
            "text": made(number),
            "url": f"http://{domains[number % 7 % 4]}/{number}",
            "title": "<b>|\x1b[31m" if number % 5 else "",
            "date": f"{2005 + number % 9}-01-02",
        }
        for number in numbers
    ]


def write(folder: Path, documents: list[dict[str, str]], files: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(files):
        table = pa.Table.from_pylist(documents[number::files])
        pq.write_table(table, folder / f"{number:03d}.parquet", row_group_size=7)
    return folder


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any], Path]:
    """A corpus that has 40 of another's 100 documents, and 20 of its own; and their comparison."""
    folder = tmp_path_factory.mktemp("forty")
    a = write(folder / "a", rows(range(40)) + rows(range(200, 220)), 2)
    b = write(folder / "b", rows(range(100)), 3)
    return a, b, compared(a, b, folder / "out"), folder / "out"


def test_two_fifths_are_two_fifths(forty: tuple[Path, Path, dict[str, Any], Path]) -> None:
    content = forty[2]
    first, other = content["near_duplicates"]["sides"]
    assert (first["documents"], first["matched"], first["exact"]) == (60, 40, 40)
    assert (other["documents"], other["matched"], other["share"]) == (100, 40, 0.4)
    assert first["words"] == 60 * 80 and other["word_share"] == pytest.approx(0.4)
    kinds = content["samples"]
    own = {f"{row['url']}" for row in rows(range(200, 220))}
    assert {one["url"] for one in kinds["only_a"]} <= own
    shared = {row["url"] for row in rows(range(40))}
    assert {one["url"] for one in kinds["both"]} == {one["partner"] for one in kinds["both"]} <= shared
    assert not {one["url"] for one in kinds["only_b"]} & shared
    assert [len(kinds[kind]) for kind in ("only_a", "only_b", "both")] == [6, 6, 6]
    assert content["changes"] is None


def test_kind_cut_and_order_of_files_change_no_figure(
    forty: tuple[Path, Path, dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runner.stages.GROUP_BYTES", 0)  # a task for each file
    monkeypatch.setattr(running, "BYTES_A_WORD_BUCKET", 5_000)
    chance = random.Random(1)
    ours, theirs = rows(range(40)) + rows(range(200, 220)), rows(range(100))
    (tmp_path / "a" / "deep").mkdir(parents=True)
    lines = [json.dumps(row) for row in chance.sample(ours, 60)]
    (tmp_path / "a" / "z.jsonl").write_text("\n".join(lines[:50]))
    (tmp_path / "a" / "deep" / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[50:]).encode()))
    write(tmp_path / "b", chance.sample(theirs, 100), 7)
    assert compared(tmp_path / "a", tmp_path / "b", tmp_path / "out") == forty[2]


def test_the_same_command_again_does_nothing_anew(
    forty: tuple[Path, Path, dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, content, output = forty
    assert compared(a, b, output) == content
    err = capsys.readouterr().err
    assert err.count("were there)") == len(err.splitlines())


def test_a_corpus_beside_itself_is_the_same(
    forty: tuple[Path, Path, dict[str, Any], Path], tmp_path: Path
) -> None:
    content = compared(forty[0], forty[0], tmp_path)
    assert [side["share"] for side in content["near_duplicates"]["sides"]] == [1.0, 1.0]
    assert content["words"]["distance"] == 0.0
    ranking = content["domains"]["ranking"]
    assert (ranking["overlap"], ranking["correlation"]) == (1.0, pytest.approx(1.0))
    assert content["samples"]["only_a"] == content["samples"]["only_b"] == []


def test_corpora_and_results_may_lie_in_an_object_store(
    forty: tuple[Path, Path, dict[str, Any], Path], s3: str
) -> None:
    for name, folder in zip("ab", forty[:2], strict=True):
        filesystem, path = storage.locate(f"{s3}/{name}")
        filesystem.put(str(folder), path, recursive=True)
    options = CompareOptions(corpus=f"{s3}/a", other=f"{s3}/b", output=f"{s3}/out", workers=2)
    main(options)
    assert json.loads(storage.read_text(f"{s3}/out/comparison.json")) == forty[2]


def test_strangers_text_is_text_on_the_page(forty: tuple[Path, Path, dict[str, Any], Path]) -> None:
    page = (forty[3] / "comparison.html").read_text()
    assert "<b>|" not in page and "&lt;b&gt;|" in page
    assert "<script" not in page and str(forty[3]) not in page


def test_texts_without_addresses_and_odd_rows_are_compared_all_the_same(
    forty: tuple[Path, Path, dict[str, Any], Path], tmp_path: Path
) -> None:
    lines = [json.dumps({"content": made(number)}) for number in range(10)]
    odd = ['{"content": null}', '{"content": 5}', "nonsense", '{"other": "x"}', '{"content": ""}']
    (tmp_path / "texts.jsonl").write_text("\n".join([*lines, *odd]))
    content = compared(
        tmp_path / "texts.jsonl", tmp_path / "texts.jsonl", tmp_path / "out", text_column="content"
    )
    assert content["corpora"][0]["documents"] == 10
    assert content["corpora"][0]["left_out"] == {"broken JSON line": 1, "no text": 3, "not text": 1}
    assert content["webtext_domains"] == [None, None]
    assert content["domains"]["ranking"]["correlation"] is None
    assert "has an address or a domain" in (tmp_path / "out" / "comparison.html").read_text()


def test_one_document_beside_webtexts_domains(tmp_path: Path) -> None:
    write(tmp_path / "one", rows(range(1)), 1)
    content = compared(tmp_path / "one", "webtext-domains", tmp_path / "out")
    (likeness, nothing) = content["webtext_domains"]
    assert (likeness["documents"], likeness["listed"], likeness["share"]) == (1, 1, 1.0)
    assert nothing is None and content["near_duplicates"] is None
    assert [one["name"] for one in content["corpora"]] == ["one"]


def test_tokens_are_counted_by_a_vocabulary(tmp_path: Path, tokenizer_json: Path) -> None:
    from tokenizers import Tokenizer

    documents = rows(range(12))
    write(tmp_path / "texts", documents, 1)
    content = compared(
        tmp_path / "texts", "webtext-domains", tmp_path / "out", vocabulary=str(tokenizer_json.parent)
    )
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokens = sum(len(tokenizer.encode(row["text"]).ids) for row in documents)
    assert content["corpora"][0]["tokens"] == tokens
    assert sum(row["tokens"] for row in content["domains"]["largest"]) < tokens  # some have no domain
    assert "tokens" in (tmp_path / "out" / "comparison.html").read_text()


@pytest.fixture
def tokenizer_json(tmp_path: Path) -> Path:
    """A byte-level vocabulary without merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    (tmp_path / "vocabulary").mkdir()
    tokenizer.save(str(tmp_path / "vocabulary" / "tokenizer.json"))
    return tmp_path / "vocabulary" / "tokenizer.json"


def test_little_memory_for_sums_changes_nothing(
    forty: tuple[Path, Path, dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "BYTES_IN_MEMORY", 2_000)
    monkeypatch.setattr(sums, "ROWS_PER_BLOCK", 50)
    from pipeline.compare import stages
    from pipeline.compare.survey import Columns, SurveyOptions
    from pipeline.runner.stages import Task
    from pipeline.sources.options import Reading

    def run(work: Any, name: str, inputs: list[Path], options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        work(Task(name, [str(path) for path in inputs], folder, options, lambda _: None, {}, ""))
        return folder

    options = SurveyOptions(reading=Reading(columns=Columns().names), word_buckets=2)
    folders = [
        run(stages.survey_documents, f"{number}", sorted(path.glob("*.parquet")), options)
        for number, path in enumerate(forty[:2])
    ]
    sides = stages.SidesOptions(first=1, totals=(60 * 80, 100 * 80))
    found = [
        json.loads((run(stages.compare_words, f"w{n}", files, sides) / stages.RESULT).read_text())
        for n, files in enumerate([folder / stages.words_file(n) for folder in folders] for n in range(2))
    ]
    from pipeline.compare.words import add_up

    whole = add_up(found, sides.totals)
    assert whole.distance == forty[2]["words"]["distance"]
    assert list(whole.distinct) == forty[2]["words"]["distinct"]
    domains = run(stages.compare_domains, "d", [folder / stages.DOMAINS_FILE for folder in folders], sides)
    content = json.loads((domains / stages.RESULT).read_text())
    assert content.keys() == {"domains", "webtext"}  # all of it is read
    assert content["domains"]["ranking"]["shared"] == forty[2]["domains"]["ranking"]["shared"]
    assert content["webtext"][0]["listed"] == forty[2]["webtext_domains"][0]["listed"]


# --- two builds ---


@pytest.fixture(scope="module")
def stricter(
    ray: None, web_files: Path, six_partitions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The build of `six_partitions` with other thresholds."""
    output = tmp_path_factory.mktemp("builds") / "stricter"
    build_webtext.main(
        build_webtext.Options(
            submissions=(f"{web_files}/RS_*.zst",),
            warcs=(f"{web_files}/pages-*.warc.gz",),
            partitions=5,
            karma=MergeOptions(min_karma=6),
            refine=RefineOptions(min_words=400),
            output=str(output),
        )
    )
    return output


def documents_of(build: Path) -> dict[str, str]:
    found = {}
    for side in ("train", "validation"):
        for row in ds.dataset(build / "corpus" / side).to_table(columns=["url", "id"]).to_pylist():
            found[row["url"].partition("://")[2]] = row["id"]
    return found


def drops_of(build: Path) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for path in (build / "corpus" / "drops").rglob("*.parquet"):
        stage = path.parent.name.removeprefix("stage=")
        for row in pq.ParquetFile(path).read().to_pylist():
            if row["reason"] != "duplicate link":
                found.setdefault(row["url"].partition("://")[2], set()).add((stage, row["reason"]))
    return found


def counts(rules: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(rule["stage"], rule["reason"]): rule["count"] for rule in rules}


def test_what_one_threshold_did_is_told_rule_by_rule(
    stricter: Path, six_partitions: Path, tmp_path: Path
) -> None:
    content = compared(stricter, six_partitions / "corpus", tmp_path)["changes"]
    now, before = documents_of(stricter), documents_of(six_partitions)
    drops = drops_of(stricter)
    found = content["documents"]
    expected: dict[tuple[str, str], int] = {}
    for key in before.keys() - now.keys():
        (rule,) = drops[key]
        expected[rule] = expected.get(rule, 0) + 1
    assert counts(found["went"]) == expected
    assert {("links", "low karma"), ("refined", "too short")} <= expected.keys()
    assert found["same"] == sum(before.get(key) == name for key, name in now.items())
    # What repeats in a domain is counted over its pages, so fewer pages can mean other texts.
    assert found["changed"] == len(now.keys() & before.keys()) - found["same"]
    assert sum(counts(found["came"]).values()) == len(now.keys() - before.keys())
    options = {row["option"]: (row["before"], row["now"]) for row in content["options"]}
    assert options == {"karma.min_karma": (3, 6), "refine.min_words": (100, 400), "partitions": (6, 5)}
    assert (
        "Likeness to WebText" in (stricter / "corpus" / "report.html").read_text()
    )  # of each build by itself
    low = next(rule for rule in found["went"] if rule["reason"] == "low karma")
    assert low["samples"] and all(int(sample["detail"]) < 6 for sample in low["samples"])
    turned = compared(six_partitions, stricter, tmp_path / "turned")["changes"]["documents"]
    assert counts(turned["came"]) == counts(found["went"])


def test_other_texts_other_addresses_and_missing_links_are_told(six_partitions: Path, tmp_path: Path) -> None:
    """An earlier build, made by hand of a build: one document rewritten, one moved, one never linked to."""
    earlier = tmp_path / "earlier"
    shutil.copytree(six_partitions / "corpus", earlier / "corpus")
    shutil.copytree(six_partitions / "links", earlier / "links")
    shutil.copy(six_partitions / "options.json", earlier)
    path = sorted((earlier / "corpus" / "train").iterdir())[0]
    table = pq.ParquetFile(path).read()
    documents = table.to_pylist()
    documents[0] |= {"id": "0" * 32, "characters": 7}  # another text
    documents[1]["url"] = "http://elsewhere.org/moved"
    documents[2] |= {"url": "http://elsewhere.org/new", "id": "1" * 32}
    pq.write_table(pa.Table.from_pylist(documents, schema=table.schema), path)
    originals = table.to_pylist()
    found = compared(six_partitions, earlier, tmp_path / "out")["changes"]["documents"]
    assert found["changed"] == 1
    assert found["changed_samples"][0]["characters"] == [originals[0]["characters"], 7]
    assert (found["moved"], found["moved_away"]) == (1, 1)
    assert counts(found["went"]) == {("", "not among the links"): 2}
    assert counts(found["came"]) == {("", "no reason recorded"): 2}  # links of the earlier one, and no drops
    moved = {sample["url"]: sample["moved"] for rule in found["went"] for sample in rule["samples"]}
    assert moved == {"http://elsewhere.org/moved": originals[1]["url"], "http://elsewhere.org/new": ""}
    shutil.rmtree(earlier / "links")
    again = compared(six_partitions, earlier, tmp_path / "out")["changes"]["documents"]
    assert counts(again["came"]) == {("", "no reason recorded"): 2}


# --- mistakes ---


def test_a_corpus_without_documents_is_told_with_its_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": null}\n')
    with pytest.raises(ValueError, match=r"no documents in .*a\.jsonl: 2 no text"):
        compared(tmp_path / "a.jsonl", "webtext-domains", tmp_path / "out")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="its files have no rows"):
        compared(tmp_path / "b.parquet", "webtext-domains", tmp_path / "out")


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "a.parquet")
    command = [sys.executable, "pipeline/compare_corpora.py", "--corpus", str(tmp_path / "a.parquet")]
    command += ["--with", "webtext-domains", "--output", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert "no column 'text' among content: name it by --text-column" in result.stderr
