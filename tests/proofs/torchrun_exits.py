"""Train on two ranks under torchrun, again and again, and count the exit codes.

    python tests/proofs/torchrun_exits.py --runs 100

A run whose work is done must end with code 0, or a cluster counts it as failed and starts it again. A thread
that still runs while Python takes itself down ends a rank with SIGABRT now and then: one run shows little.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
RUN_S = 300.0  # longest that a run may take
OPTIONS = """
--size micro --steps 3 --global-batch-tokens 512 --micro-batch 1 --warmup-steps 1 --learning-rate 4e-3
--checkpoint-every 2 --evaluate-every 2 --evaluation-tokens 500 --sample-tokens 12 --precision fp32
"""


def main() -> None:
    """Parse the options and prove it."""
    from made_shards import write_shards

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exits", ignore_cleanup_errors=True) as name:
        data = write_shards(Path(name) / "shards")
        codes: Counter[int] = Counter()
        started = time.monotonic()
        for run in range(options.runs):
            code, printed = train(data, Path(name) / f"run-{run}", options.ranks)
            codes[code] += 1
            if code:
                print(f"run {run} ended with code {code}:\n{printed}", flush=True)
        seconds = (time.monotonic() - started) / options.runs
    told = ", ".join(f"{number:,} with code {code}" for code, number in sorted(codes.items()))
    print(
        f"{options.runs:,} runs of {options.ranks} ranks under torchrun ended: {told}; {seconds:.1f} s each"
    )
    sys.exit(0 if set(codes) == {0} else 1)


def train(data: Path, run: Path, ranks: int) -> tuple[int, str]:
    """Train once; return torchrun's exit code, and what was printed.

    A run that ends with code 0 but has not saved its last step has failed all the same, as code 1.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [str(ROOT / "launch" / "pretrain.py"), *OPTIONS.split(), "--data", str(data)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--output", str(run)], cwd=ROOT, env=environment, text=True, check=False, timeout=RUN_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode == 0 and not (run / "step_00000003" / "complete").exists():
        return 1, done.stdout
    return done.returncode, done.stdout


if __name__ == "__main__":
    main()
