import dataclasses
import io
import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from launch import generate
from launch.generate import RULE, GenerateOptions
from trainer.config.sampling import Sampling
from trainer.pretrained.loaded_model import ModelOptions, load_model

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def run(model, capsys):
    """Runs the command in this process with a model; returns what it printed."""

    def run(**options):
        generate.main(GenerateOptions(source=ModelOptions(model=model), **{"max_new_tokens": 20, **options}))
        return capsys.readouterr().out

    return run


def records(printed: str) -> list[dict]:
    """Read JSON Lines; log-probabilities only as far as the order of additions does not change them."""
    found = [json.loads(line) for line in printed.splitlines()]
    for record in found:
        record["log_probabilities"] = [pytest.approx(x, abs=1e-4) for x in record["log_probabilities"]]
    return found


def test_the_command_goes_on_from_a_prompt_and_repeats_itself_by_seed(launcher, model, run):
    options = f"--model {model} --prompt The --max-new-tokens 20 --seed 3 --top-k 40".split()
    code, printed = launcher.run(sys.executable, "launch/generate.py", *options)
    assert code == 0, printed
    assert printed.startswith("The")
    assert len(printed) > len("The\n")
    assert run(prompt="The", seed=3, sampling=Sampling(top_k=40)) == printed
    assert run(prompt="The", seed=4, sampling=Sampling(top_k=40)) != printed


def test_several_samples_differ(run):
    assert len(set(run(samples=3).split(RULE))) == 3


