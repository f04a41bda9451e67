import dataclasses

import pytest

from trainer.checkpoint import (
    State,
    begin,
    check_same_run,
    commit,
    find_checkpoint,
    finished_checkpoints,
    folder_of_step,
    is_finished,
    keep_newest,
    read_state,
)
from trainer.config import ModelConfig

STATE = State(
    step=1,
    sequences=8,
    tokens=64,
    world_size=2,
    zero_stage=1,
    vocabulary_fingerprint="f",
    model=ModelConfig(layers=1, heads=1, width=8, context=8, vocabulary=10),
    plan={"size": "nano"},
    figures={"training_seconds": 1.0},
)


def save(run, step):
    """A finished checkpoint with one file in it."""
    folder = folder_of_step(run, step)
    begin(folder)
    (folder / "weights.pt").write_bytes(b"12345")
    commit(folder, dataclasses.replace(STATE, step=step))
    return folder


def test_state_comes_back_as_it_was_saved(tmp_path):
    assert read_state(save(tmp_path, 7)) == dataclasses.replace(STATE, step=7)


def test_only_committed_checkpoints_count_and_the_newest_is_found(tmp_path):
    folders = [save(tmp_path, step) for step in (5, 100, 20)]
    begin(folder_of_step(tmp_path, 200))
    assert finished_checkpoints(tmp_path) == [folders[0], folders[2], folders[1]]
    assert find_checkpoint(tmp_path) == folders[1]
    assert find_checkpoint(folders[0]) == folders[0]


def test_a_checkpoint_that_lost_bytes_does_not_count(tmp_path):
    folder = save(tmp_path, 1)
    (folder / "weights.pt").write_bytes(b"1234")
    assert not is_finished(folder)
    (folder / "weights.pt").unlink()
    assert not is_finished(folder)
    with pytest.raises(ValueError, match=r"holds no finished checkpoint \(1 unfinished\)"):
        find_checkpoint(tmp_path)


def test_latest_names_the_last_commit(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert (tmp_path / "latest").read_text() == "step_00000002"


def test_beginning_again_removes_what_an_interrupted_attempt_left(tmp_path):
    folder = folder_of_step(tmp_path, 3)
    begin(folder)
    (folder / "half").write_text("x")
    begin(folder)
    assert not list(folder.iterdir())


def test_the_newest_are_kept_and_what_is_older_goes_finished_or_not(tmp_path):
    folders = [save(tmp_path, step) for step in (10, 20, 30)]
    for step in (5, 40):
        begin(folder_of_step(tmp_path, step))
    keep_newest(tmp_path, 2)
    left = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert left == [*folders[1:], folder_of_step(tmp_path, 40)]
    keep_newest(tmp_path, 5)
    assert finished_checkpoints(tmp_path) == folders[1:]


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_a_folder_without_checkpoints_is_a_mistake(tmp_path, path):
    with pytest.raises(ValueError, match=r"holds no finished checkpoint|is no folder"):
        find_checkpoint(tmp_path / path)


def test_the_output_may_be_new_empty_or_the_same_run(tmp_path):
    check_same_run(tmp_path / "new", {"seed": 1})
    check_same_run(tmp_path, {"seed": 1})
    (tmp_path / "options.json").write_text('{"identity": {"seed": 1}}')
    check_same_run(tmp_path, {"seed": 1})


def test_the_output_may_not_hold_another_run_or_something_else(tmp_path):
    (tmp_path / "options.json").write_text('{"identity": {"learning_rate": 1}}')
    with pytest.raises(ValueError, match="another --learning-rate: 1 there, 2 here"):
        check_same_run(tmp_path, {"learning_rate": 2})
    (tmp_path / "options.json").write_text("{")
    with pytest.raises(ValueError, match=r"options\.json is broken"):
        check_same_run(tmp_path, {"learning_rate": 2})
    (tmp_path / "options.json").rename(tmp_path / "letter.txt")
    with pytest.raises(ValueError, match="holds something that is no training run"):
        check_same_run(tmp_path, {"learning_rate": 2})
    with pytest.raises(ValueError, match="is a file"):
        check_same_run(tmp_path / "letter.txt", {"learning_rate": 2})
