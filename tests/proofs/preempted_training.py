"""Train from and to an S3 server on machines that are taken away, and compare with an undisturbed local run.

    python tests/proofs/preempted_training.py --kills 40

Shards and runs lie on a real S3 server behind a line that loses connections, breaks them in the middle, and
answers with an overloaded store's error. Each blow is a `kill -9` of one rank or of all, at any moment or
while a checkpoint is being sent. Then the same command is given again: on the same machine, or on one whose
scratch folder is empty, or on two such, where each rank has a scratch folder of its own. Told at the end:
that weights, moments and metrics on the store were each time the same bits as those of the undisturbed run on
a disk.
"""

import argparse
import os
import random
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet import ROOT, Fleet, outcome

sys.path.insert(0, str(ROOT))
LAUNCHER_S = 60.0  # after which the survivors of a blow are ended
RANKS = 2
OPTIONS = """
--size micro --global-batch-tokens 512 --micro-batch 1 --warmup-steps 2 --learning-rate 4e-3
--checkpoint-every 1 --evaluate-every 4 --evaluation-tokens 500 --sample-tokens 12 --precision fp32
--shuffle-shards 2
"""


def main() -> None:
    """Parse the options and prove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    from bad_line import s3_behind_a_line

    with (
        tempfile.TemporaryDirectory(prefix="preempted", ignore_cleanup_errors=True) as name,
        s3_behind_a_line(port) as line,
    ):
        proof = Proof(Path(name), "s3://proof", random.Random(options.seed))
        print(f"undisturbed, on a disk: {proof.seconds:.0f} s", flush=True)
        line.loses_each, line.breaks_each, line.refuses_each = 13, 301, 17
        while proof.blows.total() < options.kills:
            proof.train_under_blows(
                lambda: proof.any_blow() if proof.blows.total() < options.kills else None,
                is_apart=proof.toss,
            )
            print(f"{proof.blows.total():,} blows, {proof.runs:,} runs, all the same bits", flush=True)
        blows = ", ".join(f"{number:,} {kind}" for kind, number in sorted(proof.blows.items()))
        print(f"kills: {blows}; {line.lost:,} connections lost, broken or refused; {proof.starts:,} starts,")
        print(f"{proof.machines:,} on an empty machine; {proof.half_sent:,} left a half-sent checkpoint;")
        print(f"{proof.runs:,} runs, each with the weights, moments and metrics of the undisturbed one")


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What happens to a run."""

    after_s: float | None = None  # None: while a checkpoint is being sent
    passes: int = 0  # checkpoints that go by before that
    victims: Sequence[int] = range(RANKS)
    takes_the_machine: bool = True


