"""What is said before the first step."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tokenizer.shards import formats
from tokenizer.shards.folder import VocabularyReference
from trainer.config.options import TrainingOptions
from trainer.distributed.ranks import Ranks
from trainer.pretrained.weights import open_weights
from trainer.training.loop import _initial_model
from trainer.training.setup import Run, check_vocabulary, prepare

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
TINY = {"size": "micro", "steps": 4, "global_batch_tokens": 512}


def prepared(shards: Path, output: Path, **options: object) -> Run:
    values = {"data": str(shards), "output": str(output), **TINY, **options}
    return prepare(TrainingOptions(**values), ALONE)


@pytest.fixture
def shards(inputs, tmp_path) -> Path:
    """A copy of the shards, to be spoiled."""
    shutil.copytree(inputs.shards, tmp_path / "shards")
    return tmp_path / "shards"


def rewrite(shards: Path, form: str) -> None:
    """Turn a folder of llm.c's format, one document a shard, into another one of the same tokens."""
    index = json.loads((shards / "shards.json").read_text())
    for split, content in index["splits"].items():
        parts = [
            formats.open_tokens(shards / shard["file"], "llm.c", "uint16") for shard in content["shards"]
        ]
        tokens = np.concatenate(parts)
        name = formats.file_name(form, split, 0)
        raw = formats.header(form, len(tokens), "uint16") + tokens.tobytes()
        (shards / name).write_bytes(raw)
        shard = {
            "file": name,
            "tokens": len(tokens),
            "documents": 1,
            "sha256": hashlib.sha256(raw).hexdigest(),
        }
        beside = formats.index_name(form, name)
        if beside:
            raw = formats.megatron_index(np.array([len(tokens)]), "uint16")
            (shards / beside).write_bytes(raw)
            shard["idx_sha256"] = hashlib.sha256(raw).hexdigest()
        content["shards"], content["documents"] = [shard], 1
    (shards / "shards.json").write_text(json.dumps({**index, "format": form}))


@pytest.mark.parametrize("form", ["nanogpt", "megatron"])
def test_the_same_tokens_in_another_format_are_the_same_batches(inputs, shards, tmp_path, form):
    rewrite(shards, form)
    expected, found = prepared(inputs.shards, tmp_path / "a"), prepared(shards, tmp_path / "b")
    assert found.training.tokens == expected.training.tokens
    for one, other in zip(found.training.sequences(0, 700), expected.training.sequences(0, 700), strict=True):
        assert (one == other).all()
    for one, other in zip(found.validation.sequences(0, 9), expected.validation.sequences(0, 9), strict=True):
        assert (one == other).all()


def test_the_validation_tokens_stand_for_their_texts_bytes(inputs, tmp_path):
    run = prepared(inputs.shards, tmp_path / "run", evaluation_tokens=2999)
    tokens = run.inputs.shards.open("validation").read(0, 3000)
    vocabulary = run.inputs.vocabulary
    assert vocabulary is not None
    text = b"".join(vocabulary.tokens[token] for token in tokens[1:])
    assert run.validation_bytes == len(text)
    assert text.decode() in inputs.text


def test_a_token_beyond_the_vocabulary_is_found_before_the_first_step(shards, tmp_path):
    path = shards / "train_000001.bin"
    raw = bytearray(path.read_bytes())
    raw[-2:] = (600).to_bytes(2, "little")
    path.write_bytes(raw)
    with pytest.raises(
        ValueError, match=r"train_000001.bin: the shards contain token 600, .* has 509 entries"
    ):
        prepared(shards, tmp_path / "run")


def test_a_vocabulary_of_other_shards_is_refused(shards, tmp_path):
    index = json.loads((shards / "shards.json").read_text())
    index["vocabulary"]["size"] = 600
    (shards / "shards.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is not the vocabulary of the shards: 509 entries"):
        prepared(shards, tmp_path / "run")


@pytest.mark.parametrize("spoil", ["cut", "gone"])
def test_a_shard_that_is_cut_or_gone_is_named(shards, tmp_path, spoil):
    path = shards / "train_000001.bin"
    path.write_bytes(path.read_bytes()[:-10]) if spoil == "cut" else path.unlink()
    with pytest.raises(ValueError, match=r"train_000001.bin is (damaged|missing)"):
        prepared(shards, tmp_path / "run")


def begun(run: Run) -> None:
    """What the first rank puts down."""
    run.output.mkdir()
    options = {"identity": run.identity, "plan": {}, "files": run.inputs.file_stats}
    (run.output / "options.json").write_text(json.dumps(options))


def test_a_shard_that_changed_since_the_run_began_is_refused_and_one_only_copied_is_not(shards, tmp_path):
    index = (shards / "shards.json").read_text()  # of tokens in which no document begins
    (shards / "shards.json").write_text(re.sub(r'"documents": \d', '"documents": 0', index))
    begun(prepared(shards, tmp_path / "run"))
    path = shards / "train_000000.bin"
    os.utime(path, (1, 1))  # another time, the same content
    prepared(shards, tmp_path / "run")
    raw = bytearray(path.read_bytes())
    raw[2000:2002] = raw[2002:2004] if raw[2000:2002] != raw[2002:2004] else b"\x01\x00"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"the shards have changed since the run began: .*train_000000.bin"):
        prepared(shards, tmp_path / "run")


def test_shards_are_watched_during_the_run(shards, tmp_path):
    inputs = prepared(shards, tmp_path / "run").inputs
    inputs.check_unchanged()
    (shards / "train_000000.bin").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"train_000000.bin was changed or removed during the run"):
        inputs.check_unchanged()


