"""The short edition of tests/proofs/torchrun_exits.py: runs whose work is done end with code 0."""

from pathlib import Path

import pytest
from made_shards import write_shards
from torchrun_exits import train


@pytest.mark.slow
def test_a_run_of_two_ranks_under_torchrun_ends_with_code_0(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "shards")
    for number in range(2):
        code, printed = train(data, tmp_path / f"run-{number}", ranks=2)
        assert code == 0, printed
