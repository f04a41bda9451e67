import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from launch import export
from launch.export import ExportOptions
from tokenizer.vocabulary import Vocabulary, load_vocabulary
from trainer.export.huggingface import load

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def tokens(inputs) -> list[int]:
    """What the models are asked about: a whole context of text."""
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_file(str(inputs.vocabulary / "tokenizer.json")).encode(inputs.text).ids
    return ids[:256]


@pytest.fixture(scope="module")
def exported(runs, inputs, tmp_path_factory) -> Path:
    """The exported model of each run."""
    output = tmp_path_factory.mktemp("exported") / "model"
    export.main(ExportOptions(checkpoint=runs.whole, vocabulary=str(inputs.vocabulary), output=output))
    return output


def test_transformers_gives_the_same_logits(exported, tokens):
    from transformers import GPT2LMHeadModel

    theirs, report = GPT2LMHeadModel.from_pretrained(exported, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    batch = torch.tensor([tokens])
    with torch.no_grad():
        expected = theirs.eval()(batch).logits
        found = load(exported)(batch)
    assert found.shape == expected.shape == (1, 256, 509)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_the_exported_model_knows_what_the_run_learned(exported, runs, tokens):
    batch = torch.tensor([tokens])
    with torch.no_grad():
        losses = load(exported).eval()(batch[:, :-1], batch[:, 1:])
    lines = (runs.whole / "metrics.jsonl").read_text().splitlines()
    validation = [json.loads(line)["validation_loss"] for line in lines if "validation_loss" in line]
    assert float(losses.mean()) == pytest.approx(validation[-1], abs=0.3)


def test_transformers_reads_the_tokenizer_and_generates(exported, inputs):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.decode(tokenizer(inputs.text[:50])["input_ids"]) == inputs.text[:50]
    model = GPT2LMHeadModel.from_pretrained(exported)
    prompt = tokenizer(inputs.text[:50], return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    assert written.shape[1] <= prompt["input_ids"].shape[1] + 5


def test_the_model_card_tells_the_figures_of_the_run(exported):
    card = (exported / "README.md").read_text()
    assert "| Trained on | 6,144 tokens in 6 of 6 steps |" in card
    assert "| Last validation loss |" in card


def test_numpy_inference_from_openai_layout_gives_the_same_logits(runs, exported, inputs, tokens, tmp_path):
    output = tmp_path / "picogpt"
    export.main(
        ExportOptions(
            checkpoint=runs.whole, vocabulary=str(inputs.vocabulary), output=output, format="picogpt"
        )
    )
    arrays = dict(np.load(output / "model.npz"))
    hparams = json.loads((output / "hparams.json").read_text())
    assert arrays["model/wte"].shape == (509, 128)  # no padding
    found = numpy_gpt2(tokens, arrays, hparams)
    with torch.no_grad():
        expected = load(exported)(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
    assert (output / "encoder.json").read_bytes() == (inputs.vocabulary / "vocab.json").read_bytes()
    assert (output / "vocab.bpe").read_bytes() == (inputs.vocabulary / "merges.txt").read_bytes()


def numpy_gpt2(tokens: list[int], arrays: dict[str, Array], hparams: dict[str, int]) -> Array:
    """An independent GPT-2 in NumPy, from the paper: logits [T, V] of tokens [T]."""

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * arrays[f"model/{name}/g"] + arrays[f"model/{name}/b"]

    def linear(x: Array, name: str) -> Array:
        return x @ arrays[f"model/{name}/w"] + arrays[f"model/{name}/b"]

    def attend(q: Array, k: Array, v: Array) -> Array:
        scores = q @ k.T / np.sqrt(q.shape[-1]) + np.triu(np.full((len(q), len(q)), -np.inf), 1)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True) @ v

    x = arrays["model/wte"][tokens] + arrays["model/wpe"][: len(tokens)]  # [T, C]
    for layer in range(hparams["n_layer"]):
        h = f"h{layer}"
        q, k, v = np.split(linear(norm(x, f"{h}/ln_1"), f"{h}/attn/c_attn"), 3, axis=-1)
        parts = [np.split(part, hparams["n_head"], axis=-1) for part in (q, k, v)]  # 3 × H × [T, D]
        heads = [attend(*head) for head in zip(*parts, strict=True)]
        x = x + linear(np.concatenate(heads, -1), f"{h}/attn/c_proj")
        inner = linear(norm(x, f"{h}/ln_2"), f"{h}/mlp/c_fc")
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(inner, f"{h}/mlp/c_proj")
    logits: Array = norm(x, "ln_f") @ arrays["model/wte"].T
    return logits


def test_another_vocabulary_is_refused(stage_0, inputs, tmp_path):
    other = tmp_path / "tokenizer.json"
    other.write_text(Vocabulary(load_vocabulary(str(inputs.vocabulary)).merges[:-1]).tokenizer_json)
    with pytest.raises(ValueError, match="is not the vocabulary that the shards were written with"):
        export.main(ExportOptions(checkpoint=stage_0.whole, vocabulary=str(other), output=tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_finished_checkpoint_is_refused(inputs, tmp_path):
    (tmp_path / "run/step_00000010").mkdir(parents=True)
    options = ExportOptions(
        checkpoint=tmp_path / "run", vocabulary=str(inputs.vocabulary), output=tmp_path / "model"
    )
    with pytest.raises(ValueError, match=r"run holds no finished checkpoint \(1 unfinished\)"):
        export.main(options)


def test_what_is_no_exported_model_is_not_replaced(stage_0, inputs, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something that is no exported model"):
        export.main(
            ExportOptions(checkpoint=stage_0.whole, vocabulary=str(inputs.vocabulary), output=tmp_path)
        )
    assert (tmp_path / "letter.txt").read_text() == "dear"
