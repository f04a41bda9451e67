"""Anybody's GPT-2 directory: what is like ours comes in as it is, and the rest is refused in one line."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer.checkpoint.folder import State, commit, folder_of_step, tensor_files, write_tensors
from trainer.export.formats import export
from trainer.export.verification import source_logits
from trainer.pretrained.source import open_source
from trainer.pretrained.weights import open_weights

TEXT = torch.tensor([list(b"what anybody makes of it")])


@pytest.fixture(scope="module")
def theirs():
    """A GPT-2 that transformers has made, with other sizes than ours, and weights that show."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    config = GPT2Config(vocab_size=300, n_positions=32, n_embd=48, n_layer=2, n_head=3, initializer_range=0.2)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    return model


@pytest.fixture(scope="module")
def saved(theirs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the directory, to be changed."""
    shutil.copytree(saved, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def logits(theirs) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = theirs(TEXT).logits
    return result


def found(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = open_weights(folder).model().eval()(TEXT)
    return result


def change_config(folder: Path, **settings: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = {name: value for name, value in {**config, **settings}.items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(kept))


def change_tensors(folder: Path, change) -> None:
    """Write the tensors again as `change` makes them."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file({name: tensor.contiguous() for name, tensor in change(tensors).items()}, path)


# --- what comes in ---


def test_a_model_that_transformers_saved_computes_the_same(folder, logits):
    assert found(folder).shape == (1, TEXT.shape[1], 300)
    torch.testing.assert_close(found(folder), logits, rtol=0, atol=2e-5)


def test_weights_in_several_files(folder, theirs, logits):
    shutil.rmtree(folder)
    theirs.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    torch.testing.assert_close(found(folder), logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halved_weights_become_fp32(folder, dtype):
    change_tensors(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    model = open_weights(folder).model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = load_file(folder / "model.safetensors")["transformer.wpe.weight"]
    assert torch.equal(model.wpe.weight, stored.float())


def test_names_without_prefix_old_masks_and_a_second_copy_of_the_head(folder, logits):
    def as_openai_had_it(tensors):
        bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        masks = {"h.0.attn.bias": torch.ones(1, 1, 32, 32), "h.1.attn.masked_bias": torch.tensor(-1e4)}
        return {**bare, **masks, "lm_head.weight": bare["wte.weight"].clone()}

    change_tensors(folder, as_openai_had_it)
    torch.testing.assert_close(found(folder), logits, rtol=0, atol=2e-5)


def test_a_pickle_of_tensors_is_read(folder, theirs, logits):
    (folder / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    torch.testing.assert_close(found(folder), logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation_function": "gelu_pytorch_tanh"},
        {"n_inner": 192},
        {"n_inner": "absent"},
        {"scale_attn_weights": "absent", "layer_norm_epsilon": "absent"},
    ],
)
def test_settings_that_mean_the_same_are_taken(folder, logits, settings):
    change_config(folder, **settings)
    torch.testing.assert_close(found(folder), logits, rtol=0, atol=2e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel what is mapped where")
def test_fp32_weights_stay_in_their_file(folder):
    """Nothing is copied but the embedding, which gets its padding."""
    model = open_weights(folder).model()
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [line[0].split("-") for line in lines if line[-1] == str(folder / "model.safetensors")]
    copied = {
        name
        for name, parameter in model.named_parameters()
        if not any(int(start, 16) <= parameter.data_ptr() < int(end, 16) for start, end in ranges)
    }
    assert copied == {"wte.weight"}


# --- the way back ---


def test_hugging_face_weights_go_through_a_checkpoint_and_come_back_bitwise(source, tmp_path):
    """What fine-tuning begins with: their folder, our checkpoint, and an export that is theirs again."""
    first, second, run = tmp_path / "first", tmp_path / "second", tmp_path / "run"
    for folder in (first, second):
        folder.mkdir()
    export("huggingface", first, source, dtype="float32", expected=source_logits(source))
    save_checkpoint(run, open_weights(first).model(), source.vocabulary)
    came_back = open_source(run, None)
    export("huggingface", second, came_back, dtype="float32", expected=source_logits(came_back))
    names = [file.name for file in first.iterdir() if file.name != "README.md"]  # which tells of the run
    assert "model.safetensors" in names
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def save_checkpoint(run: Path, model, vocabulary) -> None:
    """Write the checkpoint that a run leaves that has begun with a model and taken no step."""
    folder = folder_of_step(run, 0)
    folder.mkdir(parents=True)
    weights = {name: tensor.detach().contiguous() for name, tensor in model.named_parameters()}
    records = {
        file.name: write_tensors(folder / file.name, {name: weights[name] for name in file.parameters})
        for file in tensor_files({name: tuple(tensor.shape) for name, tensor in weights.items()})
        if file.kind == "weights"
    }
    state = State(
        step=0, updates=0, sequences=0, tokens=0, world_size=1, zero_stage=0, model=model.config,
        vocabulary_fingerprint=vocabulary.fingerprint, plan={"size": "micro", "steps": 1, "data": ""},
        figures={},
    )  # fmt: skip
    commit(folder, state, records)
    (run / "tokenizer.json").write_text(vocabulary.tokenizer_json)


@pytest.mark.parametrize("rows", [264, 320, 519, 768])  # of 263 entries
def test_rows_that_no_token_names_are_cut_off(source, tmp_path, rows):
    """Other trainers leave their padding in the embedding that they save."""
    from transformers import GPT2LMHeadModel

    export("huggingface", tmp_path, source, dtype="float32", expected=source_logits(source))
    padded = GPT2LMHeadModel.from_pretrained(tmp_path)
    padded.resize_token_embeddings(rows, mean_resizing=False)
    padded.save_pretrained(tmp_path)
    assert open_weights(tmp_path).config.vocabulary == rows
    opened = open_source(tmp_path, None)
    assert opened.config == source.config
    assert torch.equal(opened.tensor("wte.weight"), source.tensor("wte.weight"))
    np.testing.assert_allclose(source_logits(opened), source_logits(source), atol=1e-5)
    (tmp_path / "again").mkdir()
    export("huggingface", tmp_path / "again", opened, dtype="float32", expected=source_logits(opened))
    assert open_weights(tmp_path / "again").config.vocabulary == source.vocabulary.size


# --- what is refused ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama', but this GPT-2 has 'gpt2'"),
        ({"model_type": "absent"}, "model_type None"),
        ({"activation_function": "gelu"}, "activation_function 'gelu', but this GPT-2 has 'gelu_new'"),
        ({"n_inner": 100}, "n_inner 100, but this GPT-2 has 4 × 48"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon 1e-06, but this GPT-2 has 1e-05"),
        ({"scale_attn_weights": False}, "scale_attn_weights False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"n_layer": "absent"}, "n_layer None, which should be a positive integer"),
        ({"n_embd": "48"}, "n_embd '48', which should be a positive integer"),
        ({"n_embd": [48]}, r"n_embd \[48\], which should be a positive integer"),
        ({"activation_function": ["gelu_new"]}, r"activation_function \['gelu_new'\]"),
        ({"n_head": 5}, "a width of 48 does not divide into 5 heads"),
        ({"n_layer": 3}, "lack h.2."),
        ({"n_layer": 10**12}, "a model of 1,000,000,000,000 layers: from 1 to 1,000 make sense"),
        ({"n_layer": 1}, "have h.1.*which GPT-2 does not have"),
        ({"vocab_size": 301}, r"wte.weight in .* is \[300, 48\] .* requires \[301, 48\]"),
        ({"n_positions": 16}, r"wpe.weight in .* is \[32, 48\] .* requires \[16, 48\]"),
    ],
)
def test_a_model_of_another_kind_is_refused_by_the_setting(folder, settings, message):
    change_config(folder, **settings)
    with pytest.raises(ValueError, match=message):
        open_weights(folder).model()


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\x00"])
def test_a_broken_config_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is (damaged|not a JSON object)"):
        open_weights(folder).model()


@pytest.mark.parametrize("kept", [0, 5, 100, 40_000])
def test_cut_weights_are_refused(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:kept])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        open_weights(folder).model()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("transformer.h.0.ln_1.bias", None, "lack h.0.ln_1.bias"),
        ("transformer.wte.weight", None, "lack wte.weight"),
        ("score.weight", torch.ones(2, 48), "have score.weight, which GPT-2 does not have"),
        ("lm_head.weight", torch.ones(300, 48), "output layer .* is not the token embedding"),
        ("transformer.ln_f.bias", torch.ones(48, 1), r"ln_f.bias in .* is \[48, 1\]"),
        ("transformer.ln_f.bias", torch.ones(48, dtype=torch.int8), "ln_f.bias in .* of torch.int8"),
        (
            "transformer.h.0.attn.c_attn.weight",
            torch.ones(144, 48),
            r"is \[144, 48\] .* requires \[48, 144\]",
        ),
    ],
)
def test_weights_of_another_model_are_refused_by_name(folder, name, tensor, message):
    def change(tensors):
        changed = {**tensors, name: tensor}
        return {name: tensor for name, tensor in changed.items() if tensor is not None}

    change_tensors(folder, change)
    with pytest.raises(ValueError, match=message):
        open_weights(folder).model()


def test_an_index_that_leads_astray_is_refused(folder, theirs):
    shutil.rmtree(folder)
    theirs.save_pretrained(folder, max_shard_size="50KB")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first = min(index["weight_map"].values())

    def with_places(places: object) -> None:
        path.write_text(json.dumps({**index, "weight_map": places}))

    with_places({**index["weight_map"], "transformer.wte.weight": "../other.safetensors"})
    with pytest.raises(ValueError, match=r"names '../other.safetensors', which is not a file name"):
        open_weights(folder).model()
    with_places({**index["weight_map"], "transformer.more": first})
    with pytest.raises(ValueError, match=r"names transformer.more, which is not in"):
        open_weights(folder).model()
    with_places(["transformer.wte.weight"])
    with pytest.raises(ValueError, match="has no weight_map"):
        open_weights(folder).model()
    with_places(index["weight_map"])
    (folder / first).unlink()
    with pytest.raises(ValueError, match=f"index.json names {first}, which does not exist"):
        open_weights(folder).model()


class Trap:
    """A pickle that writes a file as soon as it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def test_a_pickle_that_would_run_code_is_refused_unopened(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"pytorch_model.bin cannot be read safely: .* load it in transformers"
    ):
        open_weights(folder).model()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ValueError, match="cannot be read safely"):
        open_weights(folder).model()
    assert not (tmp_path / "sprung").exists()


def test_a_folder_without_weights_or_config_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has neither model.safetensors nor model.safetensors.index.json"):
        open_weights(folder).model()
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"nor does it have a Hugging Face model's config.json"):
        open_weights(folder).model()


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"model": {"vocab": {"a": 0, "b": 300}}}, "has ids up to 300, but the model has only 300 entries"),
        (
            {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 305, "content": "<pad>"}]},
            "has ids up to 305, but the model has only 300 entries",
        ),
        ({"model": {"vocab": {"a": 300}}}, "has ids up to 300"),
        ({"model": {}}, "not a GPT-2 tokenizer"),
        ({"model": {"vocab": {}}}, "not a GPT-2 tokenizer"),
        ([], "is not a JSON object"),
    ],
)
def test_the_vocabulary_of_another_model_is_refused(folder, tokenizer, message):
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=message):
        open_weights(folder).model()
