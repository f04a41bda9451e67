import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_mask

from trainer.config.model_config import ModelConfig
from trainer.model.document_mask import block_mask, within_documents
from trainer.model.gpt2 import GPT2, build

SEPARATOR = 99


def model_of(separator: int | None, mode: str = "none") -> GPT2:
    config = ModelConfig(
        layers=3, heads=4, width=32, context=24, vocabulary=100, document_separator=separator
    )
    return build(config, seed=0, recompute=mode)


@pytest.fixture(scope="module")
def window() -> torch.Tensor:
    """One window of tokens [1, T], in which three documents begin and an earlier one ends."""
    tokens = torch.randint(SEPARATOR, (1, 2 + 7 + 1 + 9), generator=torch.Generator().manual_seed(1))
    tokens[0, [2, 2 + 7, 2 + 7 + 1]] = SEPARATOR
    return tokens


def parts(window: torch.Tensor) -> list[tuple[int, int]]:
    """Where each document begins and ends."""
    starts = [0, *torch.nonzero(window[0] == SEPARATOR)[:, 0].tolist()]
    return list(zip(dict.fromkeys(starts), [*starts[1:], window.shape[1]], strict=True))


def test_a_document_in_a_window_has_the_logits_that_it_has_alone_at_its_positions(window):
    model = model_of(SEPARATOR)
    logits = model(window)[0]
    alone = model_of(None)
    positions = alone.wpe.weight.detach().clone()
    for start, end in parts(window):
        with torch.no_grad():  # the document alone, at positions `start` and on
            alone.wpe.weight[: end - start] = positions[start:end]
        torch.testing.assert_close(logits[start:end], alone(window[:, start:end])[0], rtol=1e-5, atol=1e-6)


def test_without_it_documents_see_each_other(window):
    start, end = parts(window)[-1]
    assert not torch.allclose(model_of(None)(window)[0, start:end], model_of(SEPARATOR)(window)[0, start:end])


@pytest.mark.parametrize("mode", ["none", "selective", "block", "offload"])
def test_no_gradient_crosses_from_one_document_to_another(window, mode):
    model = model_of(SEPARATOR, mode)
    embedded = []
    model.wpe.register_forward_hook(lambda _module, _inputs, output: embedded.append(output))
    logits = model(window)[0]
    embedded[0].retain_grad()
    for start, end in parts(window):
        embedded[0].grad = None
        logits[start:end].square().sum().backward(retain_graph=True)
        gradient = embedded[0].grad
        assert gradient[start:end].abs().sum(-1).all()
        assert not gradient[:start].any() and not gradient[end:].any()


def test_a_window_within_one_document_is_as_ever():
    tokens = torch.randint(SEPARATOR, (2, 24), generator=torch.Generator().manual_seed(2))
    expected, found = model_of(None)(tokens), model_of(SEPARATOR)(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


LONG = 2 * 128  # as many positions as FlexAttention's blocks ask for, twice


def long_batch(seed: int) -> torch.Tensor:
    """Rows [4, T + 1]: documents anywhere, a whole row of one, some of a token each."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(SEPARATOR, (4, LONG + 1), generator=generator)
    tokens[0, torch.randperm(LONG, generator=generator)[:9]] = SEPARATOR
    tokens[1, 0] = SEPARATOR
    tokens[2, 100:150] = SEPARATOR
    return tokens


def long_model(*, flex: bool, compiled: bool) -> GPT2:
    config = ModelConfig(
        layers=2, heads=4, width=64, context=LONG, vocabulary=100, document_separator=SEPARATOR
    )
    model = build(config, seed=0)
    if compiled:
        torch._dynamo.reset()
        model.compile_parts("aot_eager")
    model.flex = flex
    return model


def test_the_block_mask_is_the_table():
    tokens = long_batch(1)[:, :-1]
    mask = block_mask(tokens, SEPARATOR)
    found = create_mask(mask.mask_mod, len(tokens), 1, LONG, LONG, device="cpu")
    assert torch.equal(found, within_documents(tokens, SEPARATOR))


# FlexAttention has gradients on a GPU only: tests/gpu compares them.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("compiled", [False, True])
def test_flex_attention_has_the_losses_of_the_table(compiled):
    models = long_model(flex=False, compiled=False), long_model(flex=True, compiled=compiled)
    tokens = long_batch(1)
    with torch.no_grad():
        losses = [model(tokens[:, :-1], tokens[:, 1:]) for model in models]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)


def test_other_documents_do_not_compile_the_block_again():
    model = long_model(flex=True, compiled=True)
    counters.clear()
    with torch.no_grad():
        for seed in (1, 2, 3):
            tokens = long_batch(seed)
            model(tokens[:, :-1], tokens[:, 1:])
    assert counters["stats"]["unique_graphs"] == 2  # a block, and the last norm
