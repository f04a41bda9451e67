import pytest
import torch

from trainer.config import ModelConfig
from trainer.model import GPT2, build

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
