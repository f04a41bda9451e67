"""What tests/proofs/cluster.sh reads and compares: a small web, token shards, runs and corpora.

    python tests/proofs/cluster_files.py make FOLDER        # FOLDER/web and FOLDER/shards
    python tests/proofs/cluster_files.py same-bits RUN RUN
    python tests/proofs/cluster_files.py same-losses RUN RUN
    python tests/proofs/cluster_files.py same-corpus BUILD BUILD
    python tests/proofs/cluster_files.py put FOLDER ADDRESS # into a new bucket
    python tests/proofs/cluster_files.py get ADDRESS FOLDER

Those that compare exit with what differs, if anything does.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PAGES = 400
# With other numbers of ranks sums are rounded in another order. That is 1e-7 until a token comes that has not
# been seen, whose row AdamW has moved by the sign of hardly more than rounding. A wrong batch shows as 0.1.
LOSS = 5e-3


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("act", choices=["make", "same-bits", "same-losses", "same-corpus", "put", "get"])
    parser.add_argument("places", nargs="+")
    options = parser.parse_args()
    if options.act in ("put", "get"):
        copy(*options.places)
        return
    acts = {"make": make, "same-bits": same_bits, "same-losses": same_losses, "same-corpus": same_corpus}
    acts[options.act](*map(Path, options.places))


def make(folder: Path) -> None:
    """Write what is trained on and what is built from."""
    from made_shards import write_shards
    from made_web import write_web

    (folder / "web").mkdir()
    write_web(folder / "web", PAGES)
    write_shards(folder / "shards")


def copy(source: str, target: str) -> None:
    """Copy a folder to a store or from it."""
    from pipeline.runner import storage

    filesystem, path = storage.locate(source if "://" in source else target)
    if "://" in source:
        filesystem.get(f"{path}/", f"{target}/", recursive=True)
        return
    filesystem.mkdir(path.partition("/")[0])
    filesystem.put(f"{source}/", f"{path}/", recursive=True)


def same_bits(run: Path, other: Path) -> None:
    """Compare weights, moments and metrics of two runs, to the bit."""
    from fleet import outcome

    found, expected = outcome(run), outcome(other)
    differs = [name for name in expected if found[name] != expected[name]]
    if differs:
        sys.exit(f"{run.name} and {other.name} differ: {', '.join(differs)}")


def same_losses(run: Path, other: Path) -> None:
    """Compare the losses of every step, whatever the number of ranks."""
    losses, expected = (_losses(folder) for folder in (run, other))
    if losses.keys() != expected.keys():
        sys.exit(f"{run.name} has {len(losses)} losses, {other.name} {len(expected)}")
    farthest = max(abs(losses[step] - expected[step]) for step in expected)
    print(f"losses differ by {farthest:.1e} at most, over {len(losses):,} steps")
    if farthest > LOSS:
        sys.exit(f"{run.name} and {other.name} have other losses")


def _losses(run: Path) -> dict[int, float]:
    """The losses of training by step; of one that was done twice, the later."""
    from fleet import outcome

    return {told["step"]: told["loss"] for told in outcome(run)["metrics"] if "loss" in told}  # type: ignore


def same_corpus(build: Path, other: Path) -> None:
    """Compare every file of two corpora, to the byte."""
    from made_web import all_files

    found, expected = all_files(build / "corpus"), all_files(other / "corpus")
    differs = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    if differs or not any(name.startswith("train/") for name in expected):
        sys.exit(f"{build.name} and {other.name} have other corpora: {', '.join(sorted(differs)[:5])}")


if __name__ == "__main__":
    main()
