"""Generate text from a trained model.

python launch/generate.py --model out/model --prompt "The"
python launch/generate.py --model out/run --prompts prompts.txt --samples 3 --jsonl > texts.jsonl
"""

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from pipeline.runner.ranges import check_ranges
from trainer.config.sampling import Sampling
from trainer.generation.prompts import read_prompts
from trainer.pretrained.loaded_model import LoadedModel, ModelOptions, load_model

if TYPE_CHECKING:  # which imports torch
    from trainer.generation.continuations import Continuation, Request

RULE = "-" * 40  # between two texts


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The command line."""

    source: ModelOptions
    """The model."""
    prompt: str | None = None
    """Text to continue. Without one, or with an empty one, the model starts a new document."""
    prompts: str | None = None
    """File of prompts, or - for standard input: one per line, or JSON Lines with a field "prompt"."""
    prompts_format: Literal["auto", "lines", "jsonl"] = "auto"
    """Format of the file; auto: JSON Lines if the name ends in .jsonl or .json, else lines."""
    allow_special: bool = False
    """Read <|endoftext|> in a prompt as the end-of-text token, not as ordinary text."""
    max_new_tokens: Annotated[int | None, Ge(1)] = 100
    """Maximum number of new tokens per text; None: until the model ends it. When the context is full, its
    older half is dropped, and generation continues."""
    stop: tuple[str, ...] = ()
    """Strings that end a text; it is cut before the first of them."""
    samples: Annotated[int, Ge(1)] = 1
    """Number of continuations per prompt."""
    seed: int = 0
    """Random seed; each prompt and sample has its own random stream."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the next token is sampled."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Maximum number of texts to generate at once."""
    jsonl: bool = False
    """Print one JSON object per finished text instead of text as it is generated."""


def main(options: GenerateOptions) -> None:
    """Print each prompt and its continuation, as it is generated."""
    try:
        _generate(options)
    except KeyboardInterrupt:  # what was printed stays; there is nothing to resume
        print(flush=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _generate(options: GenerateOptions) -> None:
    _check(options)
    prompts = (
        read_prompts(options.prompts, options.prompts_format) if options.prompts else [options.prompt or ""]
    )
    loaded = load_model(options.source)
    from trainer.generation.continuations import GenerationSettings, generate, in_order

    encoded = [_encode(prompt, number, loaded, options) for number, prompt in enumerate(prompts)]
    requests = _requests(prompts, encoded, options.samples)
    settings = GenerationSettings(
        sampling=options.sampling,
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
        stop=options.stop,
        batch_size=options.batch_size,
    )
    pieces = in_order(generate(loaded, requests, settings), requests)
    if options.jsonl:
        _print_records(pieces, options.seed)
    else:
        _print_texts(pieces)


def _check(options: GenerateOptions) -> None:
    check_ranges(options)
    if "" in options.stop:
        raise ValueError("--stop: an empty string would end every text at once")
    if options.prompt is not None and options.prompts is not None:
        raise ValueError("give only one of --prompt and --prompts")


def _encode(prompt: str, number: int, loaded: LoadedModel, options: GenerateOptions) -> list[int]:
    """Return a prompt's tokens; warn if the model will not see exactly these."""
    name = "the prompt" if options.prompts is None else f"prompt {number + 1}"
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not text: {error.reason}") from error
    tokens = loaded.encode(prompt, allow_special=options.allow_special)
    context = loaded.model.config.context
    if not tokens:
        print(f"{name} is empty: the model starts a new document", file=sys.stderr)
    if len(tokens) > context:
        print(f"{name} has {len(tokens):,} tokens: the model sees only the last {context:,}", file=sys.stderr)
    return tokens[-context:] or [loaded.vocabulary.end_of_text]


def _requests(prompts: list[str], encoded: list[list[int]], samples: int) -> "list[Request]":
    from trainer.generation.continuations import Request

    return [
        Request(prompt=prompt, tokens=tokens, number=number, sample=sample)
        for number, (prompt, tokens) in enumerate(zip(prompts, encoded, strict=True))
        for sample in range(samples)
    ]


def _print_texts(pieces: "Iterable[tuple[Continuation, str]]") -> None:
    """Print each prompt and its continuation, with a rule between two texts."""
    shown = None
    for continuation, piece in pieces:
        request = continuation.request
        if request is not shown:
            print((f"{RULE}\n" if shown else "") + request.prompt, end="")
            shown = request
        print(piece, end="\n" if continuation.finished else "", flush=True)


def _print_records(pieces: "Iterable[tuple[Continuation, str]]", seed: int) -> None:
    """Print each finished text as a line of JSON."""
    for continuation, _ in pieces:
        if continuation.finished:
            record = {
                "prompt": continuation.request.prompt,
                "text": continuation.text,
                "tokens": continuation.tokens,
                "log_probabilities": [round(value, 5) for value in continuation.log_probabilities],
                "finish_reason": continuation.finished,
                "prompt_number": continuation.request.number,
                "sample": continuation.request.sample,
                "seed": seed,
            }
            print(json.dumps(record, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    run_command(
        GenerateOptions,
        main,
        "Generate text from a trained model.",
        renamed={"--tokens": "--max-new-tokens"},
    )
