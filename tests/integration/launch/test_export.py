import json
import shutil
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from launch import export
from launch.export import ExportOptions
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from trainer.checkpoint.folder import find_checkpoint, read_weights
from trainer.export import FormatName, llmc
from trainer.pretrained.weights import open_weights

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tokens(inputs) -> list[int]:
    """What the models are asked about: a whole context of text."""
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_file(str(inputs.vocabulary / "tokenizer.json")).encode(inputs.text).ids
    return ids[:256]


@pytest.fixture(scope="module")
def exported(runs, inputs, tmp_path_factory) -> Path:
    """The exported model of each run, in every format."""
    output = tmp_path_factory.mktemp("exported") / "model"
    export.main(
        ExportOptions(
            checkpoint=runs.whole,
            vocabulary=str(inputs.vocabulary),
            output=output,
            format=get_args(FormatName),
        )
    )
    return output


@pytest.fixture
def run(stage_0, inputs, tmp_path) -> Path:
    """A run's folder to be spoiled, with its vocabulary."""
    folder = tmp_path / "run"
    shutil.copytree(stage_0.whole, folder)
    shutil.copyfile(inputs.vocabulary / "tokenizer.json", folder / "tokenizer.json")
    return folder


def test_transformers_gives_the_same_logits(exported, tokens):
    from transformers import GPT2LMHeadModel

    theirs = GPT2LMHeadModel.from_pretrained(exported)
    batch = torch.tensor([tokens])
    with torch.no_grad():
        expected = theirs.eval()(batch).logits
        found = open_weights(exported).model()(batch)
    assert found.shape == expected.shape == (1, 256, 509)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_every_format_has_the_weights_of_the_run(exported, runs):
    weights = read_weights(find_checkpoint(runs.whole))
    ours = open_weights(exported).padded()
    for name, tensor in weights.items():
        assert torch.equal(ours[name][:509], tensor[:509]), name
    with np.load(exported / "model.npz") as arrays:
        found = arrays["model/h1/mlp/c_fc/w"][0].T
    assert np.array_equal(found, weights["h.1.mlp.c_fc.weight"].numpy())
    assert (exported / "model.gguf").read_bytes()[:4] == b"GGUF"
    config = open_weights(exported).config
    assert np.array_equal(llmc.read(exported, config)("ln_f.bias"), weights["ln_f.bias"].numpy())


def test_the_exported_model_knows_what_the_run_learned(exported, runs, tokens):
    batch = torch.tensor([tokens])
    with torch.no_grad():
        losses = open_weights(exported).model().eval()(batch[:, :-1], batch[:, 1:])
    lines = (runs.whole / "metrics.jsonl").read_text().splitlines()
    validation = [json.loads(line)["validation_loss"] for line in lines if "validation_loss" in line]
    assert float(losses.mean()) == pytest.approx(validation[-1], abs=0.3)


def test_the_model_card_tells_of_the_run_and_its_data(exported, runs, inputs):
    card = (exported / "README.md").read_text()
    identity = json.loads((runs.whole / "options.json").read_text())["identity"]
    lines = (runs.whole / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["validation_loss"] for line in lines if "validation_loss" in line]
    fingerprint = load_vocabulary(str(inputs.vocabulary)).fingerprint[:16]
    assert "| Trained on | 6,144 tokens in 6 of 6 steps |" in card
    assert f"| First validation loss | {losses[0]:.4f} nats per token |" in card
    assert f"| Last validation loss | {losses[-1]:.4f} nats per token |" in card
    assert f"| Data | token shards `{identity['data']}` |" in card
    assert f"509 entries, byte-level BPE (`{fingerprint}`)" in card
    assert "| `learning_rate` | 0.004 |" in card
    assert str(inputs.shards) not in card
    assert str(runs.whole) not in card


def test_the_command_says_what_it_checked(run, launcher, tmp_path):
    code, printed = launcher.run(
        sys.executable, "launch/export.py", "--checkpoint", run, "--output", tmp_path / "model",
        "--format", "gguf", "llm.c", "--gguf-dtype", "q8_0", "--dtype", "bfloat16",
    )  # fmt: skip
    assert code == 0, printed
    gguf, llmc, last = printed.splitlines()
    assert gguf.startswith("gguf        q8_0; all weights read back equal; logits by NumPy differ by")
    assert llmc.startswith("llm.c       bfloat16; all weights read back equal")
    assert last.startswith(f"{tmp_path}/model: GPT-2 nano, ")
    assert last.endswith(f" parameters, after step 6, from {run}/step_00000006")


