"""From word counts to the files of a vocabulary: one task, since learning takes seconds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from pipeline.runner.stages import Counts, Task, output_version
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.merges import learn_merges
from tokenizer.bpe.pretokens import TEXT_BYTES_AT_ONCE, count_words
from tokenizer.bpe.rare_words import find_cut
from tokenizer.bpe.vocabulary import SMALLEST_SIZE, Vocabulary, check_size
from tokenizer.bpe.word_counts import CountedWords


@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """Size and memory limit of learning."""

    vocab_size: int
    """Entries in all: 256 bytes, merges, and the end of text."""
    memory_bytes: int
    """Memory limit for the distinct words. Beyond it the rarest are left out."""


@output_version(3, "sentencepiece")
def learn_vocabulary(task: Task) -> Counts:
    """Stage: learn a vocabulary from tables of counted words, and note how large it became.

    It is smaller than requested if the words are fully merged before that. Words left out for lack of memory
    are noted under `cut`.
    """
    cut = find_cut(task.inputs, task.options.memory_bytes)
    words = CountedWords(task.inputs, cut.at_least)
    learned = learn_merges(words, task.options.vocab_size - SMALLEST_SIZE)
    vocabulary = Vocabulary(learned.merges)
    used = merges_used(vocabulary, words)
    if used < len(learned.merges):
        vocabulary = Vocabulary(learned.merges[:used])
    for name, text in vocabulary.files().items():
        (task.folder / name).write_text(text, encoding="utf-8")
    (task.folder / "sentencepiece.model").write_bytes(learned.model)
    versions = {name: version(name) for name in ("sentencepiece", "gigatoken")}
    task.notes.update(
        size=vocabulary.size, fingerprint=vocabulary.fingerprint, cut=asdict(cut), versions=versions
    )
    return Counts(cut.words, cut.words - cut.words_cut, {"too rare": cut.words_cut} if cut.words_cut else {})


def learn_from_texts(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """Learn a vocabulary from texts, which are read once; all distinct words are held in memory.

    The result is that of `tokenizer/train_bpe.py` for the same texts.

    Raises:
        ValueError: the texts are too few for that many entries; the message says how many there can be.
    """
    check_size(vocab_size)
    counts, batch, size = Counter[bytes](), list[bytes](), 0
    for text in texts:
        batch.append(text.encode())
        size += len(batch[-1])
        if size >= TEXT_BYTES_AT_ONCE:
            _add(counts, batch)
            batch, size = [], 0
    _add(counts, batch)
    words = sorted(counts.items())
    vocabulary = Vocabulary(learn_merges(words, vocab_size - SMALLEST_SIZE).merges)
    used = merges_used(vocabulary, words)
    if used < vocab_size - SMALLEST_SIZE:
        raise ValueError(
            f"the texts are too small for {vocab_size:,} entries: at most {SMALLEST_SIZE + used:,}"
        )
    return vocabulary


def _add(counts: Counter[bytes], texts: Sequence[bytes]) -> None:
    table = count_words(texts)
    counts.update(dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)))


def merges_used(vocabulary: Vocabulary, words: Iterable[tuple[bytes, int]]) -> int:
    """Return the number of merges up to the last one whose token still occurs in a word.

    When every word is fully merged, SentencePiece continues with pairs that no longer occur. A merge of a
    pair that did occur leaves its token in some word until a later merge takes it up; the last one's stays.
    """
    if not vocabulary.merges:
        return 0
    encoder = Encoder(vocabulary)
    last_token = vocabulary.tokens[-1]
    last = 255
    for word, _ in words:
        if last_token in word:  # where the corpus is large enough this finds the last merge soon
            last = max(last, int(encoder.encode(word).max()))
            if last == vocabulary.size - 2:  # <|endoftext|> is the last entry
                return last - 255
    for word, _ in words:
        last = max(last, int(encoder.encode(word).max()))
    return last - 255
