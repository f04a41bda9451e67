"""`make gpu` without a GPU: what measures one must not rot while none is at hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_gpu_is_measured_by_what_runs_at_toy_size_on_a_cpu(tmp_path):
    command = [sys.executable, "tests/benchmarks/bench_gpu.py", "--rehearsal", "--output", str(tmp_path)]
    parts = ["--part", "speed", "--part", "layouts"]
    done = subprocess.run([*command, *parts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert not [r for r in results if r["what"] == "failed" or "failed" in r or "skipped" in r]
    layouts = [(r["size"], r["layout"]) for r in results if r["what"] == "layout"]
    assert layouts[0] == ("micro", "") and len(layouts) == 4
    assert all(r["tokens_per_s"] > 0 for r in results if r["what"] == "layout")
    assert "| micro | 8 × 2 |" in done.stdout
    assert "one step" in (tmp_path / "kernels_micro.txt").read_text()
