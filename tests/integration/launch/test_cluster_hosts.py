"""The short edition of tests/proofs/cluster.sh and torchrun_exits.py: two ranks on two namespaces."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CANNOT = 3  # what it exits with where it may make no namespaces, or has no sshd


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_on_two_hosts_gives_the_bits_of_two_ranks_on_one() -> None:
    done = subprocess.run(
        [ROOT / "tests" / "proofs" / "cluster.sh", "torchrun"],
        env=os.environ | {"STEPS": "3"}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    if done.returncode == CANNOT:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 hosts: the bits of 2 ranks on one machine" in done.stdout
