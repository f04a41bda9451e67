"""Fixtures: a small corpus of docstrings and of what trips tokenizers, and one task's work without Ray."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runner.records import DOCUMENTS
from pipeline.runner.stages import Task

MODULES = [
    "argparse",
    "collections",
    "csv",
    "datetime",
    "decimal",
    "difflib",
    "doctest",
    "fractions",
    "inspect",
]
ODD = [
    "It says <|endoftext|> in the middle, and goes on.<|endoftext|>",
    "<|endoftext|>",
    "It's we'll they've I'm you're he'd DON'T",
    "tabs\tand\n\n\n   blank lines   \r\n",
    "Grüße aus Köln, où êtes-vous ? ¿Qué tal? Привет, мир. 你好，世界。 こんにちは नमस्ते مرحبا",
    "one \U0001f600 two \U0001f469\u200d\U0001f469\u200d\U0001f467 three \u0301 four \x00 five \u200b \ufeff",
    "x" * 3000,
    "12345678901234567890 3.14159 \u00bd \u0663 \u2167",
]

WriteCorpus = Callable[..., Path]
RunWork = Callable[..., Task]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Some hundred documents: English that comes with Python, and oddities."""
    found = set(ODD)
    for name in MODULES:
        documented = (value for _, value in sorted(vars(importlib.import_module(name)).items()))
        found |= {doc for value in documented if callable(value) and (doc := inspect.getdoc(value))}
    return sorted(found)


@pytest.fixture(scope="session")
def write_corpus() -> WriteCorpus:
    """A function that writes texts as a corpus of so many train files, and returns its folder."""

    def write(folder: Path, texts: Sequence[str], files: int = 2) -> Path:
        rows = [_document(text) for text in texts]
        train = [row for number, row in enumerate(rows) if number % 10]
        parts = {f"train/part-{part:05d}": train[part::files] for part in range(files)}
        for name, documents in {**parts, "validation/part-00000": rows[::10]}.items():
            path = folder / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENTS), path, compression="zstd")
        return folder

    return write


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, texts: list[str], write_corpus: WriteCorpus) -> Path:
    """The texts as a corpus."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), texts)


@pytest.fixture
def run_work(tmp_path: Path) -> RunWork:
    """A function that does one task's work in this process, and returns the task with its notes."""
    done = 0

    def run(
        work: Callable[[Task], Any], inputs: Sequence[Path], options: Any = None, name: str = "00000"
    ) -> Task:
        nonlocal done
        done += 1
        folder = tmp_path / f"work_{done}"
        folder.mkdir()
        task = Task(name, [str(path) for path in inputs], folder, options, lambda records: None, {}, "")
        work(task)
        return task

    return run


def _document(text: str) -> dict[str, Any]:
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return {"id": name, "text": text, "url": f"http://example.org/{name}", "characters": len(text)}
