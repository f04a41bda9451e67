"""The two corpora of a comparison: their files, what to call them, and the builds that they are from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.corpus.funnel import FUNNEL, read_step_names
from pipeline.runner import storage
from pipeline.runner.json_file import read_as
from pipeline.runner.names import file_name
from pipeline.runner.stages import InputFile, in_groups
from pipeline.sources.files import check_fields, find_text_files, kind_of
from pipeline.sources.tables import measure_parquet

FILES_LOOKED_AT: Final = 10  # of JSON Lines, before any task runs
CORPUS: Final = "corpus"  # the folder of a build that holds its documents
SIDES: Final = ("a", "b")  # the first corpus, the other one
OPTIONS: Final = "options.json"  # of a build


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build of ours, with what its own files say of it."""

    folder: str
    corpus: str
    """Address of the folder that holds its documents."""
    options: Mapping[str, Any]
    """What it was built with: values, and groups of them by name."""
    steps: Sequence[str]
    """Of its funnel, in their order."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One corpus of a comparison."""

    name: str
    """What to call it: the last part of its address that says something."""
    files: Mapping[str, Sequence[InputFile]]
    """What each task reads, by the task's name."""
    corpus: str
    """Address of the corpus."""
    build: Build | None
    """The build that the corpus is from, where it is one of ours and its folder is there."""

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(source.size_bytes for sources in self.files.values() for source in sources)


def open_side(address: str, text_column: str, output: str) -> Side:
    """Find a corpus: its folder, the folder of a build, or any file, folder or glob of texts.

    Args:
        address: of the corpus.
        text_column: column or field that has the text.
        output: folder of the results: texts in it are no part of a corpus.

    Raises:
        ValueError: there is none, or a file is damaged or has no such column.
    """
    corpus, within = address, storage.join(address, CORPUS)
    if storage.exists(storage.join(address, OPTIONS)) and storage.exists(within):
        corpus = within
    build = _build_of(corpus)
    found = find_text_files(corpus, output)
    addresses = sorted({file for files in found.by_side.values() for file in files})
    for name in [name for name in addresses if kind_of(name) == "JSON Lines"][:FILES_LOOKED_AT]:
        check_fields(name, text_column)
    for name in addresses:
        if kind_of(name) == "Parquet":
            measure_parquet(name, text_column)  # fails now if it cannot be read
    return Side(name=_name_of(corpus), files=in_groups(addresses), corpus=corpus, build=build)


def _name_of(address: str) -> str:
    """Return what to call a corpus: `webtext` for out/webtext/corpus."""
    bare = storage.absolute(address).rstrip("/") if storage.local_path(address) else address.rstrip("/")
    name = file_name(bare)
    return file_name(bare.rpartition("/")[0]) or name if name == CORPUS else name


def _build_of(corpus: str) -> Build | None:
    """Return the build that a corpus is from; None where there is no sign of one.

    Raises:
        ValueError: a file that describes it is damaged.
    """
    local = storage.local_path(corpus)
    whole = corpus.rstrip("/") if local is None else str(local.absolute())
    folder, _, name = whole.rpartition("/")
    options = storage.join(folder, OPTIONS)
    if name != CORPUS or not storage.exists(options) or not storage.exists(storage.join(whole, FUNNEL)):
        return None
    return Build(
        folder=folder,
        corpus=corpus,
        options=read_as(dict[str, Any], options),
        steps=read_step_names(corpus),
    )
