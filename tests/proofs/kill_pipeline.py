"""Kill a build again and again, at random moments, and compare what it makes with an undisturbed one.

    python tests/proofs/kill_pipeline.py --kills 200
    python tests/proofs/kill_pipeline.py --kills 60 --pages-from common-crawl

Each blow is a `kill -9` of the driver, of a Ray worker, or of a child that extracts pages. After each blow to
the driver the same command is given again, until it ends; then it begins anew in another folder, until all
blows are dealt. Told at the end: that every corpus was the same bytes as the undisturbed one, and that no
partition that had been committed when a driver was started was ever done again.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from made_web import write_web

ROOT = Path(__file__).parents[2]
EACH = 0  # kills: one of each kind
DEADLINE_S = 300.0  # of one run
BLOWS_A_START = 3  # a task whose worker dies once more than this fails, as it should


@dataclass
class Tally:
    """What has happened so far."""

    blows: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    starts: int = 0


def main() -> None:
    """Parse the options, start a Ray, and prove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="0: one of each kind, each as soon as may be")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--pages-from", choices=["warcs", "common-crawl"], default="warcs")
    options = parser.parse_args()
    import ray

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(prefix="kill", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("RAY_TMPDIR", folder)
        context = ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
        chance = random.Random(options.seed)
        write = write_web if options.pages_from == "warcs" else write_common_crawl
        prove(Path(folder), options.kills, options.pages, options.partitions, chance, write)
        ray.shutdown()


def write_common_crawl(folder: Path, pages: int) -> list[str]:
    """Write the inputs of a build whose pages are looked up in a Common Crawl in small."""
    from made_common_crawl import write_archive  # which wants a library that only the tests have

    return write_archive(folder, pages)


def prove(
    folder: Path,
    kills: int,
    pages: int,
    partitions: int,
    chance: random.Random,
    write: Callable[[Path, int], list[str]] = write_web,
) -> None:
    """Deal the blows; exit with what differs, if anything does."""
    command = [sys.executable, str(ROOT / "pipeline" / "build_webtext.py"), "--partitions", str(partitions)]
    command += write(folder, pages)
    for _ in range(1 if kills == EACH else 2):  # workers have imported by the second what the first waits for
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        started = time.monotonic()
        start([*command, "--output", str(folder / "undisturbed")]).communicate()
        seconds = time.monotonic() - started
    expected = corpus(folder / "undisturbed")
    assert expected["train"], "the undisturbed build made nothing"
    tally = Tally()
    while tally.blows.total() < kills or not tally.builds:
        output = folder / f"killed-{tally.builds}"
        build_under_blows([*command, "--output", str(output)], output, kills, seconds, chance, tally)
        tally.builds += 1
        if corpus(output) != expected:
            sys.exit(f"another corpus after {dict(tally.blows)}: see {output}")
        print(f"{tally.blows.total():,} blows, {tally.builds:,} builds, all the same bytes", flush=True)
    blows = ", ".join(f"{number:,} {victim}" for victim, number in sorted(tally.blows.items()))
    print(f"kills: {blows}; {tally.starts:,} starts; {tally.builds:,} builds, each byte-identical to the")
    print("undisturbed one; no committed partition was done again")


def build_under_blows(
    command: list[str], output: Path, kills: int, seconds: float, chance: random.Random, tally: Tally
) -> None:
    """Give the command again and again, with some blows each time while there are any left, until it ends."""
    while True:
        committed = markers(output)
        driver = start(command)
        tally.starts += 1
        if kills == EACH:
            strike_each(driver, output, chance, tally)
        for _ in range(min(BLOWS_A_START, kills - tally.blows.total())):
            strike(driver, chance.uniform(0, seconds), chance, tally)
        _, said = driver.communicate(timeout=DEADLINE_S)
        now = markers(output)
        again = [name for name, marker in committed.items() if now.get(name) != marker]
        if again:
            sys.exit(f"done again though committed: {again}")
        if driver.returncode == 0:
            return
        if driver.returncode != -signal.SIGKILL:
            sys.exit(f"the build failed with code {driver.returncode}: {said}")


def start(command: list[str]) -> "subprocess.Popen[str]":
    """Start a driver, with a process group of its own."""
    return subprocess.Popen(
        command, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def strike(driver: "subprocess.Popen[str]", after_s: float, chance: random.Random, tally: Tally) -> None:
    """Kill the driver, a worker or a worker's child after some seconds, unless the driver is done by then."""
    try:
        driver.wait(after_s)
        return
    except subprocess.TimeoutExpired:
        pass
    found = victims(driver)
    kill(chance.choice([kind for kind, processes in found.items() if processes]), found, chance, tally)


def strike_each(driver: "subprocess.Popen[str]", output: Path, chance: random.Random, tally: Tally) -> None:
    """Kill one process of each kind as soon as there is one: the driver last, in the middle of the run."""
    for kind in ("worker", "extractor", "driver"):
        while driver.poll() is None and tally.blows[kind] == 0:
            found = victims(driver)
            if found[kind] and (kind != "driver" or any(output.glob("documents/*.json"))):
                kill(kind, found, chance, tally)
            time.sleep(0.02)


def victims(driver: "subprocess.Popen[str]") -> dict[str, list[psutil.Process]]:
    """Return the processes of a build by their kinds."""
    found = {"driver": [psutil.Process(driver.pid)], "worker": [], "extractor": []}
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if words and words[0].startswith("ray::_run_job"):
            found["worker"].append(process)
        elif any("pipeline.extract.sandbox" in word for word in words):
            found["extractor"].append(process)
    return found


def kill(kind: str, found: dict[str, list[psutil.Process]], chance: random.Random, tally: Tally) -> None:
    """Deal a blow to a process of that kind."""
    with contextlib.suppress(psutil.NoSuchProcess):
        chance.choice(found[kind]).kill()
        tally.blows[kind] += 1


def corpus(output: Path) -> dict[str, str]:
    """Every file of the corpus by its checksum; `train` says whether there are documents."""
    folder = output / "corpus"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return found | {"train": str(sum(name.startswith("train/") for name in found))}


def markers(output: Path) -> dict[str, bytes]:
    """Every partition's marker: one that is written again has other times in it."""
    found = output.glob("*/*.json")
    return {
        str(path.relative_to(output)): path.read_bytes() for path in found if path.parent.name != "corpus"
    }


if __name__ == "__main__":
    main()
