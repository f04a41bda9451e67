"""A small GPT-2 in Hugging Face's format, by transformers itself, and small sets in the published layouts."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenizer.bpe.merges import from_printable
from tokenizer.bpe.vocabulary import Vocabulary
from trainer.pretrained.loaded_model import LoadedModel, ModelOptions, load_model

TEXT = """ = The Ferry = 

 The ferry crossed the bay at dawn , and the captain , a long @-@ serving man , did not speak . He had
 seen 1 @,@ 200 storms in 30 years , and feared the next one more than all of them . " Hold on , " he said .
 The passengers held on . The boat 's bell rang 2 @.@ 5 times ( or so they said ) ; nobody counted .
"""  # noqa: W291  # the published files end their headings with a space


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Learned from the text above, so that its words are of one token and of several."""
    import json

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return Vocabulary([(from_printable(left), from_printable(right)) for left, right in merges])


@pytest.fixture(scope="session")
def model_folder(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights, large enough that it prefers some tokens by far."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocabulary.size,
        n_positions=32,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=vocabulary.end_of_text,
        eos_token_id=vocabulary.end_of_text,
    )
    folder = tmp_path_factory.mktemp("gpt2") / "model"
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name, content in vocabulary.files().items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="session")
def loaded(model_folder: Path) -> LoadedModel:
    """That model as we read it."""
    return load_model(ModelOptions(model=model_folder, device="cpu"))
