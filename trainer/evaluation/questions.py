"""Sets of questions: predict a passage's last word, or choose one of several endings."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.runner import storage
from trainer.evaluation.detokenizers import PLAIN, STANFORD, Detokenizer
from trainer.evaluation.files import (
    PARQUET,
    Row,
    counted,
    find,
    is_parquet,
    opening_bytes,
    read_column,
    read_lines,
    read_rows,
)

BLANK = "XXXXX"
EVALUATION_MAGIC, EVALUATION_VERSION = 20240522, 1  # of llm.c's evaluation files
EXAMPLE_BEGINS = 0xFFFF


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A text and its last word, without the space between them."""

    text: str
    word: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A text, several endings, and the index of the right one. All as text, or all as token ids."""

    text: str | list[int]
    endings: tuple[str | list[int], ...]
    answer: int


@dataclass(frozen=True, kw_only=True)
class Passages:
    """A set of passages whose last words are predicted."""

    address: str  # of the file
    examples: list[Passage]
    split: str
    detokenizer: str


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A set of questions with endings to choose from."""

    address: str  # of the file
    examples: list[Choice]
    split: str
    detokenizer: str
    notes: tuple[str, ...] = ()


def open_lambada(
    address: str, *, detokenize: bool = True, preprocessing: Literal["none", "openai"] = "none"
) -> Passages:
    """Read LAMBADA: OpenAI's `lambada_test.jsonl` (running text), or the original plain text (tokenized).

    Rows of JSON Lines or Parquet are treated as tokenized if they have "n't" or "``" as tokens.

    Args:
        preprocessing: of running text. With "openai" curly quotation marks become straight, and each passage
            follows an end of line, as OpenAI says it did (openai/gpt-2, issue 131).

    Raises:
        ValueError: the file is something else.
    """
    what = "LAMBADA (OpenAI's lambada_test.jsonl, its Parquet file, or lambada_test_plain_text.txt)"
    names = ("lambada_test.jsonl", "lambada_test_plain_text.txt")
    address = find(address, names, what=what)
    texts, is_tokenized = _lambada_texts(address, what=what)
    manner, name = "running text", PLAIN.name
    if is_tokenized and preprocessing != "none":
        raise ValueError(
            f"{address} is tokenized, but OpenAI's preprocessing is for running text: leave it out"
        )
    if is_tokenized:
        detokenizer = STANFORD if detokenize else PLAIN
        texts = [_joined(text.split(), detokenizer) for text in texts]
        manner, name = "tokenized lower case", detokenizer.name
    elif preprocessing == "openai":
        texts = ["\n" + text.replace("“", '"').replace("”", '"').strip() for text in texts]
        name = "OpenAI's (straight quotation marks: not invertible)"
    examples = counted(address, iter(texts), _passage, what=what)
    return Passages(address=address, examples=examples, split=f"test, {manner}", detokenizer=name)


def open_childrens_book_test(address: str, kind: Literal["CN", "NE"], *, detokenize: bool = True) -> Choices:
    """Read the Children's Book Test: `cbtest_CN_valid_2000ex.txt`, its NE twin, or Hugging Face's Parquet.

    The paper reports the validation split, since a book of the test split is in WebText (section 3.2).

    Raises:
        ValueError: the file is something else.
    """
    name = f"cbtest_{kind}_valid_2000ex.txt"
    what = f"the Children's Book Test ({name}: 21 numbered sentences a question, or Hugging Face's Parquet)"
    address = find(address, (name, f"data/{name}", f"CBTest/data/{name}"), what=what)
    if is_parquet(address, what=what):
        questions = read_rows(address, ("sentences", "question", "answer", "options"), what=what)
    else:
        questions = _cloze_questions(address, what=what)
    detokenizer = STANFORD if detokenize else PLAIN
    examples = counted(address, questions, lambda question: _cloze(question, detokenizer), what=what)
    return Choices(
        address=address, examples=examples, split=_split_in_name(address), detokenizer=detokenizer.name
    )


def open_hellaswag(address: str) -> Choices:
    """Read HellaSwag: `hellaswag_val.jsonl`, Hugging Face's Parquet file, or llm.c's `hellaswag_val.bin`.

    Raises:
        ValueError: it is something else, or without labels.
    """
    what = "HellaSwag with labels (hellaswag_val.jsonl, Hugging Face's Parquet, or llm.c's hellaswag_val.bin)"
    address = find(address, ("hellaswag_val.jsonl", "hellaswag_val.bin"), what=what)
    start = opening_bytes(address, what=what)
    if start[:4] == EVALUATION_MAGIC.to_bytes(4, "little"):
        examples = read_evaluation_file(address)
        notes = ("the file's own token ids, valid only for the vocabulary that it was written with",)
        return Choices(
            address=address, examples=examples, split="llm.c's file", detokenizer=PLAIN.name, notes=notes
        )
    rows = read_rows(address, ("ctx", "endings", "label"), what=what)
    examples = counted(address, rows, _hellaswag, what=what)
    return Choices(address=address, examples=examples, split=_split_in_name(address), detokenizer=PLAIN.name)


