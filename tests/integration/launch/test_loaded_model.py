import shutil

import pytest
import torch

from trainer.pretrained.loaded_model import ModelOptions, load_model

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def copy(model, tmp_path):
    """An exported model to spoil."""
    return shutil.copytree(model, tmp_path / "copy")


def test_a_run_its_checkpoint_and_its_export_are_the_same_model(stage_0, model, inputs):
    vocabulary = str(inputs.vocabulary)
    exported = load_model(ModelOptions(model=model))
    batch = torch.tensor([exported.encode(inputs.text[:200])])
    for path in (stage_0.whole, stage_0.whole / "step_00000006"):
        loaded = load_model(ModelOptions(model=path, vocabulary=vocabulary))
        assert torch.equal(loaded.model(batch), exported.model(batch))
        assert loaded.vocabulary == exported.vocabulary
        assert "after step 6, from" in loaded.description


def test_bf16_answers_nearly_the_same(model):
    batch = torch.arange(50)[None]
    exact = load_model(ModelOptions(model=model)).model(batch)
    rough = load_model(ModelOptions(model=model, dtype="bf16")).model(batch)
    assert 0 < float((rough - exact).abs().mean()) < 0.03 * float(exact.std())


def test_the_end_of_text_in_a_text_is_text_unless_allowed(model):
    loaded = load_model(ModelOptions(model=model))
    text = "so<|endoftext|>on"
    as_text, as_token = loaded.encode(text), loaded.encode(text, allow_special=True)
    assert loaded.vocabulary.end_of_text in as_token
    assert loaded.vocabulary.end_of_text not in as_text == loaded.encode(text)
    for ids in (as_text, as_token):
        assert b"".join(loaded.token_bytes[token] for token in ids).decode() == text


def test_another_vocabulary_is_a_mistake(stage_0, model, tmp_path):
    from tokenizer.bpe.vocabulary import Vocabulary

    other = tmp_path / "tokenizer.json"
    other.write_text(Vocabulary([(b"a", b"b")]).tokenizer_json)
    with pytest.raises(ValueError, match="is not the vocabulary that the shards were written with"):
        load_model(ModelOptions(model=stage_0.whole, vocabulary=str(other)))
    with pytest.raises(ValueError, match=r"is not the vocabulary of the model in .*: it has 258 entries"):
        load_model(ModelOptions(model=model, vocabulary=str(other)))


def test_weights_cut_short_are_a_mistake(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is damaged"):
        load_model(ModelOptions(model=copy))


def test_an_unfinished_checkpoint_is_a_mistake(stage_0, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stage_0.whole / "step_00000006", run / "step_00000006")
    (run / "step_00000006/complete").unlink()
    for path in (run, run / "step_00000006"):
        with pytest.raises(ValueError, match="has no finished checkpoint"):
            load_model(ModelOptions(model=path))


def test_a_path_that_is_no_folder_and_a_gpu_that_is_not_there_are_mistakes(model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="is not a folder"):
        load_model(ModelOptions(model=tmp_path / "absent"))
    with pytest.raises(ValueError, match="--device cuda: there is no GPU, or"):
        load_model(ModelOptions(model=model, device="cuda"))
