"""Kill ranks of a training run at random moments, and compare what it computes with an undisturbed run.

    python tests/proofs/kill_training.py --kills 100

Each blow is a `kill -9` of one rank of a real run: at any moment of it, or as soon as a checkpoint has been
begun and is not complete. The other ranks notice and end, or are ended as a launcher would. Then the same
command is given again, until it ends; then it begins anew at the next ZeRO stage, until all blows are dealt.
Told at the end: that weights, moments and metrics were each time the same bits as those of the undisturbed
run of that stage.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fleet import ROOT, Fleet, outcome

sys.path.insert(0, str(ROOT))
LAUNCHER_S = 15.0  # after which the survivors of a blow are ended
OPTIONS = """
--size micro --steps 12 --global-batch-tokens 512 --micro-batch 1 --warmup-steps 2 --learning-rate 4e-3
--checkpoint-every 1 --evaluate-every 4 --evaluation-tokens 500 --sample-tokens 12 --precision fp32
"""


def main() -> None:
    """Parse the options and prove it."""
    from made_shards import write_shards

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        command = [*OPTIONS.split(), "--data", str(write_shards(folder / "shards"))]
        Proof(folder, command, options).go()


class Proof:
    """What is to be proved, and what has happened so far."""

    def __init__(self, folder: Path, command: list[str], options: argparse.Namespace) -> None:
        self._folder, self._command, self._options = folder, command, options
        self._chance = random.Random(options.seed)
        self._expected: dict[int, dict[str, object]] = {}
        self._seconds = 0.0  # that an undisturbed run takes
        self._blows: Counter[str] = Counter()
        self._starts = self._runs = self._torn = self._ended = 0

    def go(self) -> None:
        """Deal the blows; exit with what differs, if anything does."""
        while self._blows.total() < self._options.kills:
            stage = self._options.stages[self._runs % len(self._options.stages)]
            if stage not in self._expected:
                self._expected[stage] = self._undisturbed(stage)
            run = self._folder / f"run-{self._runs}"
            self._train_under_blows(run, stage)
            self._runs += 1
            found, expected = outcome(run), self._expected[stage]
            differs = [name for name in expected if found[name] != expected[name]]
            if differs:
                sys.exit(f"other {', '.join(differs)} at stage {stage} after {dict(self._blows)}")
            print(f"{self._blows.total():,} blows, {self._runs:,} runs, all the same bits", flush=True)
        blows = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self._blows.items()))
        print(f"kills: {blows}; {self._torn:,} left a checkpoint unfinished; {self._starts:,} starts;")
        print(f"{self._ended:,} survivors had to be ended, the others ended by themselves;")
        print(f"{self._runs:,} runs, each with the weights, moments and metrics of the undisturbed one")

    def _undisturbed(self, stage: int) -> dict[str, object]:
        run = self._folder / f"undisturbed-{stage}"
        for _ in range(1 if self._expected else 2):  # the first of all waits for what all ranks import
            shutil.rmtree(run, ignore_errors=True)
            started = time.monotonic()
            fleet = self._fleet(run, stage)
            if set(fleet.wait()) != {0}:
                sys.exit(f"the undisturbed run failed: {fleet.printed.read_text()}")
            self._seconds = time.monotonic() - started
        return outcome(run)

    def _fleet(self, run: Path, stage: int) -> Fleet:
        options = [*self._command, "--output", str(run), "--zero-stage", str(stage)]
        return Fleet(options, self._options.ranks, self._folder / f"{run.name}.txt").start()

    def _train_under_blows(self, run: Path, stage: int) -> None:
        """Give the command again and again, with a blow each time while there are any left, until it ends."""
        while True:
            fleet = self._fleet(run, stage)
            self._starts += 1
            struck = self._blows.total() < self._options.kills and self._strike(fleet, run)
            codes = fleet.wait(LAUNCHER_S) if struck else fleet.wait()
            self._ended += codes.count(None)
            self._torn += bool(unfinished(run))
            if set(codes) == {0}:
                return
            if -signal.SIGKILL not in codes:
                sys.exit(f"the run failed by itself: {codes}: {fleet.printed.read_text()}")

    def _strike(self, fleet: Fleet, run: Path) -> bool:
        """Kill a rank, in a save or after a while, unless the run has ended by then; say whether."""
        victim = self._chance.randrange(self._options.ranks)
        in_a_save = self._chance.random() < 0.5
        moment = time.monotonic() + self._chance.uniform(0, self._seconds)
        saves = self._chance.randrange(4)  # so many pass by first
        seen: set[str] = set()
        while fleet.lives:
            seen |= unfinished(run) if in_a_save else set()
            if len(seen) > saves or (not in_a_save and time.monotonic() > moment):
                time.sleep(self._chance.uniform(0, 0.01) if in_a_save else 0)
                fleet.processes[victim].kill()
                self._blows["in a save" if in_a_save else "at any moment"] += 1
                return True
            time.sleep(0.0005)
        return False


def unfinished(run: Path) -> set[str]:
    """The names of checkpoints that were begun and are not complete."""
    return {folder.name for folder in run.glob("step_*") if not (folder / "complete").exists()}


if __name__ == "__main__":
    main()
