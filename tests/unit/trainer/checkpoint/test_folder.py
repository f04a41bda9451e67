import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.checkpoint.folder import (
    FileRecord,
    State,
    begin,
    check_same_identity,
    commit,
    damaged_files,
    find_checkpoint,
    finished_checkpoints,
    folder_of_step,
    is_finished,
    prune,
    read_options,
    read_records,
    read_state,
    read_weights,
    set_aside,
    tensor_files,
    write_tensors,
)
from trainer.config.model_config import ModelConfig

WEIGHTS = "weights-00000.safetensors"
STATE = State(
    step=1,
    updates=1,
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
    begin(folder, {})
    record = write_tensors(folder / WEIGHTS, {"a": torch.tensor([float(step)])})
    commit(folder, dataclasses.replace(STATE, step=step), {WEIGHTS: record})
    return folder


def test_state_comes_back_as_it_was_saved(tmp_path):
    assert read_state(save(tmp_path, 7)) == dataclasses.replace(STATE, step=7)


def test_tensors_come_back_by_their_names_and_bit_for_bit(tmp_path):
    folder = folder_of_step(tmp_path, 1)
    begin(folder, {})
    tensors = {"a": torch.tensor([-0.0, torch.nan, 1e-45]), "b.c": torch.randn(3, 5)}
    record = write_tensors(folder / WEIGHTS, tensors)
    commit(folder, STATE, {WEIGHTS: record})
    found = read_weights(folder)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name].view(torch.int32), tensor.view(torch.int32))
    assert read_records(folder)[WEIGHTS] == record


def test_a_file_that_the_first_rank_does_not_see_is_not_committed(tmp_path):
    begin(folder_of_step(tmp_path, 1), {})
    with pytest.raises(OSError, match="all machines must share --output"):
        commit(folder_of_step(tmp_path, 1), STATE, {WEIGHTS: FileRecord(size_bytes=1, xxh3="")})
    assert not finished_checkpoints(tmp_path)


@given(sizes=st.lists(st.integers(1, 2**28), min_size=1, max_size=30))
def test_files_of_bounded_size_hold_every_tensor_once_and_in_order(sizes):
    shapes = {f"p{number}": (size,) for number, size in enumerate(sizes)}
    files = tensor_files(shapes)
    for kind in ("weights", "exp_avg", "exp_avg_sq"):
        parts = [file.parameters for file in files if file.kind == kind]
        assert [name for part in parts for name in part] == list(shapes)
        for part in parts:
            assert len(part) == 1 or sum(4 * shapes[name][0] for name in part) <= 256 * 2**20
    assert len({file.name for file in files}) == len(files)


def test_a_parameter_with_one_moment_is_in_no_file_of_second_moments(tmp_path):
    shapes = {"a": (8, 8), "b": (8,)}
    files = {file.kind: file.parameters for file in tensor_files(shapes, one_moment=("a",))}
    assert files == {"weights": ("a", "b"), "exp_avg": ("a", "b"), "exp_avg_sq": ("b",)}
    with pytest.raises(OSError, match=r"needs 8,000,000,000,000,000 bytes"):
        begin(folder_of_step(tmp_path, 1), {"a": (10**12, 1000)}, one_moment=("a",))


def test_only_committed_checkpoints_count_and_the_newest_is_found(tmp_path):
    folders = [save(tmp_path, step) for step in (5, 100, 20)]
    begin(folder_of_step(tmp_path, 200), {})
    assert finished_checkpoints(tmp_path) == [folders[0], folders[2], folders[1]]
    assert find_checkpoint(tmp_path) == folders[1]
    assert find_checkpoint(folders[0]) == folders[0]


def test_a_checkpoint_that_lost_bytes_does_not_count(tmp_path):
    folder = save(tmp_path, 1)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    assert not is_finished(folder)
    (folder / WEIGHTS).unlink()
    assert not is_finished(folder)
    with pytest.raises(ValueError, match=r"has no finished checkpoint \(1 unfinished\)"):
        find_checkpoint(tmp_path)


