"""Settings of these tests; runs with checkpoints that hold next to nothing, on a disk and on a store."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.runner import storage
from trainer.checkpoint.folder import State, begin, commit, folder_of_step, write_tensors
from trainer.checkpoint.store import RunStore
from trainer.config.model_config import ModelConfig

NAMES = ("weights-00000.safetensors", "exp_avg-00000.safetensors")


class BadStore(MemoryFileSystem):
    """A store that fails while it is told to, and remembers what was written in which order."""

    protocol = "bad"
    store: dict[str, object] = {}  # noqa: RUF012  # as the class above has it
    fails: Callable[[str], bool] = staticmethod(lambda path: False)
    written: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, **more: object) -> None:
        self._write(rpath)
        super().put_file(lpath, rpath, **more)

    def pipe_file(self, path: str, value: bytes, **more: object) -> None:
        self._write(path)
        super().pipe_file(path, value, **more)

    def _write(self, path: str) -> None:
        if BadStore.fails(path):
            raise ConnectionError("the line is cut")
        BadStore.written.append(path)


@pytest.fixture
def bad_store() -> type[BadStore]:
    fsspec.register_implementation("bad", BadStore, clobber=True)
    BadStore.store.clear()
    BadStore.fails, BadStore.written = lambda path: False, []
    return BadStore


@pytest.fixture
def store(bad_store: type[BadStore]) -> RunStore:
    """The folder of a run on a store."""
    return RunStore("bad://bucket/run")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """A function that saves a checkpoint of a step, with figures up to it, in a run's folder."""

    def saved(step: int, run: Path = tmp_path / "run", value: float | None = None) -> Path:
        folder = folder_of_step(run, step)
        begin(folder, {})
        value = float(step) if value is None else value
        records = {name: write_tensors(folder / name, {"a": torch.tensor([value])}) for name in NAMES}
        commit(folder, dataclasses.replace(STATE, step=step), records)
        (run / "options.json").write_text('{"identity": {}}')
        (run / "metrics.jsonl").write_text("".join(f'{{"step": {n + 1}}}\n' for n in range(step)))
        return folder

    return saved


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
    figures={},
)


@pytest.fixture
def put() -> Callable[[Path, RunStore], None]:
    """A function that copies a folder to a store."""

    def copied(folder: Path, store: RunStore) -> None:
        filesystem, path = storage.locate(store.address)
        filesystem.put(f"{folder}/", f"{path}/", recursive=True)

    return copied
