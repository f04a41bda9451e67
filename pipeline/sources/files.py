"""The files of a corpus, and the split in their folders or names."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.corpus.split import Split
from pipeline.runner import storage
from pipeline.runner.json_text import parse_json
from pipeline.runner.names import file_name
from pipeline.sources.batches import DocumentBatch
from pipeline.sources.lines import fields_of, read_json_lines, read_plain_text
from pipeline.sources.options import Reading
from pipeline.sources.sides import sides_of_files
from pipeline.sources.tables import read_arrow, read_parquet
from pipeline.web.decompression import COMPRESSED_ENDINGS

Kind = Literal["Parquet", "Arrow", "JSON Lines", "plain text"]

_KINDS: Final[dict[str, Kind]] = {
    ".parquet": "Parquet",
    ".arrow": "Arrow",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON Lines",
    ".txt": "plain text",
}
_READERS: Final[dict[Kind, Callable[[str, Reading], Iterator[DocumentBatch]]]] = {
    "Parquet": read_parquet,
    "Arrow": read_arrow,
    "JSON Lines": read_json_lines,
    "plain text": read_plain_text,
}
STATE: Final = "state.json"  # of a data set that `datasets` saved
ROWS_LOOKED_AT: Final = 100
KNOWN: Final = "*.parquet, *.arrow, *.jsonl, *.json or *.txt, compressed or not"


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """The files of a corpus by the side that their folders or names give."""

    by_side: Mapping[Split, Sequence[str]]  # addresses, sorted
    is_own_layout: bool
    """Whether it is a folder with train/*.parquet, as pipeline/build_webtext.py writes it."""
    tells_split: bool
    """Whether folders or names say which documents are for validation."""


def kind_of(address: str) -> Kind:
    """Return what a file holds, by its name: plain text if that says nothing."""
    return _known_kind(address) or "plain text"


def is_compressed(address: str) -> bool:
    """Say whether a file's name has the ending of a compressed one."""
    return file_name(address).lower().endswith(COMPRESSED_ENDINGS)


def _known_kind(address: str) -> Kind | None:
    name = file_name(address).lower()
    ending = next((ending for ending in COMPRESSED_ENDINGS if name.endswith(ending)), "")
    name = name.removesuffix(ending)
    kind = next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), None)
    return None if ending and kind in ("Parquet", "Arrow") else kind


def read_file(address: str, reading: Reading) -> Iterator[DocumentBatch]:
    """Yield the documents of a file in order, a batch of them in memory at a time.

    Raises:
        ValueError: the file is damaged, or has no such column.
    """
    yield from _READERS[kind_of(address)](address, reading)


def find_text_files(address: str, output: str = "") -> TextFiles:
    """Find the files of a corpus: a file, a folder with all below it, or a glob.

    Args:
        output: a folder of results, which are no part of the corpus wherever they lie.

    Raises:
        ValueError: there are none.
    """
    is_glob = any(character in address for character in "*?[")
    if not is_glob and not storage.exists(address):
        raise ValueError(
            f"no corpus at {address}: build one with pipeline/build_webtext.py, or give a file, a folder or "
            "a glob of texts"
        )
    own = storage.list_files(storage.join(address, "train"), ".parquet")
    if own:
        validation = storage.list_files(storage.join(address, "validation"), ".parquet")
        sides: dict[Split, Sequence[str]] = {"train": own, "validation": validation}
        return TextFiles(by_side=sides, is_own_layout=True, tells_split=bool(validation))
    results = storage.join(storage.absolute(output), "") if output else ""
    files = [file for file in _found(address) if not (results and file.startswith(results))]
    if not files:
        raise ValueError(f"no texts at {address}: give {KNOWN}")
    base = address if not is_glob else re.split(r"[*?[]", address)[0].rpartition("/")[0]
    sides = sides_of_files(files, base)
    if sides["train"] and sides["validation"]:
        return TextFiles(by_side=sides, is_own_layout=False, tells_split=True)
    taken = sides["train"] or files
    return TextFiles(by_side={"train": taken, "validation": ()}, is_own_layout=False, tells_split=False)


def check_fields(address: str, text_column: str) -> None:
    """Check that a file of JSON Lines has the text in this field, by its first rows.

    Raises:
        ValueError: none of them has the field.
    """
    rows = fields_of(address, ROWS_LOOKED_AT)
    if rows and not any(text_column in fields for fields in rows):
        names = ", ".join(sorted(set().union(*rows)))
        raise ValueError(
            f"cannot read {address}: no field {text_column!r} among {names or 'none'}: name it by "
            "--text-column"
        )


def _found(address: str) -> list[str]:
    """Return the text files at an address, without what `datasets` keeps beside its own."""
    try:
        files = storage.find_files([address], lambda name: _known_kind(name) is not None, f"text ({KNOWN})")
    except ValueError as error:
        train = storage.join(address, "train")
        if storage.exists(train):
            raise ValueError(f"no Parquet files in {train}, nor other texts below {address}") from error
        raise
    files = _without_caches([file for file in files if _known_kind(file)]) or files  # or given by name
    # .json may be lines of text, as in C4, or say something about files of another kind.
    texts = [file for file in files if not re.search(r"\.json(\.\w+)?$", file.lower())]
    return texts or files


def _without_caches(files: Sequence[str]) -> list[str]:
    """Leave out Arrow files that a saved data set does not name: results of `map` that it keeps."""
    kept = list[str]()
    listed = dict[str, set[str] | None]()
    for file in files:
        folder, _, name = file.rpartition("/")
        if kind_of(file) == "Arrow":
            if folder not in listed:
                listed[folder] = _listed(storage.join(folder, STATE))
            names = listed[folder]
            if names is not None and name not in names:
                continue
        kept.append(file)
    for folder, names in listed.items():
        there = {file.rpartition("/")[2] for file in kept if file.rpartition("/")[0] == folder}
        if missing := (names or set()) - there:
            raise ValueError(f"{folder}/{STATE} names {min(missing)}, which is not there")
    return kept


def _listed(state: str) -> set[str] | None:
    """Return the files that a saved data set names; None where there is no such list."""
    if not storage.exists(state):
        return None
    try:
        content = parse_json(storage.read_text(state))
        names = {entry["filename"] for entry in content["_data_files"]}
        if content.get("_indices_data_files") or not all(isinstance(name, str) for name in names):
            raise ValueError("it names rows by their number; save it again with a newer `datasets`")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{state} does not describe a saved data set: {error!r}") from error
    return names
