"""A short edition of `tests/proofs/kill_pipeline.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "proofs" / "kill_pipeline.py"


@pytest.mark.slow
def test_killed_builds_give_the_same_bytes_and_redo_nothing() -> None:
    result = subprocess.run(
        [sys.executable, str(PROOF), "--kills", "4", "--pages", "30", "--seed", "4"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no committed partition was done again" in result.stdout
