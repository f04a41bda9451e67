"""The evaluation sets; opens and checks the requested ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pipeline.runner.storage import fingerprint
from trainer.evaluation.questions import (
    Choices,
    Passages,
    open_childrens_book_test,
    open_hellaswag,
    open_lambada,
)
from trainer.evaluation.texts import (
    Text,
    open_enwik8,
    open_one_billion_words,
    open_penn_treebank,
    open_text,
    open_text8,
    open_wikitext,
)
from trainer.evaluation.token_sets import TokenSet, open_token_set

Content = Text | Passages | Choices | TokenSet


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """The sets to evaluate: for each, its published file or folder."""

    wikitext2: str | None = None
    """WikiText-2: wiki.test.tokens, wiki.test.raw or Hugging Face's Parquet file."""
    wikitext103: str | None = None
    """WikiText-103, in the same formats."""
    ptb: str | None = None
    """Penn Treebank as prepared by Mikolov: ptb.test.txt."""
    enwik8: str | None = None
    """enwik8: the whole file, of which the last 5 MB are used, or only those."""
    text8: str | None = None
    """text8: the whole file, of which the last 5 MB are used, or only those."""
    one_billion_words: str | None = None
    """One Billion Word benchmark: news.en.heldout-00000-of-00050."""
    lambada: str | None = None
    """LAMBADA: OpenAI's lambada_test.jsonl, or the original lambada_test_plain_text.txt."""
    cbt_common_nouns: str | None = None
    """Children's Book Test: cbtest_CN_valid_2000ex.txt."""
    cbt_named_entities: str | None = None
    """Children's Book Test: cbtest_NE_valid_2000ex.txt."""
    hellaswag: str | None = None
    """HellaSwag: hellaswag_val.jsonl, Hugging Face's Parquet file, or llm.c's hellaswag_val.bin."""
    text: tuple[str, ...] = ()
    """Other texts: plain UTF-8, or JSON Lines (.jsonl) or Parquet with a `text` in every row."""
    shards: str | None = None
    """Token shards of the model's vocabulary, ours or another tool's: their validation split."""
    shards_tokens: int | None = None
    """Most tokens of --shards to predict. Default: all."""
    detokenize: bool = True
    """Turn tokenized sets back into running text, reversibly; otherwise the model reads them as published."""
    lambada_preprocessing: Literal["none", "openai"] = "none"
    """Preprocessing of LAMBADA's running text: none, or OpenAI's as they describe it."""


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """A requested set."""

    name: str
    title: str
    content: Content
    units: tuple[str, ...] = ()
    """Metrics of a text or of choices, the paper's first."""

    @property
    def work(self) -> tuple[int, str]:
        """The amount of work, and its unit."""
        if isinstance(self.content, Text):
            return self.content.size_bytes, "B"
        if isinstance(self.content, TokenSet):
            return self.content.tokens, " tokens"
        return len(self.content.examples), " questions"


def fingerprint_of(content: Content) -> str:
    """Return what changes when a set's content does."""
    return content.fingerprint if isinstance(content, TokenSet) else fingerprint(content.address)


def open_tasks(options: SetOptions) -> list[EvaluationTask]:
    """Open every requested set and read all of them, so that errors show before the first evaluation.

    Raises:
        ValueError: none was requested, or one is not what it should be.
    """
    tasks = [
        EvaluationTask(name=name, title=title, content=opener(address), units=units)
        for name, title, opener, units in _sets(options)
        if (address := getattr(options, name)) is not None
    ]
    for number, address in enumerate(options.text):
        title = address.rstrip("/").rsplit("/", 1)[-1]
        content = open_text(address)
        units = ("perplexity per token", "perplexity per word", "bits per byte")
        tasks.append(EvaluationTask(name=f"text_{number}", title=title, content=content, units=units))
    if options.shards is not None:
        title = options.shards.rstrip("/").rsplit("/", 1)[-1]
        shards = open_token_set(options.shards, options.shards_tokens)
        units = ("loss per token", "perplexity per token", "bits per byte")
        tasks.append(EvaluationTask(name="shards", title=title, content=shards, units=units))
    if not tasks:
        raise ValueError("nothing to evaluate: give a set, such as --lambada lambada_test.jsonl, or a --text")
    return tasks


SetEntry = tuple[str, str, Callable[[str], Content], tuple[str, ...]]


def _sets(options: SetOptions) -> list[SetEntry]:
    """Return each set's option, title, how to open it, and its units: in the order of the paper's table 3."""
    joined: Any = {"detokenize": options.detokenize}
    book = open_childrens_book_test
    lambada = partial(open_lambada, preprocessing=options.lambada_preprocessing, **joined)
    words = ("perplexity per word", "perplexity per token", "bits per byte")
    return [
        ("lambada", "LAMBADA", lambada, ()),
        ("cbt_common_nouns", "CBT common nouns", partial(book, kind="CN", **joined), ("accuracy",)),
        ("cbt_named_entities", "CBT named entities", partial(book, kind="NE", **joined), ("accuracy",)),
        ("wikitext2", "WikiText-2", partial(open_wikitext, **joined), words),
        ("ptb", "PTB", partial(open_penn_treebank, **joined), words),
        ("enwik8", "enwik8", open_enwik8, ("bits per byte", "perplexity per token")),
        ("text8", "text8", open_text8, ("bits per character", "perplexity per token")),
        ("wikitext103", "WikiText-103", partial(open_wikitext, **joined), words),
        ("one_billion_words", "1BW", partial(open_one_billion_words, **joined), words),
        ("hellaswag", "HellaSwag", open_hellaswag, ("accuracy, length-normalised", "accuracy")),
    ]