def test_a_flipped_bit_is_found_by_its_checksum_though_the_size_is_right(tmp_path):
    folder = save(tmp_path, 1)
    names = [WEIGHTS, "state.json"]
    assert damaged_files(folder, names) == []
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert is_finished(folder)
    assert damaged_files(folder, names) == [WEIGHTS]
    set_aside(folder)
    assert not finished_checkpoints(tmp_path)


def test_beginning_again_removes_what_an_interrupted_attempt_left(tmp_path):
    folder = folder_of_step(tmp_path, 3)
    begin(folder, {})
    (folder / "half").write_text("x")
    begin(folder, {})
    assert not list(folder.iterdir())


def test_the_newest_are_kept_and_what_is_older_goes_finished_or_not(tmp_path):
    folders = [save(tmp_path, step) for step in (10, 20, 30)]
    for step in (5, 40):
        begin(folder_of_step(tmp_path, step), {})
    prune(tmp_path, keep_newest=2, keep_every=0)
    left = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert left == [*folders[1:], folder_of_step(tmp_path, 40)]
    prune(tmp_path, keep_newest=5, keep_every=0)
    assert finished_checkpoints(tmp_path) == folders[1:]


def test_those_after_every_so_many_steps_are_kept_for_good_and_the_last_one_always(tmp_path):
    folders = [save(tmp_path, step) for step in (10, 15, 20, 25, 30)]
    prune(tmp_path, keep_newest=1, keep_every=20)
    assert finished_checkpoints(tmp_path) == [folders[2], folders[4]]
    prune(tmp_path, keep_newest=1, keep_every=0)
    assert finished_checkpoints(tmp_path) == [folders[4]]


def test_a_checkpoint_for_which_there_is_no_room_is_not_begun(tmp_path):
    with pytest.raises(
        OSError, match=r"not enough disk space for .*step_00000001: needs 12,000,000,000,000,000 bytes"
    ):
        begin(folder_of_step(tmp_path, 1), {"a": (10**12, 1000)})


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_a_folder_without_checkpoints_is_a_mistake(tmp_path, path):
    with pytest.raises(ValueError, match=r"has no finished checkpoint|is not a folder"):
        find_checkpoint(tmp_path / path)


def test_the_output_may_be_new_or_empty_or_hold_the_same_run(tmp_path):
    assert read_options(tmp_path / "new") is None
    assert read_options(tmp_path) is None
    (tmp_path / "options.json").write_text('{"identity": {"seed": 1}}')
    assert read_options(tmp_path) == {"identity": {"seed": 1}}
    check_same_identity(tmp_path, {"seed": 1}, {"seed": 1})


def test_the_output_may_not_hold_another_run_or_something_else(tmp_path):
    with pytest.raises(ValueError, match="another --learning-rate: 1 there, 2 here"):
        check_same_identity(tmp_path, {"learning_rate": 1}, {"learning_rate": 2})
    for broken in ("{", "[]", "{}", '{"identity": 1}'):
        (tmp_path / "options.json").write_text(broken)
        with pytest.raises(ValueError, match=r"options\.json is damaged"):
            read_options(tmp_path)
    (tmp_path / "options.json").rename(tmp_path / "letter.txt")
    with pytest.raises(ValueError, match="is not a training run"):
        read_options(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        read_options(tmp_path / "letter.txt")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"step": 2', '"step": "two"'),
        ('"model": {', '"model": 3, "was": {'),
        ('"layers": 1', '"layers": 2147483648'),
        ('"plan": {', '"plan": [], "was": {'),
        ("{", "[" * 100_000),
    ],
)
def test_a_state_of_another_kind_is_a_mistake_and_no_traceback(tmp_path, old, new):
    folder = save(tmp_path, 2)
    text = (folder / "state.json").read_text()
    assert old in text
    (folder / "state.json").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        read_state(folder)
