"""What the ranks do together to save a checkpoint, and to find the one to resume from."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
    texts_of,
)
from trainer.checkpoint.store import RunStore
from trainer.config.plan import TrainingPlan
from trainer.distributed.deepspeed.engine import Engine
from trainer.distributed.ranks import (
    Ranks,
    all_gather,
    fail_together,
    on_first_of_each_machine,
    on_first_rank,
)
from trainer.distributed.shared_folder import check_shared
from trainer.training.mirror import Mirror, mirrored


@contextmanager
def sole_writer(
    run: Path, store: RunStore | None, ranks: Ranks, plan: TrainingPlan
) -> Iterator[Mirror | None]:
    """Keep other runs out of the folder, which all ranks must see; give what sends it, if it is on a store.

    Raises:
        ValueError: another run is using it, or it is on a disk that the ranks do not share.
    """
    if store is not None:
        with mirrored(store, run, ranks, plan) as mirror:
            yield mirror
        return
    with ExitStack() as stack:
        on_first_rank(lambda: stack.enter_context(locked(str(run))))
        check_shared(run, ranks)
        yield None


def save(
    engine: Engine,
    run: Path,
    state: State,
    *,
    keep_newest: int,
    keep_every: int,
    ranks: Ranks,
    mirror: Mirror | None = None,
) -> None:
    """Save a checkpoint; it is complete once every rank is done, and only then are older ones removed.

    Args:
        mirror: what sends it to a store, once the one before it is there.

    Raises:
        OSError: it could not be written, for example on a full disk. It is removed, and older ones are kept.
    """
    folder = folder_of_step(run, state.step)
    apart = mirror is not None and mirror.apart
    if mirror is not None:
        mirror.make_way()
    try:
        _on_each_disk(lambda: begin(folder, engine.shapes, one_moment=engine.one_moment), ranks, mirror)
        records = engine.save(folder)
        if not apart:
            on_first_rank(lambda: commit(folder, state, records))
    except OSError as error:  # on the first rank; the others exit
        discard(folder)
        complete = [finished.name for finished in finished_checkpoints(run)[-1:]]
        raise OSError(
            f"the checkpoint of step {state.step} could not be saved: {error}. "
            + (f"{complete[0]} is complete; run the same command to resume from it" if complete else "")
        ) from error
    if not apart:
        on_first_rank(lambda: prune(run, keep_newest=keep_newest, keep_every=keep_every))
    if mirror is not None:
        mirror.send(folder.name, engine.owners, records, texts_of(state, records))


def find_sound(run: Path, ranks: Ranks, mirror: Mirror | None = None) -> Path | None:
    """Return the newest complete checkpoint whose checksums are right, the same on every rank.

    A damaged one is printed on stderr and set aside. Each rank reads a share of the files.

    Args:
        mirror: what brings checkpoints from a store, also one in place of a damaged one.

    Raises:
        ValueError: every checkpoint is damaged.
    """
    tried = set[str]()
    while True:
        if mirror is not None:
            mirror.settle()
        name = _newest_of_all(run, mirror)
        if name is None:
            break
        rank, size = mirror.share if mirror else (ranks.rank, ranks.size)
        damaged = _damaged_files(run / name, rank, size)
        if not damaged:
            return run / name
        if name in tried:  # it came anew from the store
            break
        tried.add(name)
        if ranks.rank == 0:
            print(f"{run / name} is damaged and is skipped: {', '.join(damaged)}", file=sys.stderr)
        _on_each_disk(lambda folder=run / name: set_aside(folder), ranks, mirror)  # type: ignore[misc]
    if tried:
        fail_together(
            ValueError(f"every checkpoint in {run} is damaged: choose another --output to start over")
        )
    return None


def _newest_of_all(run: Path, mirror: Mirror | None) -> str | None:
    """Return the newest complete checkpoint on the disk that all ranks share, or on each of their disks."""
    found = all_gather([folder.name for folder in finished_checkpoints(run)])
    others = found[1:] if mirror is not None and mirror.apart else []
    return max(set(found[0]).intersection(*others), default=None)


def _on_each_disk(act: Callable[[], None], ranks: Ranks, mirror: Mirror | None) -> None:
    """Do something once for the disk that all ranks share, or on each of their disks."""
    if mirror is not None and mirror.apart:
        on_first_of_each_machine(act, ranks)
    else:
        on_first_rank(act)


def _damaged_files(folder: Path, rank: int, size: int) -> list[str]:
    names = sorted(read_records(folder))
    return [name for part in all_gather(damaged_files(folder, names[rank::size])) for name in part]