def test_a_hugging_face_folder_becomes_every_format_and_itself_again(exported, tokens, tmp_path):
    output = tmp_path / "model"
    export.main(ExportOptions(checkpoint=exported, output=output, format=get_args(FormatName)))
    for name in ("model.safetensors", "model.npz", "model.bin", "tokenizer.json", "config.json"):
        assert (output / name).read_bytes() == (exported / name).read_bytes()


def test_an_earlier_export_is_replaced(run, tmp_path):
    for name in ("picogpt", "llm.c"):
        export.main(ExportOptions(checkpoint=run, output=tmp_path / "model", format=(name,)))
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"model.bin", "gpt2_tokenizer.bin"}


# --- mistakes ---


def refused(run: Path, output: Path, message: str, vocabulary: str | None = None) -> None:
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(ValueError, match=message):
        export.main(ExportOptions(checkpoint=run, output=output, vocabulary=vocabulary))
    assert sorted(output.parent.rglob("*")) == before


def test_the_vocabulary_of_another_run_is_refused(run, inputs, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(Vocabulary(load_vocabulary(str(inputs.vocabulary)).merges[:-1]).tokenizer_json)
    refused(run, tmp_path / "model", "is not the vocabulary that the shards were written with", str(other))


def test_a_run_without_its_vocabulary_asks_for_it(run, inputs, tmp_path):
    (run / "tokenizer.json").unlink()
    elsewhere = (inputs.shards / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    try:
        refused(run, tmp_path / "model", "no vocabulary at .*run/tokenizer.json.*: give it with --vocabulary")
    finally:
        elsewhere.rename(inputs.shards / "tokenizer.json")


def test_a_folder_without_a_finished_checkpoint_is_refused(tmp_path):
    (tmp_path / "run/step_00000010").mkdir(parents=True)
    refused(tmp_path / "run", tmp_path / "model", r"run has no finished checkpoint \(1 unfinished\)")
    refused(tmp_path / "nowhere", tmp_path / "model", "is not a folder")


def test_a_checkpoint_that_lacks_a_file_does_not_count(run, tmp_path):
    for checkpoint in run.glob("step_*"):
        (checkpoint / "weights-00000.safetensors").unlink()
    refused(run, tmp_path / "model", "has no finished checkpoint")


def test_a_checkpoint_with_a_changed_byte_is_refused(run, tmp_path):
    path = find_checkpoint(run) / "weights-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    refused(run, tmp_path / "model", "weights-00000.safetensors is damaged")


def test_what_is_no_exported_model_is_not_replaced(run, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/letter.txt").write_text("dear")
    refused(run, tmp_path / "letters", "is not an exported model")
    refused(run, tmp_path / "letters/letter.txt", "is a file, not a folder")
    refused(run, run, "run contains the --checkpoint: give another folder")


def test_transformers_pads_batches_and_knows_the_longest_text(exported):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = AutoModelForCausalLM.from_pretrained(exported)
    assert tokenizer.model_max_length == model.config.n_positions
    texts = ["the", "the of a to"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist() == [len(tokenizer(text)["input_ids"]) for text in texts]
    with torch.inference_mode():
        alone = model(**tokenizer(texts[0], return_tensors="pt")).logits[0]
        together = model(**batch).logits[0, : len(alone)]
    torch.testing.assert_close(together, alone)


def test_the_gguf_has_what_llama_cpps_converter_takes_from_the_hugging_face_files(exported):
    import gguf

    reader = gguf.GGUFReader(exported / "model.gguf")
    ours = {name: field.contents() for name, field in reader.fields.items()}
    config = json.loads((exported / "config.json").read_text())
    tokens = json.loads((exported / "vocab.json").read_text())
    # What its class for GPT-2 sets, and what it reads of the vocabulary with the library's SpecialVocab.
    special = gguf.SpecialVocab(exported, load_merges=True, n_vocab=config["vocab_size"])
    expected = {
        "general.architecture": "gpt2",
        "general.type": "model",
        "gpt2.block_count": config["n_layer"],
        "gpt2.context_length": config["n_ctx"],
        "gpt2.embedding_length": config["n_embd"],
        "gpt2.feed_forward_length": 4 * config["n_embd"],
        "gpt2.attention.head_count": config["n_head"],
        "gpt2.attention.layer_norm_epsilon": pytest.approx(config["layer_norm_epsilon"]),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.merges": special.merges,
        **{
            f"tokenizer.ggml.{_GGUF[kind]}_token_id": number
            for kind, number in special.special_token_ids.items()
        },
    }
    assert set(special.special_token_ids) == {"bos", "eos", "unk", "pad"}
    assert {name: ours[name] for name in expected} == expected
    kinds = ours["tokenizer.ggml.token_type"]
    assert [n for n, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL] == [tokens["<|endoftext|>"]]


_GGUF = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
