"""What the ranks do together to save a checkpoint, and to find the one to resume from."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from pipeline.runner.lock import locked
from trainer.checkpoint.folder import (
    State,
    begin,
    commit,
    damaged_files,
    discard,
    finished_checkpoints,
    folder_of_step,
    prune,
    read_records,
    set_aside,
)
from trainer.distributed.deepspeed.engine import Engine
from trainer.distributed.ranks import all_gather, fail_together, on_first_rank


@contextmanager
def sole_writer(run: Path) -> Iterator[None]:
    """Keep other runs out of the folder.

    Raises:
        ValueError: another run is using it.
    """
    with ExitStack() as stack:
        on_first_rank(lambda: stack.enter_context(locked(str(run))))
        yield


def save(engine: Engine, run: Path, state: State, *, keep_newest: int, keep_every: int) -> None:
    """Save a checkpoint; it is complete once every rank is done, and only then are older ones removed.

    Raises:
        OSError: it could not be written, for example on a full disk. It is removed, and older ones are kept.
    """
    folder = folder_of_step(run, state.step)
    try:
        on_first_rank(lambda: begin(folder, engine.shapes, one_moment=engine.one_moment))
        records = engine.save(folder)
        on_first_rank(lambda: commit(folder, state, records))
    except OSError as error:  # on the first rank; the others exit
        discard(folder)
        complete = [finished.name for finished in finished_checkpoints(run)[-1:]]
        raise OSError(
            f"the checkpoint of step {state.step} could not be saved: {error}. "
            + (f"{complete[0]} is complete; run the same command to resume from it" if complete else "")
        ) from error
    on_first_rank(lambda: prune(run, keep_newest=keep_newest, keep_every=keep_every))


def find_sound(run: Path) -> Path | None:
    """Return the newest complete checkpoint whose checksums are right, the same on every rank.

    A damaged one is printed on stderr and set aside. Each rank reads a share of the files.

    Raises:
        ValueError: every checkpoint is damaged.
    """
    names = all_gather([folder.name for folder in finished_checkpoints(run)])[0]
    for name in reversed(names):
        damaged = _damaged_files(run / name)
        if not damaged:
            return run / name
        if torch.distributed.get_rank() == 0:
            print(f"{run / name} is damaged and is skipped: {', '.join(damaged)}", file=sys.stderr)
        on_first_rank(lambda folder=run / name: set_aside(folder))  # type: ignore[misc]
    if names:
        fail_together(
            ValueError(f"every checkpoint in {run} is damaged: choose another --output to start over")
        )
    return None


def _damaged_files(folder: Path) -> list[str]:
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    names = sorted(read_records(folder))
    return [name for part in all_gather(damaged_files(folder, names[rank::size])) for name in part]
