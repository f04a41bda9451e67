"""The loss curve in bf16 and float8, in short: tests/proofs/precision_curve.py has the long one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
import json, sys, tempfile
from pathlib import Path
import precision_curve
from made_shards import write_shards
from trainer.distributed.ranks import joined
with tempfile.TemporaryDirectory() as folder, joined(precision_curve.ALONE, precision_curve.CPU):
    found = precision_curve.curves(write_shards(Path(folder, "shards")), 10, 512)
print(json.dumps(precision_curve.differences(found)))
"""


@pytest.mark.slow
def test_what_precision_changes_of_the_loss_drowns_in_the_order_of_the_data():
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/proofs")])
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["of the residual stream"] < 5e-3
    assert found["of bf16"] < 5e-3
    assert found["of float8"] < 2e-2
    assert found["of the order"] > 2 * max(found["of bf16"], found["of float8"])
