"""Rows of numbers in order, more than memory holds: sorted in runs, merged a piece of every run at a time.

Rows are uint64, [columns, rows], in the order of the first column, then the second, and so on; no row is
there twice. Nothing depends on how they were cut into runs.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]  # [columns, rows]

ROWS_AT_ONCE = 2**13  # of each run: 200 KB
MOST_RUNS = 256  # that are read at once


def distinct(rows: Rows) -> Rows:
    """Return rows in their order, each once."""
    ordered = rows[:, np.lexsort(rows[::-1])]
    return ordered[:, begins(ordered)]


def begins(rows: Rows) -> npt.NDArray[np.bool_]:
    """For each row, whether it differs from the one before it."""
    new = np.ones(rows.shape[1], np.bool_)
    new[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    return new


def merged(runs: Sequence[Iterator[Rows]], scratch: Path, size: int = ROWS_AT_ONCE) -> Iterator[Rows]:
    """Merge runs; yield pieces, none of them empty.

    Memory is about 1.5 × `size` rows of each of at most `MOST_RUNS` runs: more are merged in turns.

    Args:
        runs: each yields its rows in pieces.
        scratch: a folder for what waits.
        size: rows of a run that are held.
    """
    while len(runs) > MOST_RUNS:
        runs = [
            spilled(merged(runs[first : first + MOST_RUNS], scratch, size), scratch, size)
            for first in range(0, len(runs), MOST_RUNS)
        ]
    waiting = [(_filled(None, run, size), run) for run in runs]
    while held := [(rows, run) for rows, run in waiting if rows is not None and rows.shape[1]]:
        # All that is not beyond the least of their last rows has been read, of every run.
        bound = min(tuple(rows[:, -1].tolist()) for rows, _ in held)
        cuts = [_after(rows, bound) for rows, _ in held]
        pieces, waiting = [], []
        for (rows, run), cut in zip(held, cuts, strict=True):
            pieces.append(rows[:, :cut])
            waiting.append((_filled(rows[:, cut:], run, size), run))
        yield distinct(np.concatenate(pieces, axis=1))


def _filled(rows: Rows | None, run: Iterator[Rows], size: int) -> Rows | None:
    """Return what is held of a run, with more of it if that is little."""
    while rows is None or rows.shape[1] <= size // 2:
        more = next(run, None)
        if more is None:
            break
        rows = more if rows is None else np.concatenate([rows, more], axis=1)
    return rows


def _after(rows: Rows, bound: Sequence[int]) -> int:
    """Return how many rows are not beyond a bound."""
    first, last = 0, int(rows.shape[1])
    for column, value in zip(rows, bound, strict=True):
        inside, wanted = column[first:last], np.uint64(value)
        last = first + int(np.searchsorted(inside, wanted, "right"))
        first += int(np.searchsorted(inside, wanted, "left"))
    return last


def spilled(pieces: Iterable[Rows], scratch: Path, size: int = ROWS_AT_ONCE) -> Iterator[Rows]:
    """Write a run to a folder at once, and return it for reading, `size` rows at a time."""
    columns = 1
    with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as file:
        for piece in pieces:
            columns = len(piece)
            np.ascontiguousarray(piece.T).tofile(file)
    return _read(Path(file.name), columns, size)


def _read(path: Path, columns: int, size: int) -> Iterator[Rows]:
    offset = 0
    while len(values := np.fromfile(path, np.uint64, columns * size, offset=offset)):
        offset += values.nbytes
        yield np.ascontiguousarray(values.reshape(-1, columns).T)
    path.unlink()
