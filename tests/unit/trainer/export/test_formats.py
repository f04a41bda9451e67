"""Every format, as a reader of its own finds it: transformers, picoGPT's arrays, llm.c's order of them."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from trainer.export import huggingface, picogpt
from trainer.export.formats import export
from trainer.model.gpt2 import GPT2
from trainer.model.parameters import shapes
from trainer.pretrained.weights import open_weights

Array = NDArray[Any]
DTYPES = {
    "huggingface": ("float32", "bfloat16"),
    "picogpt": ("float32",),
    "gguf": ("float32", "float16", "bfloat16", "q8_0"),
    "llm.c": ("float32", "bfloat16"),
}
TEXT = list(b"what the others make of it")


@pytest.fixture(scope="module")
def ours(source):
    """The model itself, whose logits are the measure."""
    with torch.device("meta"):
        model = GPT2(source.config)
    model.load_state_dict(dict(source.tensors), assign=True)
    return model.eval()


@pytest.fixture
def written(source, expected, tmp_path):
    """Writes a format into a folder."""

    def write(name, dtype="float32"):
        export(name, tmp_path, source, dtype=dtype, expected=expected)
        return tmp_path

    return write


def logits(model, tokens: Sequence[int]) -> Array:
    with torch.no_grad():
        result = model(torch.tensor([tokens]))
    return (result if isinstance(result, torch.Tensor) else result.logits)[0].numpy()


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name in DTYPES for dtype in DTYPES[name]])
def test_an_export_says_how_near_it_is(source, expected, tmp_path, name, dtype):
    printed = export(name, tmp_path, source, dtype=dtype, expected=expected)
    assert printed.startswith(f"{dtype}; all weights read back equal; logits by ")


def test_the_same_model_gives_the_same_bytes(source, expected, tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        for name in DTYPES:
            export(name, folder, source, dtype="float32", expected=expected)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_all_formats_fit_into_one_folder(source, expected, tmp_path):
    for name in DTYPES:
        export(name, tmp_path, source, dtype="float32", expected=expected)
    for name in DTYPES:
        export(name, tmp_path, source, dtype="float32", expected=expected)  # each reads its own again


# --- Hugging Face ---


@pytest.mark.slow
def test_transformers_loads_the_folder_without_a_word_and_computes_the_same(written, ours, tmp_path):
    folder = written("huggingface")
    code = f"""
        import sys, torch, warnings
        sys.modules["torchao"] = None  # which transformers imports if it can, and which talks on a CPU
        warnings.simplefilter("error")
        from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
        from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()
        model, report = AutoModelForCausalLM.from_pretrained({str(folder)!r}, output_loading_info=True)
        assert not any(report.values()), report
        assert model.lm_head.weight is model.transformer.wte.weight
        torch.save(model(torch.tensor([{TEXT}])).logits[0].detach(), {str(tmp_path / "logits")!r})
        model.save_pretrained({str(tmp_path / "again")!r})
        write = pipeline("text-generation", model={str(folder)!r}, tokenizer={str(folder)!r})
        print(write("the", max_new_tokens=5, do_sample=False)[0]["generated_text"], end="")
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.startswith("the")
    found = torch.load(tmp_path / "logits").numpy()
    np.testing.assert_allclose(found, logits(ours, TEXT), rtol=0, atol=2e-5)
    again = open_weights(tmp_path / "again").padded()
    assert all(torch.equal(again[name], tensor) for name, tensor in open_weights(folder).padded().items())


def test_weights_above_the_limit_go_into_several_files(source, expected, written, monkeypatch):
    from transformers import GPT2LMHeadModel

    monkeypatch.setattr(huggingface, "LARGEST_FILE_BYTES", 100_000)
    folder = written("huggingface")
    files = sorted(folder.glob("model-*.safetensors"))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(files) > 3
    assert not (folder / "model.safetensors").exists()
    assert {file.name for file in files} == set(index["weight_map"].values())
    assert all(file.stat().st_size < 110_000 for file in files)
    theirs = GPT2LMHeadModel.from_pretrained(folder).state_dict()
    ours = open_weights(folder).padded()
    assert torch.equal(theirs["transformer.wte.weight"], source.tensor("wte.weight"))
    assert all(torch.equal(ours[name][: len(source.tensor(name))], source.tensor(name)) for name in ours)


