"""No command writes its results into the folder of another one, whose options.json it would replace."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from pipeline import build_webtext, compare_corpora, report_overlap
from tokenizer import report_vocabulary, train_bpe, write_shards
from trainer.evaluation.run import EvaluateOptions, evaluate_sets
from trainer.evaluation.suite import SetOptions
from trainer.pretrained.loaded_model import ModelOptions

FOLDERS: Final[dict[str, set[str]]] = {
    "build": {"options.json", "build.html", "summary.json", "links/00000.json", "corpus/funnel.json"},
    "corpus": {"funnel.json", "README.md", "report.html", "train/part-00000.parquet"},
    "run": {"options.json", "metrics.jsonl", "run.html"},
    "evaluation": {"options.json", "evaluation.json", "evaluation.md"},
    "comparison": {"options.json", "comparison.json", "comparison.html", ".stages/survey/a.json"},
    "overlap": {"options.json", "report.json", "report.md", ".stages/overlap/a.json"},
    "report": {"options.json", "report.json", "report.md", ".stages/use_train/a.json"},
    "vocabulary": {"options.json", "training.json", "tokenizer.json", ".stages/published.json"},
    "shards": {"options.json", "shards.json", "tokenizer.json", ".stages/published.json"},
    "unfinished vocabulary": {".stages/published.json", "options.json", "tokenizer.json"},
    "unfinished shards": {".stages/published.json", "options.json", "train_000000.bin"},
    "damaged": {".stages/published.json", "options.json", "report.json", "tokenizer.json"},
}
"""What lies in the folders of commands. One of unfinished results has no index yet."""

OPTIONS: Final[dict[str, object]] = {
    "build": build_webtext.Options(output=""),
    "run": {"identity": {}, "plan": {}},
    "evaluation": EvaluateOptions(source=ModelOptions(model=""), sets=SetOptions(), output=""),
    "comparison": compare_corpora.CompareOptions(corpus="", other=""),
    "overlap": report_overlap.OverlapOptions(evaluation=(), output=""),
    "report": report_vocabulary.ReportOptions(corpus="", vocabulary="", output=""),
    "vocabulary": train_bpe.TrainOptions(corpus="", output=""),
    "shards": write_shards.ShardOptions(corpus="", vocabulary="", output=""),
}


def content_of(folder: str, name: str) -> str:
    """What a file of such a folder says: options.json the command's options."""
    if name != "options.json" or folder == "damaged":
        return name
    options = OPTIONS[folder.removeprefix("unfinished ")]
    return json.dumps(dataclasses.asdict(options) if dataclasses.is_dataclass(options) else options)  # type: ignore[arg-type]


def compare(corpus: str, output: str) -> None:
    compare_corpora.main(compare_corpora.CompareOptions(corpus=corpus, other=corpus, output=output))


def overlap(corpus: str, output: str) -> None:
    report_overlap.main(report_overlap.OverlapOptions(evaluation=(corpus,), corpus=corpus, output=output))


def learn(corpus: str, output: str) -> None:
    train_bpe.main(train_bpe.TrainOptions(corpus=corpus, output=output))


def shard(corpus: str, output: str) -> None:
    write_shards.main(write_shards.ShardOptions(corpus=corpus, vocabulary=corpus, output=output))


def evaluate(corpus: str, output: str) -> None:
    sets = SetOptions(text=(corpus,))
    evaluate_sets(EvaluateOptions(source=ModelOptions(model=corpus), sets=sets, output=output))


def report(corpus: str, output: str) -> None:
    report_vocabulary.main(report_vocabulary.ReportOptions(corpus=corpus, vocabulary=corpus, output=output))


OWN: Final[dict[Callable[[str, str], None], set[str]]] = {
    compare: {"comparison"},
    overlap: {"overlap", "damaged"},
    learn: {"vocabulary", "unfinished vocabulary", "damaged"},
    shard: {"shards", "unfinished shards", "damaged"},
    report: {"report", "damaged"},
    evaluate: {"evaluation"},
}
"""The folders that a command takes for its own; one whose options.json is damaged may be."""


@pytest.mark.parametrize("command", OWN)
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folder_of_another_command_is_left_alone(
    tmp_path: Path, command: Callable[[str, str], None], folder: str
) -> None:
    output = tmp_path / "out"
    for name in FOLDERS[folder]:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(content_of(folder, name))
    with pytest.raises(ValueError) as raised:
        command(str(tmp_path / "nowhere"), str(output))
    if folder in OWN[command]:
        assert "nowhere" in str(raised.value)  # what is wrong is the input
    else:
        assert str(raised.value) == f"{output} holds another command's results: choose another --output"
    files = {str(path.relative_to(output)): path for path in output.rglob("*") if path.is_file()}
    written = {name: files[name].read_text() for name in FOLDERS[folder]}
    assert written == {name: content_of(folder, name) for name in FOLDERS[folder]}
    assert files.keys() - FOLDERS[folder] <= ({".lock"} if folder in OWN[command] else set())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"identity": {}, "plan": {}}', "OUT holds another command's results: choose another --output"),
        ('{"subm', "cannot read OUT/options.json: .*"),
        ('{"submissions": ["RS.zst"], "partitions": 3}', ""),
    ],
)
def test_a_build_leaves_the_folder_of_another_command_alone(
    tmp_path: Path, content: str, message: str
) -> None:
    dump = tmp_path / "RS.zst"
    dump.touch()
    output = tmp_path / "out"
    output.mkdir()
    (output / "options.json").write_text(content)
    options = build_webtext.Options(submissions=(str(dump),), output=str(output), only="links")
    if not message:
        build_webtext._check_earlier_run(options)
        return
    with pytest.raises(ValueError, match=message.replace("OUT", str(output))):
        build_webtext.main(options)
    assert (output / "options.json").read_text() == content
