"""The page of a run, and the page that compares several: one self-contained file of HTML.

It loads nothing and runs nothing. All text, of which the model writes some, is escaped by the template
(`run.html.jinja`).
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.runner.storage import write_text
from pipeline.runner.templates import fill
from trainer.report.charts import Chart, Line, chart, smoothed
from trainer.report.history import RunHistory
from trainer.report.units import GIB, duration, short

PAGE = "run.html"
COLOURS = 6  # that the template has; more runs would share one
SAMPLES_SHOWN = 40  # the newest; samples.jsonl has all


def write_run_page(folder: Path, *, state: str = "") -> None:
    """Write the page of the run in this folder beside its metrics.

    Args:
        state: how it ended; empty while it is running, when the page reloads itself.
    """
    history = RunHistory.read(folder)
    write_text(str(folder / PAGE), page([history], state=state, reload_s=0 if state else 30))


def write_comparison(folders: Sequence[Path], output: Path) -> None:
    """Write one page about several runs.

    Raises:
        ValueError: a folder holds no run, there are too many, or `output` is no HTML file.
    """
    if output.suffix != ".html":
        raise ValueError(f"--output {output}: the page needs a name that ends in .html")
    write_text(str(output), page(read_runs(folders)))


def read_runs(folders: Sequence[Path]) -> list[RunHistory]:
    """Read some runs' folders, each once.

    Raises:
        ValueError: there is none, or one holds no run.
    """
    if not folders:
        raise ValueError("give the folder of a training run, or of several")
    return [RunHistory.read(folder) for folder in dict.fromkeys(folders)]


def page(runs: Sequence[RunHistory], *, state: str = "", reload_s: int = 0) -> str:
    """Return the page of one run, or of several side by side.

    Args:
        reload_s: seconds after which a browser loads the page again; 0: never.

    Raises:
        ValueError: there are more runs than colours.
    """
    if len(runs) > COLOURS:
        raise ValueError(f"{len(runs)} runs: at most {COLOURS} fit on one page")
    names = _distinct_names(runs)
    alone = runs[0] if len(runs) == 1 else None
    return fill(
        Path(__file__).parent / "run.html.jinja",
        title=f"GPT-2 {alone.plan.get('size', '')}: {names[0]}" if alone else f"Runs {', '.join(names)}",
        state=state or (_state(alone) if alone else ""),
        reload_s=reload_s,
        names=names,
        tiles=_tiles(alone) if alone else [],
        figures=[] if alone else _figures(runs),
        charts=_charts(runs, names),
        settings=_settings(runs),
        samples=_samples(runs, names),
        alone=alone is not None,
    )


def _distinct_names(runs: Sequence[RunHistory]) -> list[str]:
    """Name runs by their folders, with as many parents as it takes to keep them apart."""
    paths = [run.folder.resolve() for run in runs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _state(run: RunHistory) -> str:
    if run.step >= run.last_step:
        return "finished"
    return f"step {run.step:,} of {run.last_step:,}"


def _tiles(run: RunHistory) -> list[tuple[str, str]]:
    """Return what one wants to know first: value and what it is."""
    last = run.steps[-1] if run.steps else {}
    left = run.seconds_left
    tiles = [(f"{run.step:,}", f"of {run.last_step:,} steps")]
    if last:
        tiles.append((short(last["tokens"]), "tokens"))
        tiles.append(
            (
                _four_digits(smoothed(run.points("loss"))[-1][1] if run.points("loss") else None),
                "training loss, nats per token",
            )
        )
    if run.evaluations:
        newest = run.evaluations[-1]
        tiles.append((_four_digits(newest["validation_loss"]), "validation loss, nats per token"))
        if "validation_bits_per_byte" in newest:
            tiles.append((_four_digits(newest["validation_bits_per_byte"]), "validation bits per byte"))
    if last:
        tiles.append((f"{run.tokens_per_second:,.0f}", "tokens/s"))
        if last.get("mfu") is not None:
            tiles.append((f"{last['mfu']:.1%}", "model FLOPs utilization"))
        tiles.append((f"{last['memory_bytes'] / GIB:.1f} GiB", "peak memory of the first rank"))
        tiles.append((f"{last['spikes']:,} / {last['skipped']:,}", "spikes / updates skipped"))
    if left:
        tiles.append((duration(left), "left"))
    return tiles


def _four_digits(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4f}"


def _figures(runs: Sequence[RunHistory]) -> list[tuple[str, list[str]]]:
    """Return the rows of the table that compares runs: what, and its value for each run."""

    def last(records: Sequence[Mapping[str, Any]], name: str, form: str = "{:,}") -> str:
        value = records[-1].get(name) if records else None
        return "" if value is None else form.format(value)

    def best(run: RunHistory) -> str:
        points = run.points("validation_loss")
        return "{1:.4f} at step {0:,}".format(*min(points, key=lambda p: p[1])) if points else ""

    rows = [
        ("steps", [f"{run.step:,} of {run.last_step:,}" for run in runs]),
        ("tokens", [last(run.steps, "tokens") for run in runs]),
        ("last validation loss", [last(run.evaluations, "validation_loss", "{:.4f}") for run in runs]),
        ("lowest validation loss", [best(run) for run in runs]),
        ("last bits per byte", [last(run.evaluations, "validation_bits_per_byte", "{:.4f}") for run in runs]),
        ("tokens/s", [f"{run.tokens_per_second:,.0f}" for run in runs]),
        (
            "peak memory",
            [f"{run.steps[-1]['memory_bytes'] / GIB:.1f} GiB" if run.steps else "" for run in runs],
        ),
        ("spikes", [last(run.steps, "spikes") for run in runs]),
        ("updates skipped", [last(run.steps, "skipped") for run in runs]),
    ]
    return [(name, values) for name, values in rows if any(values)]


def _charts(runs: Sequence[RunHistory], names: Sequence[str]) -> list[Chart]:
    last_step = max(run.last_step for run in runs)
    alone = len(runs) == 1

    def lines(figure: str, *, scale: float = 1.0, dots: bool = False) -> list[Line]:
        found = []
        for colour, (run, name) in enumerate(zip(runs, names, strict=True)):
            points = [(x, y / scale) for x, y in run.points(figure)]
            if points:
                found.append(Line("" if alone else name, points, colour, dots=dots))
        return found

    losses = []
    for colour, (run, name) in enumerate(zip(runs, names, strict=True)):
        points = run.points("loss")
        if alone:
            losses.append(Line("", points, colour, faint=True))
        losses.append(Line("training, smoothed" if alone else f"{name}, training", smoothed(points), colour))
    for colour, (run, name) in enumerate(zip(runs, names, strict=True)):
        label = "validation" if alone else f"{name}, validation"
        losses.append(Line(label, run.points("validation_loss"), colour + alone, dots=True))
    anomalies = runs[0].anomalies if alone else []
    charts = [
        chart("Loss, nats per token", losses, last_step=last_step),
        chart("Validation, bits per byte", lines("validation_bits_per_byte", dots=True), last_step=last_step),
        chart("Gradient norm before clipping", lines("gradient_norm"), last_step=last_step, marks=anomalies),
        chart("Learning rate", lines("learning_rate"), last_step=last_step),
        chart("Tokens per second", lines("tokens_per_second"), last_step=last_step),
        chart("Model FLOPs utilization, %", lines("mfu", scale=0.01), last_step=last_step),
        chart("Peak memory of the first rank, GiB", lines("memory_bytes", scale=GIB), last_step=last_step),
    ]
    return [drawn for drawn in charts if drawn is not None]


def _settings(runs: Sequence[RunHistory]) -> list[tuple[str, list[str], bool]]:
    """Return name, value for each run, and whether they differ, of all that decides a run."""
    flat = [dict(_flat({**run.plan, **run.environment})) for run in runs]
    rows = []
    for name in dict.fromkeys(name for one in flat for name in one):
        values = [one.get(name, "") for one in flat]
        rows.append((name.replace("_", " "), values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row[2])


def _flat(options: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            rows += _flat(value)
        elif value is not None:
            rows.append((name, f"{value:,}" if type(value) is int and name != "seed" else str(value)))
    return rows


def _samples(
    runs: Sequence[RunHistory], names: Sequence[str]
) -> list[tuple[int, list[tuple[str, str, str]]]]:
    """Return the newest texts by step: run, prompt and text of each."""
    found = [
        (int(record["step"]), name, str(record["prompt"]), str(record["text"]))
        for run, name in zip(runs, names, strict=True)
        for record in run.samples
    ]
    found.sort(key=lambda sample: -sample[0])
    return [
        (step, [(name, prompt, text) for _, name, prompt, text in group])
        for step, group in groupby(found[:SAMPLES_SHOWN], key=lambda sample: sample[0])
    ]
