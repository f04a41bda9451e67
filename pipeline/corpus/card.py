"""The dataset card: README.md of a corpus folder, in the form that the Hugging Face Hub reads.

It says what the corpus was made from and how, so that whoever has the same inputs and this code can make
it again. Paths, machine and number of workers are left out: they decide nothing.
"""

import dataclasses
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.figures import Figures
from pipeline.corpus.funnel import Step, by_size
from pipeline.runner.names import file_name
from pipeline.runner.templates import fill

DECIDING_NOTHING = frozenset(
    {"output", "workers", "extract_early", "contact"}
    | {"archive_connections", "archive_workers", "archive_requests_per_second"}
    | {"archive_retries", "archive_backoff_s"}
)
"""Options that change no document."""
NOT_DECIDING = DECIDING_NOTHING | frozenset(
    {"submissions", "warcs", "only", "decontaminate", "archive_index", "archive_root"}
)
"""Options that name places and people, or say how fast: no part of the recipe."""
OF_FILES = frozenset({"blocklist"})
"""Options that may name a file, of which only the name is published."""

_MEANING = re.compile(r"[\\|`*\[\]]")


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One dump or archive that the corpus was made from."""

    name: str
    size_bytes: int
    read: int  # submissions of a dump, pages of an archive
    kept: int


@dataclass(frozen=True, kw_only=True)
class Index:
    """The index of an archive, in which links were looked up."""

    name: str
    files: int
    rows_looked_at: int
    captures: int  # of the links, of all kinds


@dataclass(frozen=True, kw_only=True)
class EvaluationFile:
    """One evaluation set that the corpus was kept apart from."""

    name: str
    texts: int
    grams: int  # 8-grams, each as often as it stands there


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a corpus comes from: files, and the options of its recipe."""

    dumps: Sequence[InputFile]
    archives: Sequence[InputFile]
    options: Mapping[str, Any]  # all that decide, by name
    changed: Mapping[str, Any]  # those that are not at their defaults
    evaluation: Sequence[EvaluationFile] = ()
    indexes: Sequence[Index] = ()
    sources: Sequence[str] = ("crawl",)  # of pages, in their order


def deciding(options: Any, default: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all options that are part of the recipe, and those of them that are not as in `default`."""
    every = {name: value for name, value in _flat(options) if name not in NOT_DECIDING}
    usual = dict(_flat(default))
    return every, {name: value for name, value in every.items() if value != usual[name]}


def _flat(options: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of every option in dataclasses within dataclasses; names are unique."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        value = file_name(value) if field.name in OF_FILES else value
        if dataclasses.is_dataclass(value):
            yield from _flat(value)
        else:
            yield field.name, value


def command_line(provenance: Provenance) -> str:
    """Return a command that makes the corpus from the same files, put into `dumps/`, `pages/`, `tests/`."""
    words = ["python pipeline/build_webtext.py"]
    words += ["--submissions dumps/"] if provenance.dumps else []
    words += ["--warcs pages/"] if provenance.archives else []
    named = set(provenance.options.get("common_crawl", ()))
    if any(index.name not in named for index in provenance.indexes):
        words += ["--archive-index indexes/ --archive-root archive/"]
    words += ["--decontaminate tests/"] if provenance.evaluation else []
    words += ["--output out/webtext"]
    for name, value in provenance.changed.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words.append(f"--{option} {_shown(value)}".rstrip())
    return " ".join(words)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def dataset_card(steps: Sequence[Step], figures: Figures, provenance: Provenance) -> str:
    """Return the card, as Markdown with the YAML head that the Hub and `datasets` read."""
    return render(
        "card.md.jinja",
        steps=steps,
        figures=figures,
        size_category=_size_category(sum(figures.documents.values())),
        provenance=provenance,
        options=[(name, _shown(value) or "none") for name, value in provenance.options.items()],
        command=command_line(provenance),
        by_size=by_size,
    )


def render(template: str, **values: Any) -> str:
    """Fill in a template of this folder; in HTML, all values are escaped."""
    return fill(Path(__file__).parent / template, cell=cell, **values)


def cell(value: object) -> str:
    """Return a value for a cell of a Markdown table, in which no character of it means anything."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return _MEANING.sub(r"\\\g<0>", html.escape(text, quote=False))


def _size_category(documents: int) -> str:
    """Return the hub's name for a data set's size."""
    classes = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    classes += [(10**7, "1M<n<10M"), (10**8, "10M<n<100M")]
    return next((name for limit, name in classes if documents < limit), "100M<n<1B")
