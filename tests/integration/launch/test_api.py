"""The calls of docs/api.md do what the commands do, and importing them is quick and brings no cluster."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.evaluation.one_text import evaluate_text
from trainer.evaluation.run import EvaluateOptions, evaluate_sets
from trainer.evaluation.suite import SetOptions
from trainer.pretrained.loaded_model import ModelOptions, load_model
from trainer.training.run_batches import read_batches

# The first test waits for a run that others share.
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
MODULES = [path.replace("/", ".") for path in re.findall(r"`([\w/]+)\.py:\w+`", PAGE)]
WITHOUT_TORCH = [name for name in MODULES if not name.startswith("trainer.")]

IMPORT = """
import importlib, resource, sys
for name in {names}: importlib.import_module(name)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, *({{"ray", "deepspeed", "torch", "transformers"}} & set(sys.modules)))
"""


def imported(names: list[str]) -> tuple[float, set[str]]:
    """Import modules in a new process; return its CPU seconds, and which heavy packages came along."""
    code = IMPORT.format(names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, *packages = done.stdout.split()
    return float(seconds), set(packages)


def test_what_needs_no_model_is_imported_in_a_second_and_without_torch():
    assert len(WITHOUT_TORCH) == 9
    seconds, packages = imported(WITHOUT_TORCH)
    assert (seconds < 1.5, packages) == (True, set()), seconds


def test_nothing_needs_ray_or_deepspeed():
    assert imported(MODULES)[1] == {"torch"}


def test_the_example_does_every_step(example, model, alone, tmp_path):
    api = example("api")
    found = api.prepare(tmp_path / "api")
    assert found["title"] == "Log"
    assert found["verdict"][0] == "en"
    assert found["dropped as"]
    assert found["duplicates"] == [0, 1, 2, 0]
    assert found["text again"] == "The keeper"
    texts = api.use_model(model)["texts"]
    assert texts == api.use_model(model)["texts"]
    assert all(texts)
    assert len(set(texts)) == 2
    plan = json.loads((alone / "options.json").read_text())["plan"]
    assert api.first_batch(alone) == (plan["sequences_per_step"], plan["context"])


def test_a_vocabulary_learned_from_an_iterator_is_the_commands(example, tmp_path, ray):
    from pipeline.sources.options import TextOptions
    from tokenizer import train_bpe
    from tokenizer.bpe.learning import learn_from_texts
    from tokenizer.bpe.vocabulary import load_vocabulary

    texts = list(example("api").texts())
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    options = train_bpe.TrainOptions(
        corpus=str(tmp_path),
        output=str(tmp_path / "out"),
        vocab_size=300,
        text=TextOptions(validation_share=0.0),
    )
    train_bpe.main(options)
    assert learn_from_texts(iter(texts), 300) == load_vocabulary(str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"too small for 5,000 entries: at most \d+"):
        learn_from_texts(texts, 5000)


def test_the_loss_of_a_text_is_that_of_the_command(model, inputs, tmp_path):
    text = " ".join(inputs.text.split()[:700])
    (tmp_path / "a.txt").write_text(text)
    source = ModelOptions(model=model, device="cpu")
    sets = SetOptions(text=(str(tmp_path / "a.txt"),))
    evaluate_sets(EvaluateOptions(source=source, sets=sets, output=str(tmp_path / "out")))
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())["results"]["text_0"]
    found = evaluate_text(load_model(source), text)
    assert found.tokens == record["counts"]["tokens"]
    assert found.bits_per_byte == pytest.approx(record["figures"]["bits per byte"], rel=1e-6)
    assert found.perplexity == pytest.approx(record["figures"]["perplexity per token"], rel=1e-6)
    with pytest.raises(ValueError, match="an empty text"):
        evaluate_text(load_model(source), "")


def test_a_runs_batches_are_those_that_it_trained_on(alone, inputs):
    steps = list(read_batches(alone))
    assert len(steps) == 6
    again = next(read_batches(alone, first_step=4, data=str(inputs.shards)))
    assert all((one == other).all() for one, other in zip(steps[4], again, strict=True))
    (first, targets), metrics = steps[0], (alone / "metrics.jsonl").read_text().splitlines()
    tokens = next(row["tokens"] for row in map(json.loads, metrics) if row["step"] == 1 and "loss" in row)
    assert first.size == tokens
    assert (first[:, 1:] == targets[:, :-1]).all()
    with pytest.raises(ValueError, match="no training run"):
        next(read_batches(alone / "nowhere"))
