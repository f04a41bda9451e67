"""Texts that a model writes, each in its own order of chance, several at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from trainer.config.sampling import Sampling
from trainer.generation.decoding import Batch, Row
from trainer.generation.text_stream import TextStream
from trainer.pretrained.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be gone on from."""

    prompt: str
    tokens: list[int]  # of the prompt, at least one
    number: int  # of the prompt among all, from 0
    sample: int  # of this prompt's samples, from 0


@dataclass(kw_only=True)
class Continuation:
    """What has been written so far."""

    request: Request
    stream: TextStream
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)  # of the tokens, by the model alone
    finished: Literal["end of text", "stop string", "length"] | None = None


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How texts are written."""

    sampling: Sampling
    seed: int
    most_tokens: int | None  # in each text; None: until the model ends it
    stops: Sequence[str]
    at_once: int  # texts written together


def write(
    loaded: LoadedModel, requests: Sequence[Request], writing: Writing
) -> Iterator[tuple[Continuation, str]]:
    """Yield each text again and again, with what has just been added to it; finished ones once so.

    What is drawn depends on the seed and the request's numbers, not on what is written beside it.
    """
    waiting = list(reversed(requests))
    begun = [_begin(loaded, waiting.pop(), writing) for _ in range(min(writing.at_once, len(requests)))]
    rows = [_row(continuation.request, writing) for continuation in begun]
    batch = Batch(loaded.model, rows, writing.sampling, most_tokens=_most_tokens(loaded, requests, writing))
    while begun:
        for continuation, token, log_probability in zip(begun, *batch.step(), strict=True):
            yield continuation, _add(continuation, token, log_probability, loaded, writing)
        for index, continuation in enumerate(begun):
            if continuation.finished and waiting:
                begun[index] = _begin(loaded, waiting.pop(), writing)
                batch.replace(index, _row(begun[index].request, writing))
        going_on = [index for index, continuation in enumerate(begun) if not continuation.finished]
        if 0 < len(going_on) < len(begun):
            batch.keep(going_on)
        begun = [begun[index] for index in going_on]


def in_order(
    pieces: Iterable[tuple[Continuation, str]], requests: Sequence[Request]
) -> Iterator[tuple[Continuation, str]]:
    """Let one text come after the other: what is written of later ones waits until theirs is the turn."""
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


def _most_tokens(loaded: LoadedModel, requests: Sequence[Request], writing: Writing) -> int:
    if writing.most_tokens is None:
        return loaded.model.config.context
    return max(len(request.tokens) for request in requests) + writing.most_tokens


def _begin(loaded: LoadedModel, request: Request, writing: Writing) -> Continuation:
    return Continuation(request=request, stream=TextStream(loaded.token_bytes, writing.stops))


def _row(request: Request, writing: Writing) -> Row:
    # The generator's state is made of the whole name (by SHA-512), so no two texts share their chances.
    name = f"seed {writing.seed}, prompt {request.number}, sample {request.sample}"
    return Row(tokens=list(request.tokens), random=Random(name))


def _add(
    continuation: Continuation, token: int, log_probability: float, loaded: LoadedModel, writing: Writing
) -> str:
    """Add a token to a text; return what can be shown of it."""
    if token == loaded.vocabulary.end_of_text:
        continuation.finished = "end of text"
        piece = continuation.stream.end()
    else:
        continuation.tokens.append(token)
        continuation.log_probabilities.append(log_probability)
        piece = continuation.stream.add(token)
        if not continuation.stream.stopped and len(continuation.tokens) == writing.most_tokens:
            continuation.finished = "length"
            piece += continuation.stream.end()
    if continuation.stream.stopped:
        continuation.finished = "stop string"
    continuation.text += piece
    return piece