def test_each_text_is_the_same_whatever_is_written_beside_it(run, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("the\r\nof a\n\nto\n")
    options = {"prompts": str(file), "samples": 2, "seed": 5, "jsonl": True}
    together = records(run(**options))
    assert [(record["prompt"], record["sample"]) for record in together] == [
        ("the", 0), ("the", 1), ("of a", 0), ("of a", 1), ("to", 0), ("to", 1)
    ]  # fmt: skip
    assert records(run(**options, batch_size=1)) == records(run(**options, batch_size=4)) == together
    assert len({record["text"] for record in together}) == 6
    texts = run(**{**options, "jsonl": False}).split(f"\n{RULE}\n")
    texts[-1] = texts[-1].removesuffix("\n")
    assert texts == [record["prompt"] + record["text"] for record in together]


def test_records_tell_tokens_and_how_each_text_ended(model, run):
    loaded = load_model(ModelOptions(model=model))
    (record,) = records(run(prompt="the", jsonl=True, sampling=Sampling(greedy=True)))
    written = b"".join(loaded.token_bytes[token] for token in record["tokens"])
    assert written.decode(errors="replace") == record["text"]
    assert record["finish_reason"] == "length"
    assert len(record["tokens"]) == len(record["log_probabilities"]) == 20


def test_a_text_ends_before_a_stop_string(run):
    sampling = Sampling(greedy=True)
    (whole,) = records(run(prompt="the", jsonl=True, sampling=sampling))
    stop = whole["text"][9:12]
    (record,) = records(run(prompt="the", jsonl=True, sampling=sampling, stop=("never there", stop)))
    assert record["text"] == whole["text"][: whole["text"].index(stop)]
    assert record["finish_reason"] == "stop string"
    assert record["tokens"] == whole["tokens"][: len(record["tokens"])]


def test_a_text_ends_with_the_document(model, run, monkeypatch):
    """A token that greedy writing comes to stands in for the end of text."""
    sampling = Sampling(greedy=True)
    (whole,) = records(run(prompt="the", jsonl=True, sampling=sampling))
    end = whole["tokens"][5]
    vocabulary = SimpleNamespace(end_of_text=end)
    loaded = load_model(ModelOptions(model=model))
    ending = SimpleNamespace(
        encode=loaded.encode, token_bytes=loaded.token_bytes, model=loaded.model, vocabulary=vocabulary
    )
    monkeypatch.setattr(generate, "load_model", lambda _: ending)
    (record,) = records(run(prompt="the", jsonl=True, sampling=sampling, max_new_tokens=None))
    assert record["tokens"] == whole["tokens"][: whole["tokens"].index(end)]
    assert record["finish_reason"] == "end of text"


def test_prompts_come_from_json_lines_and_from_standard_input(run, tmp_path, monkeypatch):
    content = b'\xef\xbb\xbf{"prompt": "the\\nof", "id": 1}\n{"prompt": ""}\n'
    (tmp_path / "prompts.jsonl").write_bytes(content)
    from_file = run(prompts=str(tmp_path / "prompts.jsonl"), jsonl=True)
    assert [record["prompt"] for record in records(from_file)] == ["the\nof", ""]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(prompts="-", prompts_format="jsonl", jsonl=True) == from_file


def test_no_prompt_and_one_that_is_too_long_are_said_on_standard_error(model, capsys):
    options = GenerateOptions(source=ModelOptions(model=model), max_new_tokens=3)
    generate.main(options)
    assert "the prompt is empty: the model starts a new document" in capsys.readouterr().err
    generate.main(dataclasses.replace(options, prompt="the of " * 25_000))
    assert "tokens: the model sees only the last 256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no prompts"),
        (b"\n \r\n", "has no prompts"),
        (b'{"prompt": "a"}\n{"prompt": "a"\n', "line 2: not JSON"),
        (b'{"prompt": "a"}\n["a"]\n', 'line 2: not a JSON object with a string "prompt"'),
        (b'{"prompt": 3}', 'line 1: not a JSON object with a string "prompt"'),
        (b"[" * 100_000, "line 1: not JSON"),
        (b'{"prompt": "a"}\n\n\xff\xfe', "line 3: not UTF-8"),
        (b'{"prompt": "\\ud800"}', "prompt 1 is not text: surrogates not allowed"),
    ],
)
def test_a_broken_file_of_prompts_is_a_mistake(run, tmp_path, content, message):
    (tmp_path / "prompts.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run(prompts=str(tmp_path / "prompts.jsonl"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "--max-new-tokens is 0"),
        ({"samples": 0}, "--samples is 0"),
        ({"batch_size": -1}, "--batch-size is -1"),
        ({"stop": ("a", "")}, "--stop: an empty string"),
        ({"prompt": "a", "prompts": "b"}, "give only one of --prompt and --prompts"),
        ({"prompt": "\udcff"}, "the prompt is not text"),
        ({"sampling": Sampling(top_p=2.0)}, "--top-p is 2.0"),
    ],
)
def test_options_that_make_no_sense_are_mistakes(run, options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_a_folder_without_a_model_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"no finished checkpoint"):
        generate.main(GenerateOptions(source=ModelOptions(model=tmp_path)))


@pytest.fixture
def endless(model):
    """The command, writing without end to a pipe."""
    line = f"launch/generate.py --model {model} --prompt the --max-new-tokens 1000000 --greedy"
    with subprocess.Popen(
        [sys.executable, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_text_is_shown_as_it_is_written_and_an_interrupt_ends_it_tidily(endless):
    assert endless.stdout.read(20).startswith(b"the")
    endless.send_signal(signal.SIGINT)
    rest, errors = endless.communicate(timeout=60)
    assert endless.returncode == 130
    assert rest.endswith(b"\n")
    assert errors == b""


def test_a_reader_that_has_had_enough_ends_it_quietly(endless):
    assert endless.stdout.read(20).startswith(b"the")
    endless.stdout.close()
    assert endless.wait(timeout=60) == 128 + signal.SIGPIPE
    assert endless.stderr.read() == b""


@pytest.mark.parametrize("script", ["pretrain", "export", "generate"])
def test_help_needs_no_torch(launcher, script):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('launch/{script}.py', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    _, printed = launcher.run(sys.executable, "-c", code)
    assert "--output" in printed or "--model" in printed
    assert printed.splitlines()[-1] == "False"
