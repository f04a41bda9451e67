"""Where copies go on beside the computation: streams that note what they are printed, in place of a GPU's."""

from contextlib import contextmanager

import pytest
import torch

from trainer.model import activation_offload
from trainer.model.activation_offload import Offload


class Streams:
    """The order of work on a GPU, as `Offload` requires it."""

    def __init__(self) -> None:
        self.printed: list[tuple[str, int]] = []
        self.copies = 0

    def wait_stream(self, _: object) -> None:  # the side stream: for what is computed so far
        self.printed.append(("copy after computing", self.copies))

    def record_event(self) -> int:
        self.copies += 1
        return self.copies - 1

    def wait_event(self, copy: int) -> None:  # the computing stream: for a copy
        self.printed.append(("compute after copy", copy))


@pytest.fixture
def streams(monkeypatch) -> Streams:
    made = Streams()

    @contextmanager
    def stream(_):
        yield

    monkeypatch.setattr(activation_offload, "_side_stream", lambda _: made)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: made)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, pin_memory: plain(shape, dtype=dtype))
    monkeypatch.setattr(torch, "empty_like", lambda tensor, device: torch.zeros(tensor.shape))
    return made


def test_a_stream_waits_for_every_copy_before_its_memory_is_used_again(streams):
    store = Offload(torch.device("cuda", 0))
    tensors = [torch.full((4,), float(number)) for number in range(3)]
    known = [store._take_away(tensor) for tensor in tensors]
    away = [("copy after computing", 0)]
    for copy in (1, 2):  # before the next is kept, the one before may go
        away += [("compute after copy", copy - 1), ("copy after computing", copy)]
    assert streams.printed == away
    streams.printed.clear()
    for number in (2, 1, 0):
        assert torch.equal(store._bring_back(known[number]), tensors[number])
    assert streams.printed == [
        ("compute after copy", 2),  # the last is still here, and may go only when it is copied
        ("copy after computing", 3),  # the one before it, while the last block is computed
        ("compute after copy", 3),
        ("copy after computing", 4),
        ("compute after copy", 4),
    ]


def test_at_most_two_tensors_are_on_the_device(streams):
    store = Offload(torch.device("cuda", 0))
    known = []
    for number in range(5):
        known.append(store._take_away(torch.full((4,), float(number))))
        assert sum(kept.here is not None for kept in store._kept) == 1
    for number in reversed(known):
        store._bring_back(number)
        assert sum(kept.here is not None for kept in store._kept) == (number > 0)


def test_a_pass_back_that_is_repeated_finds_the_same():
    x = torch.randn(3, requires_grad=True)
    store = Offload(torch.device("cpu"))
    with store.hooks():
        y = (x * x).sum()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(y, x, retain_graph=True)
        assert torch.equal(gradient, 2 * x.detach())
