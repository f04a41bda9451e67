"""Shards of a store read as those of a disk, within the space that they may take, and damage is named."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_shards import write_shards

from pipeline.runner import storage
from tokenizer.shards import cache
from tokenizer.shards.folder import Shards, StreamedTokens, open_shards
from trainer.data.batches import TrainingData

TOKENS = 1000  # of each shard: 3,024 bytes


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "local", train=8 * TOKENS, files=8)


@pytest.fixture
def remote(local: Path) -> str:
    filesystem, path = storage.locate(f"memory://{local.parent.name}")
    filesystem.put(f"{local}/", f"{path}/", recursive=True)
    return f"memory://{local.parent.name}"


def opened(remote: str, tmp_path: Path, gb: float | None = None) -> Shards:
    return open_shards(remote, scratch=str(tmp_path / "scratch"), cache_gb=gb)


def on_disk(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "scratch").rglob("*.bin"))


def test_a_stream_from_a_store_has_the_tokens_of_the_local_one(
    remote: str, local: Path, tmp_path: Path
) -> None:
    ours, theirs = opened(remote, tmp_path).open("train"), open_shards(str(local)).open("train")
    assert len(ours) == len(theirs) == 8 * TOKENS
    assert (ours.read_rows([990, 0, 7990], 20) == theirs.read_rows([990, 0, 7990], 20)).all()
    assert on_disk(tmp_path) == [f"train_{n:06d}.bin" for n in (0, 1, 7)]  # what was read, and no more
    assert (ours.read(0, 8 * TOKENS) == theirs.read(0, 8 * TOKENS)).all()


def test_what_is_fetched_stays_for_the_next_command(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(remote, tmp_path).open("train").read(0, 8 * TOKENS)
    monkeypatch.setattr(cache, "fetch", None)
    opened(remote, tmp_path).open("train").read(0, 8 * TOKENS)


def bytes_in(folder: Path) -> int:
    """Return the size of the shards in a folder, from which a thread removes some."""
    total = 0
    for path in folder.glob("*.bin"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_epochs_by_groups_take_the_space_of_two_groups_and_give_the_same_batches(
    remote: str, local: Path, tmp_path: Path
) -> None:
    most = 4 * 3024
    options: dict[str, Any] = {"context": 50, "vocabulary": 257, "seed": 1, "shuffle_shards": 1}
    shards = opened(remote, tmp_path, most / 1e9)
    assert shards.cache is not None
    ours = TrainingData(shards.open("train"), **options)
    theirs = TrainingData(open_shards(str(local)).open("train"), **options)
    assert ours.most_at_once([3024] * 8, 8) == most
    for first in range(0, 2 * ours.windows, 8):
        ours.make_ready(first, 8)
        found, expected = ours.sequences(first, 8), theirs.sequences(first, 8)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert bytes_in(shards.cache.folder) <= most + 3024


def test_the_next_shards_are_fetched_before_they_are_read(remote: str, tmp_path: Path) -> None:
    stream = opened(remote, tmp_path).open("train")
    assert isinstance(stream, StreamedTokens)
    stream.need([2], [5, 6])
    for thread in threading.enumerate():
        if thread.name == "shards ahead":
            thread.join(30)
    assert on_disk(tmp_path) == [f"train_{n:06d}.bin" for n in (2, 5, 6)]


def test_the_end_of_a_run_waits_for_no_shard_that_is_fetched_ahead(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unreachable(address: str, target: Path) -> None:
        asked.append(address)
        raise ConnectionResetError("connection reset")

    stream = opened(remote, tmp_path).open("train")
    assert isinstance(stream, StreamedTokens)
    monkeypatch.setattr("pipeline.runner.transfer._get", unreachable)
    monkeypatch.setattr("pipeline.runner.transfer.FIRST_WAIT_S", 60.0)
    stream.need(range(8), [])
    while len(asked) < cache.AT_ONCE:
        time.sleep(0.01)
    stream.close()
    for thread in threading.enumerate():
        if thread.name.startswith("shards"):
            thread.join(10)
            assert not thread.is_alive()
    assert len(asked) == cache.AT_ONCE


def test_many_readers_fetch_each_shard_once(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    real = cache.fetch
    monkeypatch.setattr(cache, "fetch", lambda *a, **more: (fetched.append(a[0]), real(*a, **more)))
    readers = [opened(remote, tmp_path).open("train") for _ in range(6)]
    fetched.clear()
    threads = [threading.Thread(target=reader.read, args=(0, 8 * TOKENS)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == len(set(fetched)) == 8


def test_too_small_a_cache_is_refused_with_what_would_do(remote: str, tmp_path: Path) -> None:
    shards = opened(remote, tmp_path, 1e-6)
    assert shards.cache is not None
    with pytest.raises(
        ValueError, match=r"GB of shards are needed at a time, but .* may take 0\.00 GB: hint"
    ):
        shards.cache.check_fits(5000, "hint")


def test_damage_on_the_store_is_named(remote: str, tmp_path: Path) -> None:
    filesystem, path = storage.locate(remote)
    content = bytearray(filesystem.cat_file(f"{path}/train_000003.bin"))
    content[-1] ^= 1
    filesystem.pipe_file(f"{path}/train_000003.bin", bytes(content))
    shards = opened(remote, tmp_path)
    shards.check_listed()  # it has its size
    stream = shards.open("train")
    stream.read(0, 3 * TOKENS)
    with pytest.raises(ValueError, match=r"memory://.*/train_000003.bin is damaged: its checksum is wrong"):
        stream.read(0, 4 * TOKENS)
    assert "train_000003.bin" not in on_disk(tmp_path)

    filesystem.pipe_file(f"{path}/train_000003.bin", bytes(content[:-2]))
    with pytest.raises(ValueError, match=r"train_000003\.bin is damaged: 3,022 bytes, but shards\.json says"):
        opened(remote, tmp_path).check_listed()
    filesystem.rm(f"{path}/train_000003.bin")
    with pytest.raises(ValueError, match=r"memory://.*/train_000003\.bin is missing"):
        opened(remote, tmp_path).check_listed()


def test_other_shards_at_the_same_address_are_not_taken_for_these(
    remote: str, local: Path, tmp_path: Path
) -> None:
    opened(remote, tmp_path).open("train").read(0, 8 * TOKENS)
    other = write_shards(tmp_path / "other", train=8 * TOKENS, files=8, seed=9)
    filesystem, path = storage.locate(remote)
    filesystem.put(f"{other}/", f"{path}/", recursive=True)
    found = opened(remote, tmp_path).open("train").read(0, 8 * TOKENS)
    assert (found == open_shards(str(other)).open("train").read(0, 8 * TOKENS)).all()
    assert (found != open_shards(str(local)).open("train").read(0, 8 * TOKENS)).any()


def test_another_tools_shards_are_fetched_whole(tmp_path: Path) -> None:
    local = write_shards(tmp_path / "local")
    (local / "shards.json").unlink()
    filesystem, path = storage.locate(f"memory://{tmp_path.name}-foreign")
    filesystem.put(f"{local}/", f"{path}/", recursive=True)
    shards = opened(f"memory://{tmp_path.name}-foreign", tmp_path)
    assert shards.are_foreign
    theirs = open_shards(str(local))
    assert shards.fingerprint == theirs.fingerprint
    assert (shards.open("train").read(0, 99) == theirs.open("train").read(0, 99)).all()
