"""What a machine takes from a store to go on, and what of a run stays there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.runner import storage
from pipeline.runner.lock import locked
from trainer.checkpoint.folder import finished_checkpoints
from trainer.checkpoint.store import RunStore

Save = Callable[..., Path]
Put = Callable[[Path, RunStore], None]


def names(run: Path) -> list[str]:
    return [folder.name for folder in finished_checkpoints(run)]


def remote_run(save: Save, put: Put, store: RunStore, tmp_path: Path, *steps: int) -> Path:
    """Put a run with these checkpoints on the store; return the folder of another machine."""
    for step in steps:
        save(step)
    put(tmp_path / "run", store)
    return tmp_path / "elsewhere"


def flip(store: RunStore, name: str) -> None:
    filesystem, path = storage.locate(store.at(name))
    content = bytearray(filesystem.cat_file(path))
    content[-1] ^= 1
    filesystem.pipe_file(path, bytes(content))


def test_another_machine_gets_the_newest_checkpoint_and_what_belongs_to_it(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 2, 4)
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000004"]
    for file in ("options.json", "metrics.jsonl"):
        assert (here / file).read_bytes() == (tmp_path / "run" / file).read_bytes()
    for path in (tmp_path / "run/step_00000004").iterdir():
        assert (here / "step_00000004" / path.name).read_bytes() == path.read_bytes()


def test_damaged_and_unfinished_checkpoints_are_passed_over(
    save: Save, put: Put, store: RunStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = remote_run(save, put, store, tmp_path, 2, 4, 6, 8)
    storage.remove(store.at("step_00000008", "complete"))
    flip(store, "step_00000006/exp_avg-00000.safetensors")
    storage.remove(store.at("step_00000004", "weights-00000.safetensors"))
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000002"]
    printed = capfd.readouterr().err
    assert "step_00000006 is passed over: bad://bucket/run/step_00000006/exp_avg-00000.safetensors" in printed
    assert "step_00000004 is passed over: weights-00000.safetensors is missing" in printed

    store.set_aside_after("step_00000002")
    assert store.complete() == ["step_00000002"]


def test_if_all_are_damaged_nothing_starts_over(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 2)
    flip(store, "step_00000002/state.json")
    with pytest.raises(ValueError, match="every checkpoint in bad://bucket/run is damaged"):
        store.fetch_newest(here, exclusive=True)


def test_a_marker_that_names_a_file_elsewhere_is_not_followed(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 2)
    text = store.marker("step_00000002")
    assert text
    storage.write_text(store.at("step_00000002", "complete"), text.replace("state.json", "../../x"))
    with pytest.raises(ValueError, match="every checkpoint in bad://bucket/run is damaged"):
        store.fetch_newest(here, exclusive=True)
    assert not (tmp_path / "x").exists()


def test_a_newer_checkpoint_on_this_machine_stays_and_an_older_one_gives_way(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 2, 4)
    save(6, here)
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000006"]
    assert len((here / "metrics.jsonl").read_text().splitlines()) == 6
    shutil.rmtree(here)
    save(2, here)
    store.fetch_newest(here, exclusive=True)
    assert names(here)[-1] == "step_00000004"
    assert len((here / "metrics.jsonl").read_text().splitlines()) == 4


def test_of_one_step_the_stores_checkpoint_counts(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 4)
    ours, theirs = save(4, here, value=9.0), tmp_path / "run/step_00000004"
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000004"]
    for path in theirs.iterdir():
        assert (ours / path.name).read_bytes() == path.read_bytes()


def test_what_is_half_fetched_is_no_checkpoint_and_is_completed(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 4)
    (here / "step_00000004").mkdir(parents=True)
    (here / "step_00000004/weights-00000.safetensors").write_bytes(b"hal")
    assert names(here) == []
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000004"]


def test_a_folder_that_a_run_has_is_not_touched(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 4)
    with locked(str(here)), pytest.raises(ValueError, match=r"another run .* is writing to"):
        store.fetch_newest(here, exclusive=True)
    assert names(here) == []


def test_a_run_that_began_and_saved_nothing_is_recognised(store: RunStore, tmp_path: Path) -> None:
    storage.write_text(store.at("options.json"), '{"identity": {"seed": 1}}')
    store.fetch_newest(tmp_path / "run", exclusive=True)
    assert (tmp_path / "run/options.json").read_text() == '{"identity": {"seed": 1}}'


def test_pruning_keeps_what_was_asked_for_and_always_the_last_complete_one(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    remote_run(save, put, store, tmp_path, 2, 4, 6, 8, 10)
    storage.remove(store.at("step_00000010", "complete"))  # still being sent
    storage.remove(store.at("step_00000004", "complete"))  # never finished
    store.prune(keep_newest=1, keep_every=2000)
    assert store.complete() == ["step_00000008"]
    left = {name.partition("/")[0] for name in store.sizes() if name.startswith("step_")}
    assert left == {"step_00000008", "step_00000010"}
    save(12)
    put(tmp_path / "run", store)
    store.prune(keep_newest=2, keep_every=6)
    assert store.complete() == ["step_00000006", "step_00000010", "step_00000012"]


def test_a_listing_without_a_file_is_no_sent_checkpoint(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    from trainer.checkpoint.folder import read_records

    remote_run(save, put, store, tmp_path, 2)
    records = read_records(tmp_path / "run/step_00000002")
    store.check_sent("step_00000002", records)
    storage.write_text(store.at("step_00000002", "state.json"), "short")
    with pytest.raises(OSError, match=r"state\.json is not on the store"):
        store.check_sent("step_00000002", records)


def test_a_folder_that_goes_further_with_another_run_is_refused(
    save: Save, put: Put, store: RunStore, tmp_path: Path
) -> None:
    here = remote_run(save, put, store, tmp_path, 2)
    store.fetch_newest(here, exclusive=True)
    shutil.copytree(here / "step_00000002", here / "step_00000009")
    for seed, is_same in ((1, True), (2, False)):
        (here / "options.json").write_text('{"identity": {"seed": 1, "steps": 9}}')
        storage.write_text(store.at("options.json"), f'{{"identity": {{"seed": {seed}, "steps": 7}}}}')
        if is_same:
            store.fetch_newest(here, exclusive=True)
            continue
        with pytest.raises(ValueError, match="holds another run than bad://bucket/run: remove the one"):
            store.fetch_newest(here, exclusive=True)
    assert store.complete() == ["step_00000002"]


@pytest.mark.parametrize(
    "marker", [b"", b"{", b"\xff\xfe", b"[]", b'{"files": {}}', b'{"files": 3}', b"[" * 9_000]
)
def test_what_is_no_marker_is_passed_over(
    save: Save, put: Put, store: RunStore, tmp_path: Path, marker: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    here = remote_run(save, put, store, tmp_path, 2, 4)
    filesystem, path = storage.locate(store.at("step_00000004", "complete"))
    filesystem.pipe_file(path, marker)
    store.fetch_newest(here, exclusive=True)
    assert names(here) == ["step_00000002"]
    assert "step_00000004 is passed over: its marker" in capfd.readouterr().err


def test_only_steps_are_checkpoints(save: Save, put: Put, store: RunStore, tmp_path: Path) -> None:
    remote_run(save, put, store, tmp_path, 2, 4)
    for name in ("step_00000004.bak", "step_x", "step_"):
        storage.write_text(store.at(name, "complete"), "{}")
    assert store.complete() == ["step_00000002", "step_00000004"]
    store.prune(keep_newest=1, keep_every=2)
