"""The jobs that the pages show run as printed: from somebody's own texts, shards or model to a model."""

import json
import random
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / name for name in ("tokens.md", "training.md")]
# The printed commands, made small.
SMALL = {"--vocab-size": "400", "--size": "micro", "--steps": "4", "--decay-steps": "0", "--epochs": "0.02"}
FEW = ["--global-batch-tokens", "512"]

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow, pytest.mark.usefixtures("ray")]


def printed(word: str) -> list[list[str]]:
    """Return the commands of the block that has this word, each cut into its words."""
    pages = (page.read_text(encoding="utf-8") for page in PAGES)
    blocks = [block for page in pages for block in re.findall(r"(?:^    \S.*\n)+", page, re.MULTILINE)]
    (block,) = [block for block in blocks if word in block]
    return [shlex.split(line) for line in block.splitlines()]


def run(commands: list[list[str]], launcher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the commands in a folder; return that of the training run, the last one's --output."""
    monkeypatch.chdir(folder)
    for _, script, *words in commands:
        options = [SMALL.get(words[number - 1], word) for number, word in enumerate(words)]
        if script == "launch/pretrain.py":
            paths = {"--data", "--output", "--vocabulary", "--init-from"}
            options = [
                str(folder / word) if options[number - 1] in paths else word
                for number, word in enumerate(options)
            ]
            given = {word.partition("=")[0] for word in options}
            few = FEW if given & {"--steps", "--epochs"} else [*FEW, "--steps", "2"]
            codes, said = launcher.train([*options, *few], ranks=1)
            assert codes == [0], said
        else:
            monkeypatch.setattr(sys, "argv", [script, *options])
            monkeypatch.setattr(sys, "path", [*sys.path])
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return folder / commands[-1][commands[-1].index("--output") + 1]


def losses(run: Path) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["validation_loss"] for row in rows if "validation_loss" in row]


@pytest.fixture(scope="module")
def texts(inputs) -> list[str]:
    words, chance = inputs.text.split(), random.Random(1)
    return [" ".join(words[first : first + chance.randint(50, 300)]) for first in range(0, 30_000, 150)]


def test_train_nano_on_a_folder_of_ones_own_texts(launcher, texts, tmp_path, monkeypatch):
    for number, text in enumerate(texts):
        path = tmp_path / "texts" / f"chapter {number % 5}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = losses(run(printed("train_bpe.py --corpus texts"), launcher, tmp_path, monkeypatch))
    assert found[-1] < found[0]


def test_train_nano_on_finewebs_parquet(launcher, inputs, texts, tmp_path, monkeypatch):
    (tmp_path / "fineweb").mkdir()
    for number in range(2):
        rows = {
            "text": texts[number::2],
            "id": [f"<urn:uuid:{number}-{n}>" for n in range(len(texts[number::2]))],
        }
        rows |= {"dump": ["CC-MAIN-2024-10"] * len(rows["text"]), "token_count": [9] * len(rows["text"])}
        pq.write_table(pa.table(rows), tmp_path / "fineweb" / f"00{number}_00000.parquet")
    (tmp_path / "gpt2").symlink_to(inputs.vocabulary)
    found = losses(run(printed("fineweb/*.parquet"), launcher, tmp_path, monkeypatch))
    assert found[-1] < found[0]


def test_train_nano_on_llm_cs_shards(launcher, inputs, tmp_path, monkeypatch):
    (tmp_path / "fineweb10B").mkdir()
    (tmp_path / "gpt2").symlink_to(inputs.vocabulary)
    for name, file in (("train_000001", "train_000000"), ("val_000000", "validation_000000")):
        raw = (inputs.shards / f"{file}.bin").read_bytes()
        assert np.frombuffer(raw, "<i4", 1)[0] == 20240520
        (tmp_path / "fineweb10B" / f"fineweb_{name}.bin").write_bytes(raw)
    found = losses(run(printed("--data fineweb10B"), launcher, tmp_path, monkeypatch))
    assert found[-1] < found[0]


def test_fine_tune_a_hugging_face_gpt2(launcher, model, texts, tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    (tmp_path / "gpt2").symlink_to(model)
    output = run(printed("--init-from gpt2"), launcher, tmp_path, monkeypatch)
    plan = json.loads((output / "options.json").read_text())["plan"]
    assert plan["model"]["layers"] == json.loads((model / "config.json").read_text())["n_layer"]
    found = losses(output)
    assert found[-1] < found[0] < 5.5  # it knew the text: of 509 entries, chance is 6.2


def test_go_on_with_a_finished_run(launcher, inputs, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shards").symlink_to(inputs.shards)
    first, second = printed("--output out/open")
    whole = run([first], launcher, tmp_path, monkeypatch)
    before = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    monkeypatch.setitem(SMALL, "--steps", "8")
    monkeypatch.setitem(SMALL, "--decay-steps", "2")
    run([second], launcher, tmp_path, monkeypatch)
    after = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert after[: len(before)] == before
    assert [row["step"] for row in after if "loss" in row] == list(range(1, 9))
    # As one run that was to have eight steps from the beginning.
    at_once = [*second[: second.index("out/open")], "out/at once", *second[second.index("out/open") + 1 :]]
    other = run([at_once], launcher, tmp_path, monkeypatch)
    rows = map(json.loads, (other / "metrics.jsonl").read_text().splitlines())
    assert {row["step"]: row["loss"] for row in rows if "loss" in row} == {
        row["step"]: row["loss"] for row in after if "loss" in row
    }
