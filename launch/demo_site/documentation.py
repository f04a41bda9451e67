"""Texts for the demonstration's web: documentation that lies on every machine, four texts of our own."""

import ast
import importlib.metadata
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIN_WORDS = 130  # of a text, so that most pass the corpus's limit of 100
PARAGRAPH_WORDS = 8  # shorter paragraphs are headings and signatures
MAX_PARAGRAPHS = 60
OWN_TEXTS = Path(__file__).with_name("texts")


def texts() -> Iterator[tuple[str, list[str]]]:
    """Yield (title, paragraphs) from the documentation on this machine, in a fixed order."""
    yield from _package_descriptions()
    folders = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            module = path.relative_to(folder).with_suffix("")
            if "test" in module.as_posix() or "site-packages" in module.parts:
                continue
            paragraphs = _paragraphs(_docstrings(path))
            if sum(len(paragraph.split()) for paragraph in paragraphs) >= MIN_WORDS:
                yield ".".join(module.parts), paragraphs


def _package_descriptions() -> Iterator[tuple[str, list[str]]]:
    distributions = sorted(importlib.metadata.distributions(), key=lambda found: found.metadata["Name"] or "")
    for distribution in distributions:
        description = distribution.metadata.json.get("description", "")
        paragraphs = _paragraphs(str(description))
        if sum(len(paragraph.split()) for paragraph in paragraphs) >= MIN_WORDS:
            yield f"{distribution.metadata['Name']} {distribution.version}", paragraphs


def _docstrings(path: Path) -> str:
    """Return a module's docstrings one after the other; nothing where it cannot be parsed."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds))


def _paragraphs(text: str) -> list[str]:
    """Return the running text among code, tables and markup."""
    found = []
    for block in re.split(r"\n\s*\n", re.sub(r"<[^<>]{1,300}>", " ", text)):
        words = block.split()
        plain = sum(word.strip("`'\"(),.;:!?*").isalpha() for word in words)
        if (
            len(words) >= PARAGRAPH_WORDS
            and plain > 0.7 * len(words)
            and not block.startswith((">>>", "|", "    "))
        ):
            found.append(" ".join(words))
    return list(dict.fromkeys(found))[:MAX_PARAGRAPHS]


def foreign_texts() -> Iterator[tuple[str, str, list[str]]]:
    """Yield (name, title, paragraphs) of the French and German texts."""
    for path in sorted(OWN_TEXTS.glob("*.txt")):
        title, *paragraphs = path.read_text(encoding="utf-8").strip().split("\n\n")
        yield path.stem, title, [" ".join(paragraph.split()) for paragraph in paragraphs]
