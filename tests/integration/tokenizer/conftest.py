"""A small corpus, and the vocabulary that the command makes of it."""

from pathlib import Path

import pytest
from made_corpus import corpus, run_work, texts, write_corpus

from tokenizer import train_bpe
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary

__all__ = ["corpus", "run_work", "texts", "write_corpus"]


@pytest.fixture(scope="session")
def vocabulary_folder(tmp_path_factory: pytest.TempPathFactory, corpus: Path, ray: None) -> Path:
    """What the command makes of the corpus: 1,000 entries."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_bpe.main(train_bpe.TrainOptions(corpus=str(corpus), output=str(folder), vocab_size=1000))
    return folder


@pytest.fixture(scope="session")
def vocabulary(vocabulary_folder: Path) -> Vocabulary:
    """The same, loaded."""
    return load_vocabulary(str(vocabulary_folder))
