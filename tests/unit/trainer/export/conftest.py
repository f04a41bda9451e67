"""A small model in which nothing is zero or alike, and its vocabulary."""

from pathlib import Path

import pytest
import torch

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.export.verification import source_logits
from trainer.model.gpt2 import build
from trainer.pretrained.source import SourceModel

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"a", b"n"), (b"\xc3", b"\xa9"), (b" ", b" ")]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(MERGES)


@pytest.fixture(scope="session")
def source(vocabulary: Vocabulary) -> SourceModel:
    """A GPT-2 of two layers, its weights large enough for each to show in the logits."""
    config = ModelConfig(layers=2, heads=2, width=64, context=48, vocabulary=vocabulary.size)
    model = build(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        model.wte.weight[config.vocabulary :] = 7.0  # training may leave anything in the padding
    return SourceModel(
        tensors=model.state_dict(),
        config=config,
        vocabulary=vocabulary,
        name="GPT-2 test",
        folder=Path("checkpoint"),
    )


@pytest.fixture(scope="session")
def expected(source: SourceModel):
    """The logits [P, V] of the model itself."""
    return source_logits(source)
