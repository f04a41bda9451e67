import importlib.util

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.config import options as options_module
from trainer.config.options import TrackerOptions
from trainer.training.trackers import WeightsAndBiases, figures, open_trackers


def records(first: int, last: int) -> list[dict[str, float]]:
    steps = [{"step": step, "loss": 1 / step, "seconds": 0.1, "mfu": None} for step in range(first, last + 1)]
    return [*steps, {"step": last, "validation_loss": 2.0, "validation_tokens": 10}]


def curve(run, name: str) -> list[tuple[int, float]]:
    """What TensorBoard would draw."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def log(run, *, first: int, last: int) -> None:
    (tracker,) = open_trackers(TrackerOptions(tensorboard=True), run, options={}, resumed=first - 1)
    for record in records(first, last):
        tracker.log(record)
    tracker.close()


def test_a_resumed_run_continues_the_same_curves_without_doubling(tmp_path):
    log(tmp_path, first=1, last=5)
    log(tmp_path, first=4, last=8)  # the checkpoint was that of step 3
    assert curve(tmp_path, "train/loss") == [(step, 1 / step) for step in range(1, 9)]
    assert curve(tmp_path, "validation/loss") == [(8, 2.0)]


def test_numbers_become_curves_and_nothing_else_does():
    train, validation = records(7, 7)
    assert figures({**train, "applied": True, "text": "x"}) == {"train/loss": 1 / 7}
    assert figures(validation) == {"validation/loss": 2.0, "validation/tokens": 10}


def test_weights_and_biases_goes_on_under_the_same_id_without_an_account(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for _ in range(2):
        tracker = WeightsAndBiases(tmp_path, project="test", options={"seed": 1})
        ids.append((tmp_path / "wandb.txt").read_text())
        for record in records(1, 3):
            tracker.log(record)
        tracker.close()
    assert ids[0] == ids[1]
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{ids[0]}"))) >= 1


@pytest.mark.parametrize("options", [TrackerOptions(tensorboard=True), TrackerOptions(wandb="project")])
def test_a_tracker_that_is_not_installed_is_told_before_the_run(options, monkeypatch):
    monkeypatch.setattr(options_module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a package: pip install 'outbound\[tracking\]'"):
        options.check()
    monkeypatch.setattr(options_module, "find_spec", importlib.util.find_spec)
    options.check()
