"""The short edition of tests/proofs/torchrun_exits.py: a run whose work is done ends with code 0."""

from pathlib import Path

import pytest
from made_shards import write_shards
from torchrun_exits import train


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_of_two_ranks_under_torchrun_ends_with_code_0(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "shards")
    code, printed = train(data, tmp_path / "run", ranks=2)
    assert code == 0, printed
