"""Computes metrics from texts and questions, each with its unit and counts."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.resources import files
from typing import Any

import numpy as np

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary
from trainer.evaluation.questions import Choices, Passages
from trainer.evaluation.scoring import Ids, Scorer, Sequence
from trainer.evaluation.suite import EvaluationTask
from trainer.evaluation.texts import Text, at_word_ends
from trainer.evaluation.token_sets import TokenSet

Advance = Callable[[int], object]  # called for every byte of a text, or every question, as it is read


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one set."""

    address: str
    split: str
    detokenizer: str
    counts: dict[str, int]
    figures: dict[str, float]
    """By their units."""
    notes: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite result becomes null."""
        figures = {unit: value if math.isfinite(value) else None for unit, value in self.figures.items()}
        return {**asdict(self), "figures": figures, "notes": list(self.notes)}


class Reader:
    """Turns text into what a scorer takes, in the vocabulary of the model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._encoder = Encoder(vocabulary)
        self._beginning = np.array([vocabulary.end_of_text], np.uint32)

    def encode(self, text: str | list[int]) -> Ids:
        """Return the ids of a text.

        Raises:
            ValueError: ids are given, and one is not in the vocabulary.
        """
        if isinstance(text, str):
            return self._encoder.encode(text.encode())
        if max(text) >= self.vocabulary.size:
            raise ValueError(
                f"the set has token id {max(text)}, but the vocabulary has {self.vocabulary.size:,} entries"
            )
        return np.array(text, np.uint32)

    def document(self, pieces: Iterator[bytes]) -> Sequence:
        """Return a document of which every token is predicted, the first from `<|endoftext|>`."""
        return Sequence(tokens=self._document_ids(pieces), given=1)

    def ending(self, text: Ids, ending: Ids, key: int) -> Sequence:
        """Return a text of which only the ending is predicted."""
        text = text if len(text) else self._beginning
        return Sequence(tokens=[np.concatenate((text, ending))], given=len(text), key=key)

    def stop_tokens(self) -> list[int]:
        """Return the ids of tokens that are a space and a stop word."""
        content = files("trainer.evaluation").joinpath("stop_words.txt").read_text(encoding="utf-8")
        stop_words = {line for line in content.splitlines() if not line.startswith("#")}
        spellings = {b" " + word.encode() for word in stop_words}
        return [number for number, token in enumerate(self.vocabulary.entries) if token.lower() in spellings]

    def _document_ids(self, pieces: Iterator[bytes]) -> Iterator[Ids]:
        yield self._beginning
        for piece in at_word_ends(pieces):
            yield self._encoder.encode(piece)


def evaluate(task: EvaluationTask, scorer: Scorer, reader: Reader, advance: Advance) -> Result:
    """Evaluate a set of any kind."""
    if isinstance(task.content, Text):
        return evaluate_text(task.content, scorer, reader, advance, units=task.units)
    if isinstance(task.content, TokenSet):
        return evaluate_tokens(task.content, scorer, reader, advance, units=task.units)
    if isinstance(task.content, Choices):
        return evaluate_choices(task.content, scorer, reader, advance, units=task.units)
    return evaluate_passages(task.content, scorer, reader, advance)


def evaluate_text(
    text: Text, scorer: Scorer, reader: Reader, advance: Advance, *, units: tuple[str, ...]
) -> Result:
    """Predict every token, and divide the loss by the number of tokens, words, bytes or characters."""

    def reporting(document: Iterator[bytes]) -> Iterator[bytes]:
        for piece in document:
            advance(len(piece))
            yield piece

    total = scorer.losses(reader.document(reporting(document)) for document in text.documents())[0]
    counts = {"tokens": total.tokens, "words": text.words, "line ends": text.line_ends or 0}
    counts |= {"characters": text.characters, "bytes": text.size_bytes}
    by_unit = {
        "perplexity per word": _perplexity(total.loss, text.canonical_words),
        "perplexity per token": _perplexity(total.loss, total.tokens),
        "bits per byte": _bits(total.loss, text.size_bytes),
        "bits per character": _bits(total.loss, text.characters),
    }
    return Result(
        address=text.address,
        split=text.split,
        detokenizer=text.detokenizer,
        counts={name: count for name, count in counts.items() if count},
        figures={unit: by_unit[unit] for unit in units},
    )


