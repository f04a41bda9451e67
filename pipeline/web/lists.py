"""The room's data files: tab-separated lists that a person can read and edit, a reason on each line."""

from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

BUNDLED: Traversable = resources.files("pipeline.web")


def read_list(file: Traversable | Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a list: UTF-8, columns between tabs, a head line that names them, `#` for comments.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such list; the message says which line is wrong.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not rows or rows[0][1].split("\t") != list(columns):
        raise ValueError(f"{file} must begin with a head line (tabs between): {' '.join(columns)}")
    for number, line in rows[1:]:
        row = tuple(line.split("\t"))
        if len(row) != len(columns):
            raise ValueError(
                f"{file}, line {number}: {len(row)} columns, not {len(columns)} ({' '.join(columns)})"
            )
        yield row
