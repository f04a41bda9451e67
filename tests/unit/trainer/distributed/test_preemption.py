import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.distributed import preemption
from trainer.distributed.preemption import SAME_REQUEST_S, stop_requests

ROOT = Path(__file__).parents[4]

# Says that it waits, and ends with 7 after the step in which it was asked to stop.
RANK = """
import sys, time
from trainer.distributed.preemption import stop_requests
with stop_requests() as requests:
    print("ready", flush=True)
    for _ in range(6000):
        if requests:
            sys.exit(7)
        time.sleep(0.01)
"""
# As DeepSpeed's launcher, the parent of its ranks, and the child of another process.
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_its_echo_is_not_a_second_one(number):
    with stop_requests() as requests:
        assert not requests
        for _ in range(3):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests


def test_the_handlers_of_before_come_back():
    before = signal.getsignal(signal.SIGINT)
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_later_second_signal_ends_the_process_at_once(monkeypatch):
    ended: list[int] = []
    now = time.monotonic()
    with stop_requests() as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(preemption.time, "monotonic", lambda: now + 2 * SAME_REQUEST_S)
        monkeypatch.setattr(preemption.os, "kill", lambda pid, number: ended.append(number))
        requests.on_signal(signal.SIGINT, None)
        assert ended == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def test_signals_no_longer_matter_once_all_is_saved():
    """Not even on the way out: the exit code is what the launcher is to see."""
    code = (
        "import os, signal, sys\n"
        "from trainer.distributed.preemption import STOPPED, stop_requests\n"
        "with stop_requests() as requests:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert requests\n"
        "    requests.finish()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(STOPPED)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 75


def test_ranks_stop_when_who_started_their_launcher_is_gone(tmp_path):
    """The `deepspeed` command dies of SIGTERM; its launcher and the ranks are left behind."""
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {LAUNCHER!r}, {RANK!r}])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    environment = {**os.environ, "CROSS_SIZE": "1", "PYTHONPATH": str(ROOT)}
    command = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    command.stdout.readline()
    assert command.stdout.readline() == "ready\n"
    command.terminate()
    command.wait()
    assert command.stdout.read() == ""  # which ends when the last of them has ended