def evaluate_tokens(
    tokens: TokenSet, scorer: Scorer, reader: Reader, advance: Advance, *, units: tuple[str, ...]
) -> Result:
    """Predict every token of a stream but the first, whatever documents it runs through."""

    def reporting() -> Iterator[Ids]:
        for piece in tokens.pieces():
            advance(len(piece))
            yield piece

    total = scorer.losses([Sequence(tokens=reporting(), given=1)])[0]
    size_bytes = tokens.bytes_of(reader.vocabulary.byte_lengths)
    by_unit = {
        "loss per token": float(total.loss / total.tokens),
        "perplexity per token": _perplexity(total.loss, total.tokens),
        "bits per byte": _bits(total.loss, size_bytes),
    }
    return Result(
        address=tokens.address,
        split=tokens.split,
        detokenizer="none",
        counts={"tokens": total.tokens, "bytes": size_bytes},
        figures={unit: by_unit[unit] for unit in units},
    )


def evaluate_passages(passages: Passages, scorer: Scorer, reader: Reader, advance: Advance) -> Result:
    """Predict each passage's last word: accuracy of the word and of its last token, and perplexity."""
    ordered = sorted(passages.examples, key=lambda passage: len(passage.text))  # batches of like lengths

    def sequences() -> Iterator[Sequence]:
        for passage in ordered:
            advance(1)
            yield reader.ending(reader.encode(passage.text), reader.encode(f" {passage.word}"), key=0)

    words = scorer.words(sequences(), reader.stop_tokens())
    figures = {
        "perplexity of the last word": _perplexity(words.loss, words.words),
        "perplexity of the last word, stop words filtered": _perplexity(words.filtered_loss, words.possible),
        "accuracy of the last word": 100 * words.words_right / words.words,
        "accuracy of the last word, stop words filtered": 100 * words.words_right_filtered / words.words,
        "accuracy of the last token": 100 * words.last_right / words.words,
        "accuracy of the last token, stop words filtered": 100 * words.last_right_filtered / words.words,
    }
    counts = {"words": words.words, "tokens": words.tokens, "stop words": words.words - words.possible}
    return Result(
        address=passages.address,
        split=passages.split,
        detokenizer=passages.detokenizer,
        counts=counts,
        figures=figures,
    )


def evaluate_choices(
    questions: Choices,
    scorer: Scorer,
    reader: Reader,
    advance: Advance,
    *,
    units: tuple[str, ...],
) -> Result:
    """Choose the most likely ending of each question: in total, and per token (length-normalised)."""
    numbered = list(enumerate(questions.examples))
    numbered.sort(key=lambda pair: len(pair[1].text))  # batches of like lengths
    most = max(len(example.endings) for example in questions.examples)

    def sequences() -> Iterator[Sequence]:
        for number, example in numbered:
            advance(1)
            text = reader.encode(example.text)
            for index, ending in enumerate(example.endings):
                yield reader.ending(text, reader.encode(ending), key=number * most + index)

    totals = scorer.losses(sequences())
    right = right_normalised = 0
    for number, example in enumerate(questions.examples):
        endings = [totals[number * most + index] for index in range(len(example.endings))]
        losses = [ending.loss for ending in endings]
        right += losses.index(min(losses)) == example.answer
        a_token = [ending.loss / ending.tokens for ending in endings]
        right_normalised += a_token.index(min(a_token)) == example.answer
    count = len(questions.examples)
    by_unit = {"accuracy": 100 * right / count, "accuracy, length-normalised": 100 * right_normalised / count}
    return Result(
        address=questions.address,
        split=questions.split,
        detokenizer=questions.detokenizer,
        counts={"questions": count, "tokens": sum(total.tokens for total in totals.values())},
        figures={unit: by_unit[unit] for unit in units},
        notes=questions.notes,
    )


def _perplexity(loss: Fraction, count: int) -> float:
    return math.exp(loss / count) if count and loss / count < 700 else math.inf


def _bits(loss: Fraction, count: int) -> float:
    return float(loss / count) / math.log(2) if count else math.inf