def read_evaluation_file(address: str) -> list[Choice]:
    """Read a file of llm.c's `write_evalfile`: multiple choice in token ids.

    256 int32 (magic, version, number of examples), then for each example in uint16: 65,535, its bytes, its
    index, the right ending, the number of endings, and each text as its length and its ids.

    Raises:
        ValueError: it is cut off, or of another version.
    """
    with storage.open_read(address) as file:
        content = file.read()
    header = np.frombuffer(content[:1024], "<i4") if len(content) >= 1024 else np.zeros(3, "<i4")
    if header[1] != EVALUATION_VERSION:
        raise ValueError(f"{address} is not an llm.c evaluation file, version {EVALUATION_VERSION}")
    stream = [int(value) for value in np.frombuffer(content[1024 : len(content) // 2 * 2], "<u2")]
    examples = []
    position = 0
    for number in range(int(header[2])):
        size = stream[position + 1] // 2 if position + 1 < len(stream) else 0
        example = _evaluation_example(stream[position : position + size])
        if example is None:
            raise ValueError(f"{address}, example {number + 1} of {header[2]}, is truncated or damaged")
        examples.append(example)
        position += size
    if not examples:
        raise ValueError(f"{address} has no examples")
    return examples


def _evaluation_example(stream: list[int]) -> Choice | None:
    if len(stream) < 6 or stream[0] != EXAMPLE_BEGINS:
        return None
    texts: list[list[int]] = []
    position = 5
    for _ in range(stream[4] + 1):
        if position >= len(stream) or position + 1 + stream[position] > len(stream):
            return None
        texts.append(stream[position + 1 : position + 1 + stream[position]])
        position += 1 + stream[position]
    if not all(texts) or not stream[3] < stream[4]:
        return None
    return Choice(text=texts[0], endings=tuple(texts[1:]), answer=stream[3])


def _lambada_texts(address: str, *, what: str) -> tuple[list[str], bool]:
    """Return the passages, and whether they are tokenized: what was published as lines of plain text is."""
    start = opening_bytes(address, what=what)
    if start.lstrip()[:1] != b"{" and not start.startswith(PARQUET):
        return [line for line in read_lines(address, what=what) if line.strip()], True
    texts = list(read_column(address, "text", what=what))
    return texts, any(not {"n't", "``"}.isdisjoint(text.split(" ")) for text in texts)


def _joined(tokens: list[str], detokenizer: Detokenizer) -> str:
    """Return the running text of a passage, whose last token stays a word of its own."""
    return " ".join([detokenizer.detokenize(tokens[:-1]), *tokens[-1:]])


def _passage(text: str) -> Passage:
    before, _, word = text.rstrip().rpartition(" ")
    if not before.strip():
        raise ValueError("the passage has fewer than two words")
    return Passage(text=before, word=word)


def _cloze_questions(address: str, *, what: str) -> Iterator[Row]:
    """Yield the questions of the published text: sentences 1 to 20, then the cloze, answer and candidates."""
    sentences: list[str] = []
    for number, line in enumerate(read_lines(address, what=what), 1):
        if not line.strip():
            continue
        index, _, text = line.partition(" ")
        if index != str(len(sentences) + 1):
            raise ValueError(
                f"{address}, line {number}, is not sentence {len(sentences) + 1}: expected {what}"
            )
        if "\t" not in text:
            sentences.append(text)
            continue
        question, answer, *rest = text.split("\t")
        yield {"sentences": sentences, "question": question, "answer": answer, "options": rest[-1:]}
        sentences = []
    if sentences:
        raise ValueError(f"{address} ends in the middle of a question: expected {what}")


def _cloze(question: dict[str, Any], detokenizer: Detokenizer) -> Choice:
    """Return a question as endings that start where the candidates differ."""
    candidates = question["options"]
    if len(candidates) == 1:
        candidates = candidates[0].split("|")
    if len(candidates) < 2 or question["answer"] not in candidates:
        raise ValueError("its answer is not among several candidates")
    tokens = question["question"].split()
    if not any(BLANK in token for token in tokens) or not question["sentences"]:
        raise ValueError(f"it has no {BLANK} to fill in, or no sentences before it")
    context = " ".join(detokenizer.detokenize(sentence.split()) for sentence in question["sentences"])
    filled = ([token.replace(BLANK, candidate) for token in tokens] for candidate in candidates)
    texts = [f"{context} {detokenizer.detokenize(words)}" for words in filled]
    cut = _common_start(min(texts), max(texts)).rindex(" ")
    endings = tuple(text[cut:] for text in texts)
    return Choice(text=texts[0][:cut], endings=endings, answer=candidates.index(question["answer"]))


def _common_start(first: str, second: str) -> str:
    pairs = enumerate(zip(first, second, strict=False))
    end = next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))
    return first[:end]


def _hellaswag(row: Row) -> Choice:
    endings, answer = row["endings"], int(row["label"])  # Hugging Face has labels as text
    if not row["ctx"].strip() or len(endings) < 2 or not 0 <= answer < len(endings):
        raise ValueError("it has no text, fewer than two endings, or an invalid label")
    return Choice(
        text=row["ctx"].rstrip(), endings=tuple(f" {ending.lstrip()}" for ending in endings), answer=answer
    )


def _split_in_name(address: str) -> str:
    """Return which split a file's name says that it is."""
    name = address.rsplit("/", 1)[-1]
    found = {"valid": "validation", "val": "validation", "test": "test", "train": "train"}
    return next((split for part, split in found.items() if part in name), f"unknown split ({name})")
