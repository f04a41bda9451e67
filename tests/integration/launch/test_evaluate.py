import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from trainer.evaluation.run import EvaluateOptions, evaluate_sets
from trainer.evaluation.suite import SetOptions
from trainer.pretrained.loaded_model import ModelOptions

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def sets(inputs, tmp_path_factory) -> Path:
    """Sets made of the text that the models were trained on."""
    folder = tmp_path_factory.mktemp("sets")
    words = inputs.text.split()
    (folder / "text.txt").write_text(" ".join(words[:1500]))
    passages = [" ".join(words[start : start + 20 + start % 7]) for start in range(0, 400, 20)]
    (folder / "lambada_test.jsonl").write_text("".join(json.dumps({"text": p}) + "\n" for p in passages))
    questions = [
        {
            "ctx": " ".join(words[start : start + 9]),
            "endings": words[start + 9 : start + 13],
            "label": start % 4,
        }
        for start in range(0, 150, 10)
    ]
    (folder / "hellaswag_val.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    return folder


def options(model: Path, sets: Path, output: Path, **others) -> EvaluateOptions:
    asked = SetOptions(
        lambada=str(sets), hellaswag=str(sets), text=(str(sets / "text.txt"),), **others.pop("sets", {})
    )
    source = ModelOptions(model=model, device="cpu", **others.pop("source", {}))
    return EvaluateOptions(source=source, sets=asked, output=str(output), **others)


def results(output: Path) -> dict:
    content: dict = json.loads((output / "evaluation.json").read_text())["results"]
    return content


@pytest.fixture(scope="module")
def alone(model, sets, tmp_path_factory) -> Path:
    """The evaluation of the exported model by one process on one core."""
    output = tmp_path_factory.mktemp("alone") / "evaluation"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    evaluate_sets(options(model, sets, output, stride=100))
    torch.set_num_threads(threads)
    return output


def test_the_table_says_figure_unit_stride_and_detokenizer(alone):
    table = (alone / "evaluation.md").read_text()
    assert "| LAMBADA   | accuracy of the last token, stop words filtered  |" in table
    assert "| 45.99 | 55.48 | 60.12 | 63.24 |" in table
    assert "| text.txt  | perplexity per word" in table
    manner = next(line for line in table.splitlines() if line.startswith("| text.txt  | one document"))
    assert [cell.strip() for cell in manner.split("|")[3:6]] == ["none", "256", "100"]
    assert max(map(len, table.split("\n\n")[1].splitlines())) < 120
    assert json.loads((alone / "options.json").read_text())["stride"] == 100


def test_a_model_knows_the_text_that_it_was_trained_on(alone):
    figures = results(alone)["text_0"]["figures"]
    assert 1 < figures["perplexity per token"] < 509  # what guessing costs


def test_two_ranks_find_what_one_does_to_the_last_bit(alone, launcher, model, sets, tmp_path):
    line = f"--model {model} --device cpu --lambada {sets} --hellaswag {sets} --text {sets}/text.txt"
    arguments = [*line.split(), "--stride", "100", "--output", str(tmp_path / "out")]
    codes, printed = launcher.train(arguments, ranks=2, command="launch/evaluate.py")
    assert codes == [0, 0], printed
    assert results(tmp_path / "out") == results(alone)
    assert (tmp_path / "out/evaluation.md").read_text() == (alone / "evaluation.md").read_text()
    assert printed.count("LAMBADA: perplexity") == 1


def test_a_checkpoint_scores_as_its_export_does(alone, stage_0, inputs, sets, tmp_path):
    asked = options(stage_0.whole, sets, tmp_path, stride=100, source={"vocabulary": str(inputs.vocabulary)})
    evaluate_sets(asked)
    for task, result in results(tmp_path).items():
        assert result["figures"] == pytest.approx(results(alone)[task]["figures"], rel=1e-6)


def test_the_same_command_again_does_only_what_is_new(alone, model, sets, tmp_path, capsys):
    own, output = shutil.copytree(sets, tmp_path / "sets"), shutil.copytree(alone, tmp_path / "out")
    first = (output / "evaluation.json").read_text()
    evaluate_sets(options(model, sets, output, stride=100))
    assert printed_figures(capsys) == []
    assert (output / "evaluation.json").read_text() == first
    (own / "text.txt").write_text("a new text")
    evaluate_sets(options(model, own, output, stride=100))
    assert printed_figures(capsys) == ["text.txt"]
    evaluate_sets(options(model, own, output, stride=99))
    assert printed_figures(capsys) == ["LAMBADA", "HellaSwag", "text.txt"]


def printed_figures(capsys) -> list[str]:
    """Which sets were printed of as they were done."""
    before_the_table = capsys.readouterr().out.partition("\n# ")[0]
    return [line.partition(":")[0] for line in before_the_table.splitlines()]


def test_bf16_is_close_to_fp32(alone, model, sets, tmp_path):
    evaluate_sets(options(model, sets, tmp_path, stride=100, source={"dtype": "bf16"}))
    found, expected = results(tmp_path)["text_0"]["figures"], results(alone)["text_0"]["figures"]
    assert found == pytest.approx(expected, rel=0.05)
    assert found != expected


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"context": 257}, "--context is 257: it must be from 1 to the model's 256"),
        ({"context": 16, "stride": 17}, "--stride is 17: it must be from 1 to the context, 16"),
        ({"batch": 0}, "--batch is 0"),
    ],
)
def test_numbers_out_of_range_are_mistakes(model, sets, tmp_path, others, message):
    with pytest.raises(ValueError, match=message):
        evaluate_sets(options(model, sets, tmp_path / "out", **others))
    assert not (tmp_path / "out").exists()


def test_a_wrong_set_is_one_line_from_the_command_and_nothing_is_written(launcher, model, sets, tmp_path):
    line = f"--model {model} --wikitext2 {sets}/text.txt --output {tmp_path}/out"
    codes, printed = launcher.train(line.split(), ranks=2, command="launch/evaluate.py")
    assert sorted(codes, key=str) == [0, 1]
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert "has no heading such as ' = Title = ': expected WikiText's test split" in printed
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch(launcher):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        "try: runpy.run_path('launch/evaluate.py', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    _, printed = launcher.run(sys.executable, "-c", code)
    assert "--one-billion-words" in printed
    assert printed.splitlines()[-1] == "False"
