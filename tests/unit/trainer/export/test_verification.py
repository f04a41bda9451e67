"""What is written wrongly is found, and nothing is left of it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from launch import export
from launch.export import ExportOptions
from trainer.export import gguf, huggingface, llmc, numpy_gpt2, picogpt
from trainer.export.formats import FORMATS
from trainer.export.verification import check_logits, check_weights, positions, prompt, source_logits
from trainer.model.parameters import shapes
from trainer.pretrained import source as sources


@pytest.fixture
def command(source, tmp_path, monkeypatch):
    """Runs the command on the model of these tests; returns the output folder."""
    monkeypatch.setattr(sources, "open_source", lambda path, vocabulary: source)

    def run(name: str) -> Path:
        output = tmp_path / "exported" / "model"
        export.main(ExportOptions(checkpoint=tmp_path / "run", output=output, format=(name,)))
        return output

    return run


def nothing_is_left(tmp_path: Path) -> bool:
    return list((tmp_path / "exported").iterdir()) == []


@pytest.mark.parametrize(("module", "name"), [(huggingface, "huggingface"), (picogpt, "picogpt")])
def test_a_matrix_the_wrong_way_round_is_found(command, tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, "turned", lambda name, tensor: tensor)
    with pytest.raises(ValueError, match=r"files do not match the model: (h\.0|transformers cannot)"):
        command(name)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(("module", "name"), [(gguf, "gguf"), (llmc, "llm.c"), (picogpt, "picogpt")])
def test_biases_in_each_others_place_are_found(command, source, tmp_path, monkeypatch, module, name):
    tensor = type(source).tensor
    other = {"h.0.ln_1.bias": "h.0.ln_2.bias", "h.0.ln_2.bias": "h.0.ln_1.bias"}
    save = module.save

    def swapped(folder, model, *, dtype):
        with monkeypatch.context() as patch:
            patch.setattr(type(source), "tensor", lambda self, name: tensor(self, other.get(name, name)))
            save(folder, model, dtype=dtype)

    monkeypatch.setattr(module, "save", swapped)
    with pytest.raises(ValueError, match=r"h.0.ln_1.bias reads back differently"):
        command(name)
    assert nothing_is_left(tmp_path)


def test_a_setting_that_makes_transformers_compute_otherwise_is_found(command, tmp_path, monkeypatch):
    printed = huggingface._config
    monkeypatch.setattr(
        huggingface, "_config", lambda *arguments: {**printed(*arguments), "activation_function": "relu"}
    )
    with pytest.raises(ValueError, match="the written files do not match the model: logits differ by"):
        command("huggingface")
    assert nothing_is_left(tmp_path)


def test_a_tensor_that_transformers_has_no_place_for_is_found(source, command, tmp_path, monkeypatch):
    written = huggingface._write_file
    monkeypatch.setattr(
        huggingface,
        "_write_file",
        lambda path, empty, tensor: written(
            path,
            {**empty, "h.9.more": torch.empty(1, device="meta")},
            lambda name: torch.ones(1) if name == "h.9.more" else tensor(name),
        ),
    )
    with pytest.raises(ValueError, match="transformers reports unexpected keys"):
        command("huggingface")
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_another_vocabulary_in_the_files_is_found(command, source, tmp_path, monkeypatch, name):
    other = dataclasses.replace(source.vocabulary, merges=[*source.vocabulary.merges[:-1], (b"e", b"e")])
    save = FORMATS[name].save

    def with_another(folder, model, *, dtype):
        save(folder, dataclasses.replace(model, vocabulary=other), dtype=dtype)

    monkeypatch.setattr(FORMATS[name], "save", with_another)
    with pytest.raises(ValueError, match="different vocabulary"):
        command(name)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_nothing(command, tmp_path, monkeypatch, name):
    import resource
    import signal

    monkeypatch.setattr(huggingface, "LARGEST_FILE_BYTES", 10**9)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|cannot be written"):
            command(name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert nothing_is_left(tmp_path)


def test_without_transformers_numpy_computes_what_is_in_the_files(command, monkeypatch, capsys):
    monkeypatch.setattr(huggingface.importlib.util, "find_spec", lambda name: None)
    assert json.loads((command("huggingface") / "config.json").read_text())["n_layer"] == 2
    assert "logits by NumPy differ by at most" in capsys.readouterr().out


def test_the_check_asks_about_every_position_up_to_the_last(source, expected):
    config = source.config
    assert len(prompt(config)) == config.context
    assert positions(config)[-1] == config.context - 1
    assert len(positions(dataclasses.replace(config, context=1))) == 1
    weights = {name: source.tensor(name).numpy() for name in shapes(config)}
    found = numpy_gpt2.logits(weights.__getitem__, config, prompt(config), positions(config))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_a_weight_that_is_no_number_is_refused(source):
    weights = {**source.tensors, "ln_f.bias": torch.full((64,), torch.nan)}
    logits = source_logits(dataclasses.replace(source, tensors=weights))
    with pytest.raises(ValueError, match="contain NaN or Inf"):
        check_logits(logits, logits, "float32")


def test_logits_that_are_no_numbers_do_not_pass(expected):
    with pytest.raises(ValueError, match="logits differ by nan"):
        check_logits(np.full_like(expected, np.nan), expected, "q8_0")


def test_one_bit_of_one_weight_is_found(source):
    changed = {name: tensor.clone() for name, tensor in source.tensors.items()}
    changed["h.1.mlp.c_fc.bias"].view(torch.int32)[3] ^= 1
    with pytest.raises(ValueError, match=r"h.1.mlp.c_fc.bias reads back differently"):
        check_weights(
            source, lambda name: changed[name][: source.config.vocabulary].numpy(), lambda name: "float32"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h.0.ln_1.bias": None}, "lack h.0.ln_1.bias"),
        ({"wpe.weight": torch.zeros(47, 64)}, r"wpe.weight in checkpoint is \[47, 64\], not \[48, 64\]"),
    ],
)
def test_weights_that_are_no_such_model_are_refused(source, change, message):
    changed = {**source.tensors, **change}
    weights = {name: tensor for name, tensor in changed.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(source, tensors=weights)