def test_a_stable_run_may_be_given_more_steps_before_its_decay_and_a_cosine_not(inputs, tmp_path):
    for schedule in ("wsd", "cosine"):
        begun(prepared(inputs.shards, tmp_path / schedule, schedule=schedule))
    assert prepared(inputs.shards, tmp_path / "wsd", schedule="wsd", steps=9).plan.steps == 9
    with pytest.raises(ValueError, match="another --steps: 4 there, 9 here"):
        prepared(inputs.shards, tmp_path / "cosine", steps=9)


def test_too_little_disk_for_the_checkpoints_is_said(inputs, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    prepared(inputs.shards, tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"not enough disk space for checkpoints in .*: needs .* a checkpoint takes 0.01 GB"
    ):
        prepared(inputs.shards, tmp_path / "run", size="nano", global_batch_tokens=None)


def test_many_epochs_are_warned_of(inputs, tmp_path):
    assert prepared(inputs.shards, tmp_path / "run").warnings == []
    (warning,) = prepared(inputs.shards, tmp_path / "run", steps=None, epochs=9.0).warnings
    assert warning.startswith("each token is seen 9.0 times")


def test_what_the_machine_cannot_do_is_warned_of(inputs, tmp_path):
    run = prepared(inputs.shards, tmp_path / "run")
    uncompiled = dataclasses.replace(run, uncompiled="there is no C compiler")
    assert uncompiled.warnings == ["running without compilation, which is slower: there is no C compiler"]
    gpu = dataclasses.replace(run, device=torch.device("cuda", 0))
    assert gpu.warnings == ["using fp32, since this GPU has no bf16 (an A100 or newer has)"]


def test_to_compile_without_a_compiler_is_an_error_in_one_line(launcher, inputs, tmp_path):
    options = ["--size", "nano", "--data", inputs.shards, "--output", tmp_path / "run", "--compile", "on"]
    code, printed = launcher.run("env", "CXX=no-g++", sys.executable, "launch/pretrain.py", *options)
    assert (code, printed) == (
        1,
        "error: --compile on: there is no C++ compiler no-g++: fix this, or use --compile off\n",
    )


@pytest.fixture
def nothing_drawn(monkeypatch) -> None:
    """Drawing weights, other than on the meta device, is an error."""

    def normal(tensor: torch.Tensor, **_: object) -> None:
        assert tensor.is_meta, "weights are drawn"

    monkeypatch.setattr(torch.nn.init, "normal_", normal)


@pytest.mark.usefixtures("nothing_drawn")
def test_fine_tuning_begins_with_the_weights_of_a_hugging_face_folder(model, inputs, tmp_path):

    run = prepared(
        inputs.shards,
        tmp_path / "run",
        size=None,
        init_from=str(model),
        context=100,
        global_batch_tokens=None,
    )
    assert (run.plan.size, run.plan.model.context, run.plan.learning_rate) == ("nano", 100, 3e-5)
    expected = open_weights(model).padded()
    found = _initial_model(run, None).state_dict()
    for name, tensor in expected.items():
        assert (found[name] == tensor[: len(found[name])]).all(), name


@pytest.mark.usefixtures("nothing_drawn")
def test_a_run_begins_anew_or_goes_on_with_the_weights_of_a_checkpoint(stage_0, inputs, tmp_path):
    from trainer.checkpoint.folder import find_checkpoint, read_weights

    saved = find_checkpoint(stage_0.whole)
    run = prepared(
        inputs.shards, tmp_path / "run", size=None, init_from=str(stage_0.whole), global_batch_tokens=None
    )
    for model in (
        _initial_model(run, None),
        _initial_model(dataclasses.replace(run, initial_weights=None), saved),
    ):
        assert all(parameter.requires_grad for parameter in model.parameters())
        for name, tensor in read_weights(saved).items():
            assert (model.state_dict()[name] == tensor).all(), name


def test_weights_for_a_gpu_stay_mapped_to_their_files_and_a_cpus_are_its_own(stage_0, inputs, tmp_path):
    from trainer.checkpoint.folder import find_checkpoint

    run = prepared(inputs.shards, tmp_path / "run", size="nano", global_batch_tokens=None)
    for device, mapped in (("cpu", False), ("cuda", True)):
        model = _initial_model(
            dataclasses.replace(run, device=torch.device(device)), find_checkpoint(stage_0.whole)
        )
        addresses = [parameter.data_ptr() for parameter in model.parameters()]
        maps = _mapped_files()
        found = [any(first <= address < last for first, last in maps) for address in addresses]
        assert found == [mapped] * len(found)


def _mapped_files() -> list[tuple[int, int]]:
    """First and last address of every checkpoint's file in this process's memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [(int(first, 16), int(last, 16)) for first, last in ranges]


def test_a_start_of_another_vocabulary_or_of_nothing_is_refused(stage_0, inputs, tmp_path):
    with pytest.raises(ValueError, match=r"--init-from: .*nowhere is not a folder.*config.json"):
        prepared(inputs.shards, tmp_path / "run", size=None, init_from=str(tmp_path / "nowhere"))
    run = prepared(
        inputs.shards, tmp_path / "run", size=None, init_from=str(stage_0.whole), global_batch_tokens=None
    )
    assert run.initial_weights is not None
    with pytest.raises(ValueError, match="has a vocabulary of 509, but the shards have one of 600"):
        check_vocabulary(run.initial_weights, VocabularyReference("f", 600, 599), "there")
    with pytest.raises(ValueError, match="has a different vocabulary from the shards"):
        check_vocabulary(run.initial_weights, VocabularyReference("f", 509, 508), "there")
    of_nobody = dataclasses.replace(run.initial_weights, state=None, folder=tmp_path)
    check_vocabulary(of_nobody, VocabularyReference("f", 509, 508), "there")
