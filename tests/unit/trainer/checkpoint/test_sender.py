"""A checkpoint on a store is complete when all of its files are there, and not before."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner import storage
from trainer.checkpoint import sender as module
from trainer.checkpoint.folder import MARKER, read_records
from trainer.checkpoint.sender import Parcel, Sender
from trainer.checkpoint.store import RunStore

FILES = ("weights-00000.safetensors", "exp_avg-00000.safetensors")


@pytest.fixture
def senders(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Sender]]:
    """A function that starts a rank's sender; they end with the test."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    started: list[Sender] = []

    def start(rank: int = 0, **keep: int) -> Sender:
        known = {"keep_newest": 2, "keep_every": 0, **keep}
        started.append(Sender(store, tmp_path / "run", rank=rank, **known))
        return started[-1]

    yield start
    for sender in started:
        sender.close()


def parcel(folder: Path, *, rank: int = 0, senders: tuple[int, ...] = (0,), **more: Any) -> Parcel:
    """What a rank sends of a checkpoint; with two ranks, one file each."""
    texts = {name: (folder / name).read_text() for name in ("state.json", MARKER)}
    files = FILES if len(senders) == 1 else FILES[rank : rank + 1]
    known = {"attempt": "a", "is_moved": False, "files": files, "records": read_records(folder), **more}
    return Parcel(name=folder.name, texts=texts, senders=senders, **known)


def wait_for(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_the_marker_comes_last_and_the_figures_before_it(
    save: Any, store: RunStore, bad_store: Any, senders: Any
) -> None:
    folder, sender = save(4), senders()
    sender.send_checkpoint(parcel(folder))
    wait_for(lambda: not sender.busy)
    written = [name.rpartition("/run/")[2] for name in bad_store.written]
    assert written[-1] == f"{folder.name}/{MARKER}"
    assert {"metrics.jsonl", "options.json", *(f"{folder.name}/{name}" for name in FILES)} <= set(written)
    assert store.complete() == [folder.name]
    assert sender.unsent == ""


def test_the_first_rank_waits_for_the_receipts_of_this_attempt(
    save: Any, store: RunStore, senders: Any
) -> None:
    folder, first, second = save(4), senders(0), senders(1)
    storage.write_text(store.at(folder.name, ".sent-1"), "an earlier attempt")
    storage.write_text(store.at(folder.name, FILES[1]), "and its file")
    first.send_checkpoint(parcel(folder, senders=(0, 1)))
    wait_for(lambda: storage.exists(store.at(folder.name, "state.json")))
    time.sleep(0.05)
    assert first.busy and store.complete() == []
    second.send_checkpoint(parcel(folder, rank=1, senders=(0, 1)))
    wait_for(lambda: not first.busy)
    assert store.complete() == [folder.name]
    assert not [name for name in store.sizes() if ".sent" in name]


def test_what_fails_is_tried_again_and_told(
    save: Any, store: RunStore, bad_store: Any, senders: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, sender = save(4), senders()
    bad_store.fails = lambda path: path.endswith(FILES[1])
    sender.send_checkpoint(parcel(folder))
    wait_for(lambda: sender.failing_s > 0.05)
    assert sender.trouble == "the line is cut"
    assert store.complete() == []
    bad_store.fails = lambda path: False
    wait_for(lambda: not sender.busy)
    assert store.complete() == [folder.name]
    assert sender.trouble == "" and sender.failing_s == 0
    assert (
        "rank 0 cannot send to bad://bucket/run: the line is cut: trying again in" in capfd.readouterr().err
    )


def test_one_that_is_given_up_is_never_complete_and_the_next_one_is(
    save: Any, store: RunStore, bad_store: Any, senders: Any
) -> None:
    sender = senders()
    bad_store.fails = lambda path: path.endswith(FILES[1])
    sender.send_checkpoint(parcel(save(4)))
    wait_for(lambda: sender.trouble)
    sender.give_up()
    wait_for(lambda: not sender.has_checkpoint)
    assert sender.unsent == "the line is cut"
    bad_store.fails = lambda path: False
    sender.send_checkpoint(parcel(save(6)))
    wait_for(lambda: not sender.busy)
    assert store.complete() == ["step_00000006"]
    assert sender.unsent == ""
    assert not [name for name in store.sizes() if name.startswith("step_00000004")]  # pruned


def test_older_checkpoints_go_from_the_store(save: Any, store: RunStore, senders: Any) -> None:
    sender = senders(keep_newest=1, keep_every=4)
    for step in (2, 4, 6, 8):
        sender.send_checkpoint(parcel(save(step)))
        wait_for(lambda: not sender.busy)
    assert store.complete() == ["step_00000004", "step_00000008"]


def test_files_that_were_only_to_get_there_are_gone_from_here(
    save: Any, store: RunStore, senders: Any
) -> None:
    folder, first, second = save(4), senders(0), senders(1)
    sent = [parcel(folder, rank=rank, senders=(0, 1), is_moved=True) for rank in (0, 1)]
    for name in ("state.json", MARKER):  # which machines with parts of a checkpoint do not write
        (folder / name).unlink()
    for sender, its in zip((first, second), sent, strict=True):
        sender.send_checkpoint(its)
    wait_for(lambda: not first.busy and not second.busy)
    assert store.complete() == [folder.name]
    assert not folder.exists()


def test_files_are_sent_when_they_have_changed(
    save: Any, store: RunStore, bad_store: Any, senders: Any, tmp_path: Path
) -> None:
    save(2)
    sender, run = senders(), tmp_path / "run"
    (run / "tensorboard").mkdir()
    (run / "tensorboard/events").write_text("1")
    (run / ".lock").write_text("x")
    sender.send_files()
    wait_for(lambda: not sender.busy)
    found = set(store.sizes())
    assert found == {"options.json", "metrics.jsonl", "tensorboard/events"}
    bad_store.written.clear()
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    sender.send_files()
    wait_for(lambda: not sender.busy)
    assert [name.rpartition("/")[2] for name in bad_store.written] == ["metrics.jsonl"]


def test_a_sender_that_is_closed_lets_go(save: Any, bad_store: Any, senders: Any) -> None:
    bad_store.fails = lambda path: True
    sender = senders()
    sender.send_checkpoint(parcel(save(4)))
    wait_for(lambda: sender.trouble)
    sender.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sender"]


def test_a_defect_does_not_pass_for_success(save: Any, store: RunStore, senders: Any) -> None:
    folder, sender = save(4), senders()
    broken = parcel(folder)
    broken.texts.pop("state.json")  # type: ignore[attr-defined]
    sender.send_checkpoint(broken)
    wait_for(lambda: not sender.has_checkpoint)
    assert "KeyError" in sender.unsent
    assert store.complete() == []
    sender.send_files()  # as the end of a run does
    wait_for(lambda: not sender.busy)
    assert "KeyError" in sender.unsent


def test_files_of_a_checkpoint_that_is_given_up_fill_no_disk(save: Any, bad_store: Any, senders: Any) -> None:
    folder, sender = save(4), senders(1)
    bad_store.fails = lambda path: True
    sender.send_checkpoint(parcel(folder, rank=1, senders=(0, 1), is_moved=True))
    wait_for(lambda: sender.trouble)
    sender.give_up()
    wait_for(lambda: not sender.busy)
    assert {path.name for path in folder.iterdir()}.isdisjoint(
        parcel(folder, rank=1, senders=(0, 1), is_moved=True).files
    )
