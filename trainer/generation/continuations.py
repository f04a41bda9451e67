"""Generates texts in batches, each with its own random stream."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from trainer.config.sampling import Sampling
from trainer.generation.decoding import DecodingBatch, TokenSequence
from trainer.generation.text_stream import TextStream
from trainer.pretrained.loaded_model import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt to continue."""

    prompt: str
    tokens: list[int]  # of the prompt, at least one
    number: int  # index of the prompt
    sample: int  # index among the prompt's samples


@dataclass(kw_only=True)
class Continuation:
    """The text generated so far."""

    request: Request
    stream: TextStream
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)  # under the model, before sampling options
    finished: Literal["end of text", "stop string", "length"] | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How texts are generated."""

    sampling: Sampling
    seed: int
    max_new_tokens: int | None  # per text; None: until the model ends it
    stop: Sequence[str]
    batch_size: int  # texts generated together


def generate(
    loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings
) -> Iterator[tuple[Continuation, str]]:
    """Yield each text with every piece that is added to it, until it is finished.

    What is sampled depends on the seed and the request's numbers, not on the batch.
    """
    waiting = list(reversed(requests))
    begun = [_begin(loaded, waiting.pop(), settings) for _ in range(min(settings.batch_size, len(requests)))]
    rows = [_row(continuation.request, settings) for continuation in begun]
    most_tokens = _most_tokens(loaded, requests, settings)
    batch = DecodingBatch(loaded.model, rows, settings.sampling, most_tokens=most_tokens)
    while begun:
        for continuation, token, log_probability in zip(begun, *batch.step(), strict=True):
            yield continuation, _add(continuation, token, log_probability, loaded, settings)
        for index, continuation in enumerate(begun):
            if continuation.finished and waiting:
                begun[index] = _begin(loaded, waiting.pop(), settings)
                batch.replace(index, _row(begun[index].request, settings))
        unfinished = [index for index, continuation in enumerate(begun) if not continuation.finished]
        if 0 < len(unfinished) < len(begun):
            batch.keep(unfinished)
        begun = [begun[index] for index in unfinished]


def complete(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 100,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> list[str]:
    """Return what follows each prompt, without the prompt.

    Args:
        sampling: how tokens are chosen. Default: temperature 0.8, nucleus 0.95.
        stop: strings before which a text ends.
    """
    context, empty = loaded.model.config.context, [loaded.vocabulary.end_of_text]
    requests = [
        Request(prompt=prompt, tokens=loaded.encode(prompt)[-context:] or empty, number=number, sample=0)
        for number, prompt in enumerate(prompts)
    ]
    settings = GenerationSettings(
        sampling=sampling or Sampling(),
        seed=seed,
        max_new_tokens=max_new_tokens,
        stop=stop,
        batch_size=max(1, len(prompts)),
    )
    texts = [""] * len(prompts)
    for continuation, piece in generate(loaded, requests, settings) if prompts else ():
        texts[continuation.request.number] += piece
    return texts


def in_order(
    pieces: Iterable[tuple[Continuation, str]], requests: Sequence[Request]
) -> Iterator[tuple[Continuation, str]]:
    """Yield one text after the other: pieces of later ones wait for their turn."""
    begun: dict[tuple[int, int], Continuation] = {}
    turns = [(request.number, request.sample) for request in reversed(requests)]
    for continuation, piece in pieces:
        begun[continuation.request.number, continuation.request.sample] = continuation
        if begun.get(turns[-1]) is not continuation:
            continue
        yield continuation, piece
        while turns and turns[-1] in begun and begun[turns[-1]].finished:
            del begun[turns.pop()]
            if turns and turns[-1] in begun:
                yield begun[turns[-1]], begun[turns[-1]].text


def _most_tokens(loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings) -> int:
    if settings.max_new_tokens is None:
        return loaded.model.config.context
    return max(len(request.tokens) for request in requests) + settings.max_new_tokens


def _begin(loaded: LoadedModel, request: Request, settings: GenerationSettings) -> Continuation:
    return Continuation(request=request, stream=TextStream(loaded.token_bytes, settings.stop))


def _row(request: Request, settings: GenerationSettings) -> TokenSequence:
    # The generator is seeded with a hash of the whole name (SHA-512), so no two texts share a random stream.
    name = f"seed {settings.seed}, prompt {request.number}, sample {request.sample}"
    return TokenSequence(tokens=list(request.tokens), random=Random(name))


def _add(
    continuation: Continuation,
    token: int,
    log_probability: float,
    loaded: LoadedModel,
    settings: GenerationSettings,
) -> str:
    """Add a token to a text; return the new text that is certain."""
    if token == loaded.vocabulary.end_of_text:
        continuation.finished = "end of text"
        piece = continuation.stream.end()
    else:
        continuation.tokens.append(token)
        continuation.log_probabilities.append(log_probability)
        piece = continuation.stream.add(token)
        if not continuation.stream.stopped and len(continuation.tokens) == settings.max_new_tokens:
            continuation.finished = "length"
            piece += continuation.stream.end()
    if continuation.stream.stopped:
        continuation.finished = "stop string"
    continuation.text += piece
    return piece
