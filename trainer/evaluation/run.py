"""Evaluates a model set by set; each result is saved at once, so the same command resumes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.runner.json_text import parse_json
from pipeline.runner.outputs import check_output
from pipeline.runner.storage import join, read_text, write_text
from pipeline.runner.transfer import patiently
from trainer.evaluation.suite import EvaluationTask, SetOptions, fingerprint_of, open_tasks
from trainer.evaluation.table import as_markdown, shown
from trainer.evaluation.token_sets import TokenSet
from trainer.pretrained.loaded_model import LoadedModel, ModelOptions, load_model

if TYPE_CHECKING:  # torch takes seconds to import
    from trainer.distributed.ranks import Ranks
    from trainer.evaluation.scoring import Scorer
    from trainer.evaluation.tasks import Reader

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The command line."""

    source: ModelOptions
    """The model."""
    sets: SetOptions
    """The evaluation sets."""
    output: str
    """Folder for evaluation.json, evaluation.md and options.json; the same command resumes. May be on a
    store."""
    context: int | None = None
    """Most tokens of context per prediction. Default: the model's context."""
    stride: int | None = None
    """Tokens from one window of a long text to the next: a smaller stride gives predictions more context and
    takes longer. Default: the context, so windows do not overlap."""
    batch: int = 4
    """Windows per rank in one forward pass."""


def evaluate_sets(options: EvaluateOptions) -> None:
    """Check everything, then evaluate set after set, on one rank or on all ranks of a launcher.

    Raises:
        ValueError: an option is out of range; the model or a set is missing or damaged.
    """
    from trainer.distributed.ranks import Ranks, leave, one_error_a_machine

    ranks = Ranks.from_environment()
    with one_error_a_machine(ranks):
        check_output(options.output, "evaluation.json", "results")
        tasks = open_tasks(options.sets)
        loaded = _load(options.source, ranks)
        settings = _settings(options, loaded)
        for task in tasks:
            if isinstance(task.content, TokenSet):
                task.content.check(loaded.vocabulary)
        done = {task.name: _done_before(options.output, task, settings) for task in tasks}
    with _together(ranks, loaded):
        from trainer.evaluation.scoring import Scorer
        from trainer.evaluation.tasks import Reader

        windows = {"context": settings["context"], "stride": settings["stride"], "batch": options.batch}
        scorer = Scorer(loaded.model, ranks, **windows)
        reader = Reader(loaded.vocabulary)
        # The first rank's disk is used: another machine may not have the folder.
        done = scorer.gather(done)[0]
        for task in tasks:
            record = done[task.name] or _evaluate(task, scorer, reader, settings, visible=ranks.rank == 0)
            if ranks.rank == 0:
                _write(options.output, _result_of(task), _json(record))
            done[task.name] = record
    if ranks.rank == 0:
        _report(options, loaded, settings, done)
    if ranks.size > 1:
        leave(ranks, 0)


def _load(options: ModelOptions, ranks: "Ranks") -> LoadedModel:
    """Load the model, for each rank on its own GPU if there are enough."""
    import torch

    from trainer.distributed.ranks import find_device

    device = torch.device("cpu") if options.device == "cpu" else find_device(ranks)
    if options.device == "cuda" and device.type == "cpu" and ranks.size > 1:
        raise ValueError(f"--device cuda: this machine has fewer GPUs than its {ranks.local_size} ranks")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif options.device == "auto":
        options = replace(options, device="cpu")
    return load_model(options)


def _settings(options: EvaluateOptions, loaded: LoadedModel) -> Record:
    """Return everything that decides the results, except the sets themselves.

    Raises:
        ValueError: a number is out of range.
    """
    longest = loaded.model.config.context
    context = longest if options.context is None else options.context
    stride = context if options.stride is None else options.stride
    if not 1 <= context <= longest:
        raise ValueError(f"--context is {context}: it must be from 1 to the model's {longest}")
    if not 1 <= stride <= context:
        raise ValueError(f"--stride is {stride}: it must be from 1 to the context, {context}")
    if options.batch < 1:
        raise ValueError(f"--batch is {options.batch}: it must be at least 1")
    return {
        "context": context,
        "stride": stride,
        "dtype": options.source.dtype,
        "detokenize": options.sets.detokenize,
        "lambada_preprocessing": options.sets.lambada_preprocessing,
        "vocabulary": loaded.vocabulary.fingerprint,
        "weights": _weights_checksum(loaded),
    }


def _weights_checksum(loaded: LoadedModel) -> str:
    """Return a checksum of all weights."""
    import torch
    from xxhash import xxh3_128

    checksum = xxh3_128()
    for _, parameter in sorted(loaded.model.named_parameters()):
        checksum.update(parameter.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return checksum.hexdigest()


def _result_of(task: EvaluationTask) -> str:
    return f"results/{task.name}.json"


def _write(output: str, name: str, text: str) -> None:
    """Write a file of the results, and try again for a while if a store is out of reach."""
    patiently(lambda: write_text(join(output, name), text), what=output)


def _done_before(output: str, task: EvaluationTask, settings: Record) -> Record | None:
    """Return an earlier command's result for the same set and settings, if there is one."""
    try:
        record: Record = parse_json(read_text(join(output, _result_of(task))))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.get("identity") == _identity(task, settings) else None


def _identity(task: EvaluationTask, settings: Record) -> Record:
    return {**settings, "title": task.title, "file": fingerprint_of(task.content)}


@contextmanager
def _together(ranks: "Ranks", loaded: LoadedModel) -> Iterator[None]:
    """Meet the other ranks, if there are any."""
    if ranks.size == 1:
        yield
        return
    from trainer.distributed.ranks import joined

    with joined(ranks, next(loaded.model.parameters()).device):
        yield


def _evaluate(
    task: EvaluationTask, scorer: "Scorer", reader: "Reader", settings: Record, *, visible: bool
) -> Record:
    from trainer.evaluation.tasks import evaluate

    total, unit = task.work
    interval_s = 0.2 if sys.stderr.isatty() else 60  # in a log one line per minute, none for a quick set
    with tqdm(
        desc=task.title,
        total=total,
        unit=unit,
        unit_scale=True,
        disable=not visible,
        leave=False,
        delay=interval_s,
        mininterval=interval_s,
    ) as bar:
        result = evaluate(task, scorer, reader, bar.update)
    if visible:
        figures = ", ".join(f"{unit} {shown(unit, value)}" for unit, value in result.figures.items())
        print(f"{task.title}: {figures}", flush=True)
    return {
        "title": task.title,
        **result.as_record(),
        "context": settings["context"],
        "stride": settings["stride"],
        "identity": _identity(task, settings),
    }


def _report(options: EvaluateOptions, loaded: LoadedModel, settings: Record, results: Record) -> None:
    """Write the results as Markdown and JSON, and print the table."""
    report = {"model": loaded.description, "settings": settings, "results": results}
    table = as_markdown(report)
    _write(options.output, "options.json", _json(asdict(options)))
    _write(options.output, "evaluation.json", _json(report))
    _write(options.output, "evaluation.md", table)
    print(f"\n{table}\nwritten to {options.output}")


def _json(content: Record) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False, default=str) + "\n"
