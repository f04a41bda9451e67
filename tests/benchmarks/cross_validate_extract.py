"""Extraction's F1 on pages that its rules and thresholds were not chosen by.

    python tests/benchmarks/cross_validate_extract.py [--data FOLDER] [--folds 5]

Wants `pages.warc.gz` with `article_truth.json` (articles as a person marked them) and `reader_pages.warc.gz`
with `reader_truth.json` (what a reader mode shows) in the folder. Each rule of `shaping.py` is there or not,
each threshold has three values. For each fold of the pages, every setting takes the value with the highest
F1 on the other folds, mean of both sets; the fold's pages are then extracted with what was chosen.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

from bench_extract import Texts, f1, ours

from pipeline.extract import extraction, shaping
from pipeline.runner.records import Drop
from pipeline.web.warc import Page, read_page, scan_pages

SETS = {
    "marked pages": ("pages.warc.gz", "article_truth.json"),
    "reader pages": ("reader_pages.warc.gz", "reader_truth.json"),
}
THRESHOLDS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "LEAST_RUNS": (shaping, (1, 2, 3)),
    "LOST_SHARE": (extraction, (0.3, 0.4, 0.5)),
    "SMALL_SHARE": (extraction, (0.1, 0.2, 0.3)),
}

Settings = Mapping[str, float]


def settings_in_use() -> dict[str, float]:
    """Return the settings of the code: a rule's is 1, a threshold's its value."""
    rules = {rule.__name__: 1.0 for rule in shaping.RULES}
    return rules | {name: getattr(module, name) for name, (module, _) in THRESHOLDS.items()}


def choices(name: str) -> tuple[float, ...]:
    """Return the values that a setting may have."""
    return THRESHOLDS[name][1] if name in THRESHOLDS else (1.0, 0.0)


class Extracted:
    """The texts of all pages by settings, each extracted once."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._texts: dict[tuple[float, ...], dict[str, str]] = {}

    def __call__(self, settings: Settings) -> Texts:
        key = tuple(settings[name] for name in sorted(settings))
        if key not in self._texts:
            rules = tuple(rule for rule in shaping.RULES if settings[rule.__name__])
            with ExitStack() as stack:
                stack.enter_context(mock.patch.object(shaping, "RULES", rules))
                for name, (module, _) in THRESHOLDS.items():
                    stack.enter_context(mock.patch.object(module, name, settings[name]))
                self._texts[key] = {url: ours(page) for url, page in self._pages.items()}
        return self._texts[key]


def mean_f1(texts: Texts, truths: Mapping[str, Texts], urls: set[str]) -> float:
    """Return the mean of both sets' F1 on some pages."""
    parts = ({url: text for url, text in truth.items() if url in urls} for truth in truths.values())
    return sum(f1(texts, part)[2] for part in parts) / len(truths)


def chosen(extracted: Extracted, truths: Mapping[str, Texts], urls: set[str]) -> dict[str, float]:
    """Return the settings that are best on some pages, each with the others as in use; those in use first."""
    used = settings_in_use()
    best = {}
    for name in used:
        values = sorted(choices(name), key=lambda value: value != used[name])
        best[name] = max(values, key=lambda value: mean_f1(extracted(used | {name: value}), truths, urls))
    return best


def show(name: str, texts: Texts, truths: Mapping[str, Texts]) -> None:
    """Print precision, recall and F1 on both sets."""
    figures = (" ".join(f"{figure:.4f}" for figure in f1(texts, truth)) for truth in truths.values())
    print(f"  {name:<24}" + "".join(f"{figure:>26}" for figure in figures), flush=True)


def main() -> None:
    """Print the F1 in use, without each rule, with nothing of them, and of held-out pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    truths: dict[str, dict[str, str]] = {}
    pages: dict[str, Page] = {}
    for name, (archive, truth) in SETS.items():
        path = arguments.data / archive
        if not path.exists():
            sys.exit(f"there is no {path}: name a folder that has it (--data)")
        truths[name] = json.loads((arguments.data / truth).read_text(encoding="utf-8"))
        for record in scan_pages(str(path)):
            if not isinstance(record, Drop) and record.url in truths[name]:
                page = read_page(str(path), record.offset)
                pages |= {record.url: page} if isinstance(page, Page) else {}
    extracted, used = Extracted(pages), settings_in_use()
    print(" " * 26 + "".join(f"{f'{len(truth)} {name}, P R F1':>26}" for name, truth in truths.items()))
    show("in use", extracted(used), truths)
    show("no rule", extracted(used | {rule.__name__: 0.0 for rule in shaping.RULES}), truths)
    for name in used:
        for value in choices(name):
            if value != used[name]:
                label = f"{name} = {value:g}" if name in THRESHOLDS else f"without {name}"
                show(label, extracted(used | {name: value}), truths)
    held_out: dict[str, str] = {}
    for fold in range(arguments.folds):
        held = {url for truth in truths.values() for url in sorted(truth)[fold :: arguments.folds]}
        best = chosen(extracted, truths, set(pages) - held)
        changed = ", ".join(f"{name} = {value:g}" for name, value in best.items() if value != used[name])
        print(f"  fold {fold + 1}: {changed or 'as in use'}")
        held_out |= {url: text for url, text in extracted(best).items() if url in held}
    show("held out", held_out, truths)


if __name__ == "__main__":
    main()