def test_the_embedding_is_stored_once_and_without_padding(written, source):
    from safetensors import safe_open

    with safe_open(written("huggingface") / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # no mapping
    assert "lm_head.weight" not in tensors
    assert tensors["transformer.wte.weight"] == [source.config.vocabulary, 64]
    assert sum(map(np.prod, tensors.values())) == source.config.parameters


def test_every_file_can_be_read_by_whoever_reads_one(written):
    folder = written("huggingface")
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_bf16_weights_are_declared_and_load_as_such(written, source):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(written("huggingface", "bfloat16"))
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.transformer.wpe.weight, source.tensor("wpe.weight").bfloat16())


# --- picoGPT ---


def picogpt_params(folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Load as the module's own documentation says."""
    documentation = (picogpt.__doc__ or "").partition("    import re")
    hparams = json.loads((folder / "hparams.json").read_text())
    names = {"hparams": hparams}
    recipe = textwrap.dedent("    import re" + documentation[2])
    assert len(recipe.strip().splitlines()) <= 10
    exec(recipe.replace('"model.npz"', repr(str(folder / "model.npz"))), names)
    return names["params"], hparams


def pico_gpt2(
    inputs: Sequence[int], wte: Array, wpe: Array, blocks: list[Any], ln_f: Any, heads: int
) -> Array:
    """A GPT-2 in plain NumPy, written from the paper for this test alone: logits [T, V]."""

    def norm(x: Array, g: Array, b: Array) -> Array:
        return g * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + b

    def linear(x: Array, w: Array, b: Array) -> Array:
        return x @ w + b

    def attend(q: Array, k: Array, v: Array) -> Array:
        scores = q @ k.T / np.sqrt(q.shape[-1]) - 1e10 * (1 - np.tri(len(q)))
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True) @ v

    x = wte[list(inputs)] + wpe[: len(inputs)]
    for block in blocks:
        qkv = np.split(linear(norm(x, **block["ln_1"]), **block["attn"]["c_attn"]), 3, axis=-1)
        parts = zip(*(np.split(part, heads, axis=-1) for part in qkv), strict=True)
        x = x + linear(np.hstack([attend(*part) for part in parts]), **block["attn"]["c_proj"])
        inner = linear(norm(x, **block["ln_2"]), **block["mlp"]["c_fc"])
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(inner, **block["mlp"]["c_proj"])
    return norm(x, **ln_f) @ wte.T


def test_numpy_alone_goes_on_from_a_text_with_the_same_tokens(written, ours):
    params, hparams = picogpt_params(written("picogpt"))
    text, mine = [*TEXT], [*TEXT]
    found = pico_gpt2(text, **params, heads=hparams["n_head"])
    np.testing.assert_allclose(found, logits(ours, TEXT), rtol=0, atol=2e-5)
    for _ in range(15):
        text.append(int(pico_gpt2(text, **params, heads=hparams["n_head"])[-1].argmax()))
        mine.append(int(logits(ours, mine)[-1].argmax()))
    assert text == mine


def test_variables_have_the_names_and_shapes_of_openai(written, source):
    folder = written("picogpt")
    with np.load(folder / "model.npz", allow_pickle=False) as arrays:
        found = {name: arrays[name].shape for name in arrays}
        assert all(arrays[name].flags.c_contiguous for name in arrays)
    assert found["model/wte"] == (source.config.vocabulary, 64)
    assert found["model/wpe"] == (48, 64)
    assert found["model/h1/attn/c_attn/w"] == (1, 64, 192)
    assert found["model/h1/mlp/c_proj/w"] == (1, 256, 64)
    assert found["model/h0/ln_2/g"] == found["model/ln_f/b"] == (64,)
    assert len(found) == len(shapes(source.config))
    assert load_vocabulary(str(folder)) == source.vocabulary


# --- GGUF ---


