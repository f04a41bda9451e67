"""A short edition of `tests/proofs/kill_pipeline.py`: one blow to each kind of process."""

import random
from pathlib import Path

import kill_pipeline
import pytest


@pytest.mark.slow
def test_killed_builds_give_the_same_bytes_and_redo_nothing(
    ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray import get_runtime_context

    monkeypatch.setenv("RAY_ADDRESS", get_runtime_context().gcs_address)
    kill_pipeline.prove(tmp_path, kill_pipeline.EACH, pages=8, partitions=2, chance=random.Random(4))
    printed = capsys.readouterr().out
    assert "kills: 1 driver, 1 extractor, 1 worker; 2 starts; 1 builds, each byte-identical" in printed
    assert "no committed partition was done again" in printed
