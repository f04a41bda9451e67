"""From counted words to the files of a vocabulary: one task, since learning takes seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from pipeline.stages import Counts, Task, edition
from tokenizer.encoder import Encoder
from tokenizer.merges import learn_merges
from tokenizer.pretokens import CountedWords
from tokenizer.vocabulary import SMALLEST_SIZE, Vocabulary


@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """What is learned."""

    vocab_size: int
    """Entries in all: 256 bytes, merges, and the end of text."""


@edition(1, "sentencepiece")
def learn_vocabulary(task: Task) -> Counts:
    """Stage: learn a vocabulary from tables of counted words, and note how large it became.

    It is smaller than was asked for where the words are whole before that many merges are made.
    """
    words = CountedWords(task.inputs)
    learned = learn_merges(words, task.options.vocab_size - SMALLEST_SIZE)
    vocabulary = Vocabulary(learned.merges)
    used = merges_used(vocabulary, (word for word, _ in words))
    if used < len(learned.merges):
        vocabulary = Vocabulary(learned.merges[:used])
    for name, text in vocabulary.files().items():
        (task.folder / name).write_text(text, encoding="utf-8")
    (task.folder / "sentencepiece.model").write_bytes(learned.model)
    versions = {name: version(name) for name in ("sentencepiece", "gigatoken")}
    task.notes.update(size=vocabulary.size, fingerprint=vocabulary.fingerprint, versions=versions)
    return Counts(1, 1)


def merges_used(vocabulary: Vocabulary, words: Iterable[bytes]) -> int:
    """Return how many merges there are up to the last whose token some word still shows.

    When every word is whole, SentencePiece goes on with pairs that occur no more. A merge of a pair that
    did occur leaves its token in some word until a later merge takes it up.
    """
    encoder = Encoder(vocabulary)
    last = 255
    for word in words:
        last = max(last, int(encoder.encode(word).max()))
        if last == vocabulary.end_of_text - 1:
            break
    return last - 255