@pytest.mark.parametrize("dtype", DTYPES["gguf"])
def test_transformers_own_gguf_reader_finds_the_same_model(written, ours, source, dtype):
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    folder = written("gguf", dtype)
    shape = GPT2Config(vocab_size=source.config.vocabulary, n_positions=48, n_embd=64, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(shape).eval()
    found = load_gguf_checkpoint(str(folder / "model.gguf"), return_tensors=True, model_to_load=model)
    report = model.load_state_dict(found["tensors"], strict=False)
    assert report.missing_keys == ["lm_head.weight"]  # tied
    assert not report.unexpected_keys
    apart = np.abs(logits(model, TEXT) - logits(ours, TEXT)).max() / np.abs(logits(ours, TEXT)).max()
    assert apart < {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2, "q8_0": 5e-2}[dtype]
    expected = {"n_layer": 2, "n_ctx": 48, "n_embd": 64, "n_head": 2, "vocab_size": source.config.vocabulary}
    assert {name: found["config"][name] for name in expected} == expected
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    assert tokenizer("the other").input_ids == [257, *tokenizer(" o").input_ids, *tokenizer("ther").input_ids]
    assert tokenizer.decode(tokenizer("naïve  café").input_ids) == "naïve  café"


def test_gguf_says_all_that_llama_cpp_asks_of_a_gpt2(written, source):
    reader = gguf.GGUFReader(written("gguf", "q8_0") / "model.gguf")
    end = source.vocabulary.end_of_text
    found = {name: field.contents() for name, field in reader.fields.items() if name[0] != "G"}
    tokens, merges = found.pop("tokenizer.ggml.tokens"), found.pop("tokenizer.ggml.merges")
    types = found.pop("tokenizer.ggml.token_type")
    assert found == {
        "general.architecture": "gpt2",
        "general.type": "model",
        "general.name": "GPT-2 test",
        "general.size_label": "120K",
        "general.quantization_version": 2,
        "general.file_type": 7,  # mostly q8_0
        "gpt2.block_count": 2,
        "gpt2.context_length": 48,
        "gpt2.embedding_length": 64,
        "gpt2.feed_forward_length": 256,
        "gpt2.attention.head_count": 2,
        "gpt2.attention.layer_norm_epsilon": pytest.approx(1e-5),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.padding_token_id": end,
        "tokenizer.ggml.unknown_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert tokens[256:] == ["th", "the", "Ġthe", "an", "Ã©", "ĠĠ", "<|endoftext|>"]
    assert merges == ["t h", "th e", "Ġ the", "a n", "Ã ©", "Ġ Ġ"]
    assert types == [1] * end + [3]  # normal, and one of control


def test_gguf_tensors_have_the_names_shapes_and_types_that_llama_cpp_loads(written, source):
    tensors = {t.name: t for t in gguf.GGUFReader(written("gguf", "q8_0") / "model.gguf").tensors}
    block = {"attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down"}
    parts = {f"blk.{layer}.{part}" for layer in (0, 1) for part in block} | {"output_norm"}
    names = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert tensors.keys() == names | {"token_embd.weight", "position_embd.weight"}
    # Sizes are printed innermost first: a row's length, then the rows.
    assert tensors["blk.1.attn_qkv.weight"].shape.tolist() == [64, 192]
    assert tensors["blk.1.ffn_down.weight"].shape.tolist() == [256, 64]
    assert tensors["token_embd.weight"].shape.tolist() == [64, source.config.vocabulary]
    full = {name for name, tensor in tensors.items() if tensor.tensor_type == gguf.GGMLQuantizationType.F32}
    assert full == {name for name in names if name.endswith("bias") or "norm" in name} | {
        "position_embd.weight"
    }


# --- llm.c ---


def llmc_tensors(path: Path) -> tuple[list[int], dict[str, Array]]:
    """Read a model file in the order of llm.c's ParameterTensors."""
    content = path.read_bytes()
    header = np.frombuffer(content, "<i4", 256).tolist()
    _, version, positions, _, layers, _, width, padded = header[:8]
    sizes = {
        "wte": (padded, width), "wpe": (positions, width),
        "ln1w": (layers, width), "ln1b": (layers, width),
        "qkvw": (layers, 3 * width, width), "qkvb": (layers, 3 * width),
        "attprojw": (layers, width, width), "attprojb": (layers, width),
        "ln2w": (layers, width), "ln2b": (layers, width),
        "fcw": (layers, 4 * width, width), "fcb": (layers, 4 * width),
        "fcprojw": (layers, width, 4 * width), "fcprojb": (layers, width),
        "lnfw": (width,), "lnfb": (width,),
    }  # fmt: skip
    tensors, place = {}, 1024
    for name, size in sizes.items():
        count = int(np.prod(size))
        if version == 3:
            values = torch.from_numpy(np.frombuffer(content, "<f4", count, place).copy())
        else:
            values = torch.from_numpy(np.frombuffer(content, "<i2", count, place).copy()).view(torch.bfloat16)
        tensors[name] = values.float().reshape(size).numpy()
        place += count * (4 if version == 3 else 2)
    assert place == len(content)
    return header, tensors


@pytest.mark.parametrize(("dtype", "version"), [("float32", 3), ("bfloat16", 5)])
def test_llm_c_finds_the_header_and_the_tensors_in_its_order(written, source, dtype, version):
    header, tensors = llmc_tensors(written("llm.c", dtype) / "model.bin")
    assert header == [20240326, version, 48, source.config.vocabulary, 2, 2, 64, 384] + [0] * 248
    assert not tensors["wte"][source.config.vocabulary :].any()
    kind = getattr(torch, dtype)
    places = {"wte": "wte.weight", "qkvw": "h.1.attn.c_attn.weight", "fcprojb": "h.1.mlp.c_proj.bias"}
    for place, name in places.items():
        found = tensors[place][: source.config.vocabulary] if place == "wte" else tensors[place][1]
        assert np.array_equal(found, source.tensor(name).to(kind).float().numpy())


def test_a_model_of_llm_c_tensors_computes_the_same(written, ours):
    header, w = llmc_tensors(written("llm.c") / "model.bin")

    def part(layer: int, weight: str, bias: str) -> dict[str, Array]:
        return {"w": w[weight][layer].T, "b": w[bias][layer]}

    blocks = [
        {
            "ln_1": {"g": w["ln1w"][layer], "b": w["ln1b"][layer]},
            "attn": {"c_attn": part(layer, "qkvw", "qkvb"), "c_proj": part(layer, "attprojw", "attprojb")},
            "ln_2": {"g": w["ln2w"][layer], "b": w["ln2b"][layer]},
            "mlp": {"c_fc": part(layer, "fcw", "fcb"), "c_proj": part(layer, "fcprojw", "fcprojb")},
        }
        for layer in range(header[4])
    ]
    found = pico_gpt2(TEXT, w["wte"], w["wpe"], blocks, {"g": w["lnfw"], "b": w["lnfb"]}, heads=header[5])
    np.testing.assert_allclose(found[:, : header[3]], logits(ours, TEXT), rtol=0, atol=2e-5)


def test_llm_c_prints_with_the_same_tokens(written, source):
    content = (written("llm.c") / "gpt2_tokenizer.bin").read_bytes()
    header = np.frombuffer(content, "<i4", 256).tolist()
    assert header == [20240328, 2, source.vocabulary.size, source.vocabulary.end_of_text] + [0] * 252
    tokens, place = [], 1024
    while place < len(content):
        tokens.append(content[place + 1 : place + 1 + content[place]])
        place += 1 + content[place]
    assert tokens == [*source.vocabulary.tokens, b"<|endoftext|>"]


def test_a_token_that_llm_c_has_no_place_for_is_refused(source, expected, tmp_path):
    doubled = [(b"a" * 2**power, b"a" * 2**power) for power in range(8)]
    vocabulary = Vocabulary(doubled)
    config = dataclasses.replace(source.config, vocabulary=vocabulary.size)
    longer = {**source.tensors, "wte.weight": torch.zeros(config.padded_vocabulary, 64)}
    long = dataclasses.replace(source, vocabulary=vocabulary, config=config, tensors=longer)
    with pytest.raises(
        ValueError, match="cannot hold tokens of more than 255 bytes; the longest here has 256"
    ):
        export("llm.c", tmp_path, long, dtype="float32", expected=expected)