class Proof:
    """Shards on a store, what training on them gives undisturbed, and what has happened so far."""

    def __init__(self, folder: Path, bucket: str, chance: random.Random, *, steps: int = 8) -> None:
        """Put shards into the bucket, and train on a disk."""
        from made_shards import write_shards

        from pipeline.runner import storage

        self._folder, self._bucket, self._chance = folder, bucket, chance
        self._options = [*OPTIONS.split(), "--steps", str(steps)]
        self.undisturbed = folder / "undisturbed"
        self.blows: Counter[str] = Counter()
        self.starts = self.runs = self.machines = self.half_sent = 0
        shards = write_shards(folder / "shards", files=8)
        filesystem, path = storage.locate(bucket)
        with suppress(FileExistsError):
            filesystem.mkdir(path)
        filesystem.put(f"{shards}/", f"{path}/shards/", recursive=True)
        started = time.monotonic()
        fleet = Fleet(
            [*self._options, "--data", str(shards), "--output", str(self.undisturbed)],
            RANKS,
            folder / "undisturbed.txt",
        ).start()
        if set(fleet.wait()) != {0}:
            sys.exit(f"the undisturbed run failed: {fleet.printed.read_text()}")
        self.seconds = time.monotonic() - started
        self._expected = outcome(self.undisturbed)

    def toss(self) -> bool:
        """Return whether the next ranks have scratch folders of their own, by chance."""
        return self._chance.random() < 0.5

    def any_blow(self) -> "Blow":
        """Return a blow by chance."""
        chance = self._chance
        while_sending = chance.random() < 0.5
        return Blow(
            after_s=None if while_sending else chance.uniform(0.2, 1.2) * self.seconds,
            passes=chance.randrange(4),
            victims=range(RANKS) if chance.random() < 0.6 else [chance.randrange(RANKS)],
            takes_the_machine=chance.random() < 0.6,
        )

    def train_under_blows(
        self, next_blow: Callable[[], "Blow | None"], *, is_apart: Callable[[], bool]
    ) -> str:
        """Give one run's command again and again, with a blow each time while there are any left.

        Args:
            next_blow: what happens to the next start.
            is_apart: whether the ranks of the next machine have scratch folders of their own.

        Returns:
            What all ranks printed.
        """
        run, first, apart = f"{self._bucket}/run-{self.runs}", self.starts, is_apart()
        machine = self.new_machine(apart)
        while True:
            fleet, blow = self.start_on(machine, run, apart=apart), next_blow()
            struck = blow is not None and self._strike(fleet, run, blow)
            codes = fleet.wait(LAUNCHER_S) if struck else fleet.wait()
            self.half_sent += bool(half_sent(run))
            if set(codes) == {0}:
                break
            if not struck:
                sys.exit(f"the run failed by itself: {codes}: {fleet.printed.read_text()}")
            if blow and blow.takes_the_machine:
                shutil.rmtree(machine)
                apart = is_apart()
                machine = self.new_machine(apart)
        self._compare(run)
        self.runs += 1
        return "".join(self._printed(start).read_text() for start in range(first + 1, self.starts + 1))

    def _printed(self, start: int) -> Path:
        return self._folder / f"start-{start}.txt"

    def new_machine(self, apart: bool) -> Path:
        """Return the folder of a machine that has nothing yet, or of two."""
        self.machines += 1
        machine = self._folder / f"machine-{self.machines}"
        for rank in range(RANKS if apart else 1):
            (machine / str(rank)).mkdir(parents=True)
        return machine

    def start_on(self, machine: Path, run: str, more: Sequence[str] = (), *, apart: bool) -> Fleet:
        """Start the ranks of a run."""
        self.starts += 1
        scratch = "scratch" if apart else str(machine / "0" / "scratch")
        place = ["--data", f"{self._bucket}/shards", "--output", run, "--scratch", scratch]
        # 8 shards of 11 KB: space for two groups, and not for all of them.
        options = [*self._options, *place, "--cache-gb", "7e-5", *more]
        folders = {rank: machine / str(rank) for rank in range(RANKS)} if apart else {}
        return Fleet(options, RANKS, self._printed(self.starts), folders=folders).start()

    def _strike(self, fleet: Fleet, run: str, blow: "Blow") -> bool:
        """Kill ranks; say whether they lived so long."""
        moment, seen = time.monotonic() + (blow.after_s or 0), set[str]()

        def is_due() -> bool:
            if blow.after_s is not None:
                return time.monotonic() > moment
            seen.update(half_sent(run))
            return len(seen) > blow.passes

        if not self._wait_until(is_due, fleet):
            return False
        for victim in blow.victims:
            fleet.processes[victim].kill()
        kind = "while sending" if blow.after_s is None else "at any moment"
        self.blows[kind + (", all ranks" if len(blow.victims) > 1 else ", one rank")] += 1
        return True

    def _wait_until(self, is_due: Callable[[], bool], fleet: Fleet) -> bool:
        while fleet.lives:
            with suppress(OSError):  # the line is bad for us, too
                if is_due():
                    return True
            time.sleep(0.01)
        return False

    def _compare(self, run: str) -> None:
        """Exit with what differs between what the store has of a run and the undisturbed one."""
        from pipeline.runner.transfer import scratch_folder
        from trainer.checkpoint.store import RunStore

        copy = scratch_folder(str(self._folder / f"copy-{self.runs}"), "runs", run)
        RunStore(run).fetch_newest(copy, exclusive=True)
        found = outcome(copy)
        if differs := [name for name in self._expected if found[name] != self._expected[name]]:
            sys.exit(f"other {', '.join(differs)} in {run} after {dict(self.blows)}")
        kept = RunStore(run).complete()
        if len(kept) != 2:
            printed = "".join(path.read_text() for path in self._folder.glob("start-*.txt"))
            sys.exit(f"{run} has the checkpoints {kept}, though it keeps 2: {printed}")


def half_sent(run: str) -> set[str]:
    """Return the names of checkpoints of which files are on the store, and no marker."""
    from pipeline.runner import storage

    with suppress(Exception):
        sizes = storage.file_sizes(run)
        begun = {name.partition("/")[0] for name in sizes if name.startswith("step_")}
        return {name for name in begun if f"{name}/complete" not in sizes}
    return set()


if __name__ == "__main__":
    main()
