"""Shards and vocabularies of other tools go through every command."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from launch import export, generate
from launch.export import ExportOptions
from launch.generate import GenerateOptions
from tokenizer.bpe.vocabulary import load_vocabulary
from trainer.evaluation.run import EvaluateOptions, evaluate_sets
from trainer.evaluation.suite import SetOptions
from trainer.pretrained.loaded_model import ModelOptions

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
FORMATS = ("huggingface", "gguf", "llm.c", "picogpt")


@pytest.fixture(scope="module")
def vocabulary(inputs, tmp_path_factory) -> Path:
    """A vocabulary as `tokenizers` trains it: <|endoftext|> is its first entry."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([inputs.text], trainer)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def shards(inputs, vocabulary, tmp_path_factory) -> Path:
    """llm.c's shards of the text, without an index and without the vocabulary."""
    folder = tmp_path_factory.mktemp("llm.c")
    ids = [0, *Tokenizer.from_file(str(vocabulary)).encode(inputs.text).ids]
    for name, part in (("val_000000", ids[:2049]), ("train_000001", ids[2049:])):
        header = np.zeros(256, "<i4")
        header[:3] = 20240520, 1, len(part)
        raw = header.tobytes() + np.array(part, "<u2").tobytes()
        (folder / f"my_{name}.bin").write_bytes(raw)
    return folder


def train(launcher, shards: Path, output: Path, *options: object) -> dict[str, float]:
    """Train a little; return the last evaluation."""
    line = ["--size", "micro", "--steps", "2", "--global-batch-tokens", "512", "--data", shards]
    codes, printed = launcher.train([str(part) for part in (*line, "--output", output, *options)], ranks=1)
    assert codes == [0], printed
    rows = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    found: dict[str, float] = [row for row in rows if "validation_loss" in row][-1]
    return found


@pytest.fixture(scope="module")
def run(launcher, shards, vocabulary, tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """A run on the shards with the vocabulary named, and its last evaluation."""
    output = tmp_path_factory.mktemp("trained") / "run"
    return output, train(launcher, shards, output, "--vocabulary", vocabulary)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory) -> Path:
    """The run in every format."""
    output = tmp_path_factory.mktemp("exported") / "model"
    export.main(ExportOptions(checkpoint=run[0], output=output, format=FORMATS))
    return output


def test_the_vocabulary_keeps_its_ids_from_shards_to_every_export(run, model, vocabulary):
    expected = load_vocabulary(str(vocabulary))
    assert expected.end_of_text == 0
    assert load_vocabulary(str(run[0] / "tokenizer.json")) == expected
    assert load_vocabulary(str(model)) == expected
    assert json.loads((model / "config.json").read_text())["eos_token_id"] == 0


def test_text_is_written_and_evaluated_in_it(model, shards, run, tmp_path, capsys):
    generate.main(GenerateOptions(source=ModelOptions(model=model), prompt="the", max_new_tokens=5))
    assert capsys.readouterr().out.startswith("the")
    evaluate_sets(
        EvaluateOptions(
            source=ModelOptions(model=model, device="cpu"),
            sets=SetOptions(shards=str(shards)),
            output=str(tmp_path / "evaluation"),
        )
    )
    record = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["results"]["shards"]
    last = run[1]
    assert record["counts"]["tokens"] == last["validation_tokens"] == 2048
    assert record["figures"]["loss per token"] == pytest.approx(last["validation_loss"], rel=1e-5)
    assert record["figures"]["bits per byte"] == pytest.approx(last["validation_bits_per_byte"], rel=1e-5)


def test_the_size_is_enough_to_train_and_the_vocabulary_can_come_later(
    launcher, shards, vocabulary, run, tmp_path
):
    found = train(launcher, shards, tmp_path / "run", "--vocabulary-size", 448)  # padded
    assert "validation_bits_per_byte" not in found
    assert found["validation_loss"] == pytest.approx(run[1]["validation_loss"], abs=math.log(448 / 400) + 0.1)
    with pytest.raises(ValueError, match=r"no vocabulary at .*: give it with --vocabulary"):
        export.main(ExportOptions(checkpoint=tmp_path / "run", output=tmp_path / "model"))
    export.main(
        ExportOptions(checkpoint=tmp_path / "run", output=tmp_path / "model", vocabulary=str(vocabulary))
    )
    assert json.loads((tmp_path / "model" / "config.json").read_text())["vocab_size"] == 400


def test_shards_of_another_vocabulary_than_the_models_are_refused(model, inputs, tmp_path):
    options = EvaluateOptions(
        source=ModelOptions(model=model, device="cpu"),
        sets=SetOptions(shards=str(inputs.shards)),
        output=str(tmp_path),
    )
    with pytest.raises(ValueError, match="have another vocabulary than the model"):
        evaluate_sets(options)
