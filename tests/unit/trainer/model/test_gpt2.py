import math

import pytest
import torch

from trainer.config.model_config import IGNORED, ModelConfig
from trainer.config.recipes import SIZES
from trainer.model.gpt2 import build, outline
from trainer.model.kv_cache import KeyValues

TINY = ModelConfig(layers=3, heads=4, width=32, context=24, vocabulary=100)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(TINY.vocabulary, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["micro", "nano", "small", "medium", "large", "xl"])
def test_parameters_are_as_many_as_the_formula_says_but_for_the_padding(name):
    size = SIZES[name]
    config = ModelConfig(
        layers=size.layers, heads=size.heads, width=size.width, context=size.context, vocabulary=50_257
    )
    counted = sum(parameter.numel() for parameter in outline(config).parameters())
    assert counted - (50_304 - 50_257) * size.width == config.parameters


def test_initial_weights_follow_the_paper():
    config = ModelConfig(layers=8, heads=4, width=256, context=128, vocabulary=1000)
    model = build(config, seed=0)
    for name, parameter in model.state_dict().items():
        if name.endswith("bias"):
            assert not parameter.any()
        elif parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            expected = 0.02 / math.sqrt(2 * 8) if "c_proj" in name else 0.02
            assert float(parameter.std()) == pytest.approx(expected, rel=0.03)
            assert float(parameter.mean()) == pytest.approx(0, abs=expected / 50)


def test_the_seed_alone_decides_the_initial_weights():
    torch.manual_seed(5)
    one = build(TINY, seed=1).state_dict()
    torch.manual_seed(6)
    same, other = build(TINY, seed=1).state_dict(), build(TINY, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["wte.weight"], other["wte.weight"])


def test_no_initial_values_of_pytorchs_are_made():
    before = torch.get_rng_state()
    build(TINY, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.is_meta for parameter in outline(TINY).parameters())


def test_a_position_does_not_see_what_comes_after_it(tokens):
    model = build(TINY, seed=0)
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % TINY.vocabulary
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10], after[:, 10])


def test_the_padding_of_the_vocabulary_changes_neither_logits_nor_loss(tokens):
    model = build(TINY, seed=0)
    logits, losses = model(tokens[:, :-1]), model(tokens[:, :-1], tokens[:, 1:])
    with torch.no_grad():
        model.wte.weight[TINY.vocabulary :] = 1e3
    assert logits.shape == (2, 23, 100)
    assert torch.equal(model(tokens[:, :-1]), logits)
    expected = -torch.log_softmax(logits, -1).gather(-1, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(losses, expected)


def test_no_loss_is_counted_at_ignored_targets(tokens):
    targets = tokens.clone()
    targets[:, 5:] = IGNORED
    losses = build(TINY, seed=0)(tokens, targets)
    assert not losses[:, 5:].any()
    assert losses[:, :5].all()


def test_reading_token_by_token_gives_the_features_of_reading_at_once(tokens):
    model = build(TINY, seed=0)
    past = KeyValues(TINY, sequences=2, positions=24, like=model.wte.weight)
    with torch.inference_mode():
        parts = [model.features(tokens[:, :7], past)]
        parts += [model.features(tokens[:, position : position + 1], past) for position in range(7, 24)]
        torch.testing.assert_close(torch.cat(parts, dim=1), model.features(tokens))


def test_sequences_of_several_lengths_are_read_together_as_each_alone(tokens):
    """Lengths 4 and 9, the shorter one padded; then a token each; then the longer one alone."""
    model = build(TINY, seed=0)
    past = KeyValues(TINY, sequences=2, positions=24, like=model.wte.weight)
    with torch.inference_mode():
        model.features(tokens[:, :9], past)
        past.lengths = [4, 9]
        for step in range(3):
            newest = torch.stack((tokens[0, 4 + step], tokens[1, 9 + step]))[:, None]
            found = model.features(newest, past)
            for row, length in enumerate((5 + step, 10 + step)):
                expected = model.features(tokens[row : row + 1, :length])[0, -1]
                torch.testing.assert_close(found[row, 0], expected)
        past.keep([1])
        found = model.features(tokens[1:, 12:13], past)
        torch.testing.assert_close(found[0, 0], model.features(tokens[1:, :13])[0, -1])


def test_a_model_learns_a_tiny_text_by_heart(tokens):
    model = build(TINY, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(tokens[:, :-1], tokens[:, 1:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
