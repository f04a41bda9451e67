"""What no kill, disk or rank may do to a run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fleet import Fleet, outcome
from kill_training import OPTIONS
from made_shards import write_shards

from trainer.checkpoint.folder import finished_checkpoints

pytestmark = pytest.mark.timeout(300)  # the first test waits for a run that others share
PROOF = Path(__file__).parents[2] / "proofs" / "kill_training.py"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("unkillable") / "shards")


def fleet(shards: Path, run: Path, **limits: object) -> Fleet:
    """Two ranks of a short run that is to stop with its third step, at ZeRO stage 2."""
    options = [*OPTIONS.split(), "--steps", "3", "--data", str(shards), "--output", str(run)]
    options += ["--keep-checkpoints", "9", "--zero-stage", "2"]
    return Fleet(options, 2, run.with_suffix(".txt"), **limits).start()


@pytest.fixture(scope="module")
def whole(shards) -> dict[str, object]:
    """What the run computes if nothing happens to it."""
    run = shards.parent / "whole"
    started = fleet(shards, run)
    assert started.wait() == [0, 0], started.printed.read_text()
    assert len(finished_checkpoints(run)) == 3
    return outcome(run)


def test_a_full_disk_and_flipped_bits_cost_nothing_but_the_steps_since_the_last_sound_checkpoint(
    shards, whole, tmp_path
):
    run = tmp_path / "run"
    first = fleet(shards, run, file_bytes={1: 50_000})  # of which a checkpoint's second file takes more
    assert first.wait() == [1, 0]
    printed = first.printed.read_text()
    assert printed.count("error: the checkpoint of step 1 could not be saved: [Errno 27] File too large") == 1
    assert "Traceback" not in printed
    assert not list(run.glob("step_*"))

    second = fleet(shards, run)
    while not finished_checkpoints(run):
        assert second.lives, second.printed.read_text()
        time.sleep(0.001)
    second.processes[1].kill()
    assert second.wait() == [1, -signal.SIGKILL]
    assert second.printed.read_text().count("error: another rank has gone or does not answer") == 1

    newest = run / "step_00000002"
    shutil.rmtree(newest, ignore_errors=True)
    shutil.copytree(shards.parent / "whole" / newest.name, newest)
    for name, place in (("exp_avg-00000.safetensors", -1), ("state.json", 0)):
        content = bytearray((newest / name).read_bytes())
        content[place] ^= 1
        (newest / name).write_bytes(content)

    third = fleet(shards, run)
    assert third.wait() == [0, 0]
    printed = third.printed.read_text()
    damaged = "step_00000002 is damaged and is skipped: exp_avg-00000.safetensors, state.json"
    assert printed.count(damaged) == 1
    assert "resuming after step 1" in printed
    assert outcome(run) == whole


def test_a_rank_that_answers_no_more_is_given_up_after_the_time_that_was_asked_for(shards, tmp_path):
    """As one whose machine has lost its network: no connection is closed."""
    options = [
        *OPTIONS.split(),
        "--steps",
        "100000",
        "--data",
        str(shards),
        "--output",
        str(tmp_path / "run"),
    ]
    started = Fleet([*options, "--rank-timeout-s", "5"], 2, tmp_path / "printed.txt").start()
    while not finished_checkpoints(tmp_path / "run"):
        assert started.lives, started.printed.read_text()
        time.sleep(0.01)
    os.kill(started.processes[1].pid or 0, signal.SIGSTOP)
    stopped = time.monotonic()
    started.processes[0].join(60)
    assert started.processes[0].exitcode == 1, started.printed.read_text()
    assert time.monotonic() - stopped < 60
    assert started.wait(1.0) == [1, None]
    assert started.printed.read_text().count("error: another rank has gone or does not answer") == 1


def test_an_output_that_the_machines_do_not_share_is_told_before_the_first_step(shards, tmp_path):
    folders = {0: tmp_path / "first", 1: tmp_path / "second"}
    for folder in folders.values():
        folder.mkdir()
    options = [*OPTIONS.split(), "--steps", "3", "--data", str(shards), "--output", "run"]
    started = Fleet(options, 2, tmp_path / "printed.txt", folders=folders).start()
    assert started.wait() == [1, 0]
    printed = started.printed.read_text()
    assert printed.count("run is not shared: rank 1 does not see what rank 0 writes there") == 1
    assert "Traceback" not in printed
    assert not list(tmp_path.rglob("step_*")) and not list(tmp_path.rglob(".shared-*"))


def test_ranks_with_other_options_are_told_which_and_write_nothing(shards, tmp_path):
    run = tmp_path / "run"
    started = fleet(shards, run, own={1: ["--seed", "7"]})
    assert started.wait() == [1, 0]
    printed = started.printed.read_text()
    assert printed.count("error: the ranks disagree: --seed is 1337 on rank 0, 7 on rank 1") == 1
    assert "Traceback" not in printed
    assert not list(run.glob("[!.]*"))  # but for the lock


@pytest.mark.slow
def test_killed_runs_give_the_same_bits() -> None:
    line = [sys.executable, str(PROOF), "--kills", "2", "--stages", "1", "--seed", "18"]  # both hit
    result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "each with the weights, moments and metrics of the undisturbed one" in result.stdout
