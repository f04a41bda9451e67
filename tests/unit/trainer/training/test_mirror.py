"""What the ranks do together about a store that is slow, out of reach, or behind; here there is one rank."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.runner import storage
from trainer.checkpoint import sender
from trainer.checkpoint.folder import MARKER, finished_checkpoints, read_records
from trainer.checkpoint.store import RunStore
from trainer.distributed.ranks import Ranks
from trainer.training import mirror as module
from trainer.training.mirror import Mirror

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
PLAN: Any = SimpleNamespace(keep_checkpoints=2, keep_every=0)


@pytest.fixture
def mirrors(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Mirror]]:
    """A function that makes the mirror of a run."""

    def fail(error: Exception) -> None:
        raise error

    monkeypatch.setattr(module, "all_gather", lambda value: [value])
    monkeypatch.setattr(module, "fail_together", fail)
    monkeypatch.setattr(module, "on_first_rank", lambda act: act())
    monkeypatch.setattr(module, "on_first_of_each_machine", lambda act, ranks: act())
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    monkeypatch.setattr(sender, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(sender, "LONGEST_WAIT_S", 0.01)
    made: list[Mirror] = []

    def make(run: Path = tmp_path / "run", *, apart: bool = False) -> Mirror:
        made.append(Mirror(store, run, ALONE, PLAN, apart=apart))
        return made[-1]

    yield make
    for mirror in made:
        mirror.close()


def send(mirror: Mirror, folder: Path) -> None:
    records = read_records(folder)
    owners = {name: 0 for name in records if name != "state.json"}
    mirror.send(folder.name, owners, records, {n: (folder / n).read_text() for n in ("state.json", MARKER)})


def test_the_end_of_a_run_waits_until_everything_is_there(save: Any, store: RunStore, mirrors: Any) -> None:
    mirror = mirrors()
    send(mirror, save(2))
    mirror.finish()
    assert store.complete() == ["step_00000002"]
    assert storage.exists(store.at("metrics.jsonl"))


def test_a_store_that_stays_out_of_reach_ends_the_run_with_one_line_and_nothing_is_lost(
    save: Any, store: RunStore, bad_store: Any, mirrors: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "GIVE_UP_S", 0.05)
    bad_store.fails = lambda path: True
    mirror = mirrors()
    send(mirror, save(2))
    message = r"could not be sent to bad://bucket/run: the line is cut\. It is in .*/run on this machine"
    with pytest.raises(OSError, match=message):
        mirror.finish()
    assert store.complete() == []
    mirror.close()

    bad_store.fails = lambda path: False
    again = mirrors()
    again.settle()
    newest = finished_checkpoints(tmp_path / "run")[-1]
    again.go_on_from(newest)
    again.finish()
    assert store.complete() == ["step_00000002"]


def test_a_checkpoint_that_cannot_be_sent_gives_way_to_the_next(
    save: Any, store: RunStore, bad_store: Any, mirrors: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(module, "GIVE_WAY_S", 0.05)
    bad_store.fails = lambda path: True
    mirror = mirrors()
    send(mirror, save(2))
    mirror.make_way()
    assert "the last checkpoint could not be sent: the line is cut: the next one will be" in (
        capfd.readouterr().err
    )
    bad_store.fails = lambda path: False
    send(mirror, save(4))
    mirror.finish()
    assert store.complete() == ["step_00000004"]


def test_what_this_machine_has_beyond_the_store_is_sent_and_what_the_store_has_beyond_is_taken(
    save: Any, put: Any, store: RunStore, mirrors: Any, tmp_path: Path
) -> None:
    save(2)
    put(tmp_path / "run", store)
    ours = save(4)
    mirror = mirrors()
    mirror.settle()
    mirror.go_on_from(ours)
    mirror.finish()
    assert store.complete() == ["step_00000002", "step_00000004"]

    elsewhere = mirrors(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    elsewhere.settle()
    assert [folder.name for folder in finished_checkpoints(tmp_path / "elsewhere")] == ["step_00000004"]


def test_machines_apart_go_on_from_the_store_only(
    save: Any, put: Any, store: RunStore, mirrors: Any, tmp_path: Path
) -> None:
    save(2)
    put(tmp_path / "run", store)
    save(4)  # of which it may have parts only
    mirror = mirrors(apart=True)
    mirror.settle()
    assert [folder.name for folder in finished_checkpoints(tmp_path / "run")] == ["step_00000002"]


def test_newer_checkpoints_of_the_store_than_the_one_gone_on_from_are_set_aside(
    save: Any, put: Any, store: RunStore, mirrors: Any, tmp_path: Path
) -> None:
    older = save(2)
    save(4)
    put(tmp_path / "run", store)
    mirrors().go_on_from(older)
    assert store.complete() == ["step_00000002"]
    assert storage.exists(store.at("step_00000004", "damaged"))
