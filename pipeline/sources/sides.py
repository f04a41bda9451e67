"""Which files are for training and which for validation, by the words of their names and folders."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.corpus.split import SPLITS, Split
from pipeline.runner import storage

_SIDES: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval", "test", "testing"), "validation"),
}
_TEST: Final = ("test", "testing")


def sides_by_name(names: Sequence[str]) -> dict[str, Split]:
    """Return on which side some files are, as far as a word of their names says so.

    A test split is used for validation where there is no other, and left out where there is.
    """
    words = {name: _first_word(re.split(r"[^a-z]+", name.lower())) for name in names}
    return _by_side({name: word for name, word in words.items() if word})


def sides_of_files(files: Sequence[str], base: str) -> dict[Split, Sequence[str]]:
    """Return the files by the side that folders give; else by the one that the names of all files give.

    A test split is used for validation where there is no other, and left out where there is.
    """
    base = storage.absolute(base) if base and storage.local_path(base) else base
    within = {file: file.removeprefix(base.rstrip("/")).strip("/").lower().split("/") for file in files}
    by_folder = {file: _first_word(parts[:-1]) for file, parts in within.items()}
    by_name = {file: _first_word(re.split(r"[^a-z]+", parts[-1])) for file, parts in within.items()}
    for words in (by_folder, by_name):
        found = {file: word for file, word in words.items() if word}
        decides = words is by_folder or len(found) == len(files)
        if decides and "train" in {_SIDES[word] for word in found.values()}:
            sides = _by_side(found)
            return {split: [file for file in sides if sides[file] == split] for split in SPLITS}
    return {"train": (), "validation": ()}


def _by_side(words: Mapping[str, str]) -> dict[str, Split]:
    others = {word for word in words.values() if _SIDES[word] == "validation"}
    tests = set(_TEST) if others - set(_TEST) else set()
    return {name: _SIDES[word] for name, word in words.items() if word not in tests}


def _first_word(words: Sequence[str]) -> str | None:
    return next((word for word in words if word in _SIDES), None)
