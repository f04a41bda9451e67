"""Stop and resume a small run in every layout, and compare it with one that was never stopped.

    python tests/proofs/resume_grid.py

On two real ranks, with AdamW and with Muon, for every ZeRO stage, with and without offload, and every way to
recompute: losses, weights and moments must be the same bits after every step. Then the checkpoint of each
stage goes on by 1, 2, 3 and 4 ranks at every other stage: the losses must be those of the uninterrupted run
within 1e-5.
"""

import itertools
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rank_runs import Job, train_on_ranks  # noqa: E402  # the packages lie beside this file's folder

STEPS, STOP = 6, 3
OPTIMIZERS = ("adamw", "muon")
RECOMPUTE = ("none", "selective", "block", "offload")
STAGES = {
    "0": {"zero_stage": 0},
    "1": {"zero_stage": 1},
    "2": {"zero_stage": 2},
    "3": {"zero_stage": 3},
    "1, offload": {"zero_stage": 1, "offload_optimizer": True},
    "2, offload": {"zero_stage": 2, "offload_optimizer": True},
    "3, offload": {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}


def main() -> None:
    """Go through the grid; exit with what differs, if anything does."""
    for optimizer in OPTIMIZERS:
        with tempfile.TemporaryDirectory() as folder:
            losses = resume_bitwise(Path(folder), optimizer)
            change_layout(Path(folder), losses, optimizer)


def resume_bitwise(folder: Path, optimizer: str) -> list[float]:
    """Prove the first half and return the losses of the uninterrupted run."""
    for name, layout in STAGES.items():
        for recompute in RECOMPUTE:
            common, place = {**layout, "recompute": recompute}, str(folder / f"{name} {recompute}")
            common["optimizer"] = optimizer
            jobs = [
                Job(**common, steps=STEPS),
                Job(**common, steps=STOP, save=place),
                Job(**common, first=STOP, updates=STOP, steps=STEPS, resume=place),
            ]
            whole, begun, resumed = (ranks[0] for ranks in train_on_ranks(jobs))
            same = begun.losses + resumed.losses == whole.losses
            same = same and begun.digests + resumed.digests[1:] == whole.digests
            printed = "bitwise" if same else "DIFFERS"
            print(f"{optimizer}, stage {name}, recompute {recompute}: {printed}", flush=True)
            if not same:
                sys.exit(1)
    return whole.losses


def change_layout(folder: Path, losses: list[float], optimizer: str) -> None:
    """Prove the second half."""
    for ranks in (1, 2, 3, 4):
        pairs = list(itertools.permutations(STAGES, 2))
        jobs = [
            Job(**STAGES[to], micro_batch=12 // ranks, first=STOP, updates=STOP, steps=STEPS,
                optimizer=optimizer, resume=str(folder / f"{saved} none"))
            for saved, to in pairs
        ]  # fmt: skip
        worst = 0.0
        for (saved, to), reports in zip(pairs, train_on_ranks(jobs, ranks=ranks), strict=True):
            off = max(abs(a / b - 1) for a, b in zip(reports[0].losses, losses[STOP:], strict=True))
            if off > 1e-5:
                sys.exit(f"from stage {saved} to {to} on {ranks} ranks: losses differ by {off:.1e}")
            worst = max(worst, off)
        printed = f"{len(pairs)} changes of stage onto {ranks} ranks"
        print(f"{optimizer}, {printed}: losses within {worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
