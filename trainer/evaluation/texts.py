"""Sets whose every token is predicted: WikiText, PTB, One Billion Word, enwik8, text8, and any text.

Words, bytes and characters are counted here, in the text as published. For sets that come as words, each line
end counts as one more word, as in the papers that published them (WikiText 245,569 in the test
split, PTB 82,430, One Billion Word 159,658 in the first held-out part).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.runner import storage
from trainer.evaluation.detokenizers import ONE_BILLION_WORDS, PENN_TREEBANK, PLAIN, WIKITEXT, Detokenizer
from trainer.evaluation.files import (
    BLOCK_BYTES,
    find,
    is_parquet,
    opening_bytes,
    read_blocks,
    read_column,
    read_lines,
)

Document = Iterator[bytes]  # the text of one document in UTF-8, piece by piece

WHOLE_BYTES = 100_000_000  # of enwik8 and text8
TEST_BYTES = 5_000_000  # their last part, the usual test split (90, 5 and 5 MB)
TEXT8 = b"abcdefghijklmnopqrstuvwxyz "
CONTINUATIONS = bytes(range(0x80, 0xC0))  # UTF-8's bytes that begin no character
LONGEST_WORD_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text, read again each time, and its counts as published."""

    address: str  # of the file
    documents: Callable[[], Iterator[Document]]
    """Each document's text as the model reads it; no context reaches from one to the next."""
    words: int
    line_ends: int | None = None  # where they count as words
    characters: int
    size_bytes: int
    split: str
    detokenizer: str

    @property
    def canonical_words(self) -> int:
        """The number of words for perplexity per word."""
        return self.words + (self.line_ends or 0)


def open_wikitext(address: str, *, detokenize: bool = True) -> Text:
    """Read WikiText's test split: `wiki.test.tokens`, `wiki.test.raw`, or Hugging Face's Parquet file.

    Raises:
        ValueError: the file is something else.
    """
    what = "WikiText's test split (wiki.test.tokens, wiki.test.raw, or Hugging Face's test Parquet file)"
    names = ("wiki.test.tokens", "wiki.test.raw", "test-00000-of-00001.parquet")
    address = find(address, names, what=what)
    lines = _lines(address, "text", what=what)
    if not any(line.startswith(" = ") and line.endswith(" = ") for line in lines()):
        raise ValueError(f"{address} has no heading such as ' = Title = ': expected {what}")
    kind = "rare words as `<unk>`" if any("<unk>" in line for line in lines()) else "raw"
    return _of_words(address, lines, WIKITEXT if detokenize else PLAIN, split=f"test ({kind})")


def open_penn_treebank(address: str, *, detokenize: bool = True) -> Text:
    """Read the Penn Treebank as Mikolov prepared it: `ptb.test.txt`, or Hugging Face's Parquet file.

    Raises:
        ValueError: the file is something else.
    """
    what = "PTB's test split as Mikolov prepared it (ptb.test.txt: lower case, <unk>, N for numbers)"
    names = ("ptb.test.txt", "data/ptb.test.txt", "simple-examples/data/ptb.test.txt")
    address = find(address, names, what=what)
    lines = _lines(address, "sentence", what=what)
    for number, line in enumerate(lines(), 1):
        for word in line.split():
            if word not in {"N", word.lower()}:
                raise ValueError(
                    f"{address}, line {number}, has the capitals of {word[:40]!r}: expected {what}"
                )
    return _of_words(address, lines, PENN_TREEBANK if detokenize else PLAIN, split="test")


def open_one_billion_words(address: str, *, detokenize: bool = True) -> Text:
    """Read a held-out part of the One Billion Word benchmark: `news.en.heldout-00000-of-00050`.

    Raises:
        ValueError: the file is something else.
    """
    first = "news.en.heldout-00000-of-00050"
    what = f"a held-out part of the One Billion Word benchmark ({first}: one tokenized sentence per line)"
    names = (first, f"heldout-monolingual.tokenized.shuffled/{first}")
    address = find(address, names, what=what)
    lines = _lines(address, "text", what=what)
    if not any({".", ","} & set(line.split(" ")) for line in lines()):
        raise ValueError(f"{address} has no sentence with a ' .' or ' ,' of its own: expected {what}")
    name = address.rsplit("/", 1)[-1]
    return _of_words(address, lines, ONE_BILLION_WORDS if detokenize else PLAIN, split=name)


def open_enwik8(address: str) -> Text:
    """Read enwik8: the last 5 MB of the whole file, or a file of at most 5 MB.

    Raises:
        ValueError: the file is something else.
    """
    what = "enwik8: 100,000,000 bytes of Wikipedia's XML, or its last 5,000,000"
    address = find(address, ("enwik8",), what=what)
    start, split = _last_part(address, what=what)
    if start and not opening_bytes(address, what=what).startswith(b"<mediawiki"):
        raise ValueError(f"{address} does not begin with <mediawiki: expected {what}")
    return _of_bytes(address, start, split=split)


def open_text8(address: str) -> Text:
    """Read text8: the last 5 MB of the whole file, or a file of at most 5 MB.

    Raises:
        ValueError: the file is something else.
    """
    what = "text8: 100,000,000 letters a to z and spaces, or its last 5,000,000"
    address = find(address, ("text8",), what=what)
    start, split = _last_part(address, what=what)
    for block in read_blocks(address, start=start):
        if other := block.translate(None, TEXT8):
            raise ValueError(f"{address} holds the byte {other[:1]!r}: expected {what}")
    return _of_bytes(address, start, split=split)


def open_text(address: str) -> Text:
    """Read any text: UTF-8 as one document; or JSON Lines or Parquet with a document's `text` in each row.

    Raises:
        ValueError: it is empty, or not UTF-8, or a row has no text.
    """
    what = "a text in UTF-8, or JSON Lines (.jsonl) or Parquet with a column 'text'"
    address = find(address, (), what=what)
    has_rows = address.endswith((".jsonl", ".ndjson")) or is_parquet(address, what=what)
    if has_rows:
        documents = partial(_row_documents, address, what=what)
    else:
        opening_bytes(address, what=what)
        documents = partial(_one_document, address)
    words = characters = size_bytes = count = 0
    for document in documents():
        count += 1
        for piece in at_word_ends(document):
            try:
                text = piece.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{address} is not UTF-8: expected {what}") from error
            words, characters = words + len(text.split()), characters + len(text)
            size_bytes += len(piece)
    if not size_bytes:
        raise ValueError(f"{address} has no text: expected {what}")
    split = f"{count:,} documents" if has_rows else "one document"
    return Text(
        address=address,
        documents=documents,
        words=words,
        characters=characters,
        size_bytes=size_bytes,
        split=split,
        detokenizer=PLAIN.name,
    )


def at_word_ends(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of 64 KiB or more that can be encoded one by one.

    GPT-2 splits text into words before it merges, and no word reaches from something visible into a space
    or a line's end: so ids are those of the whole, if pieces end where a word does.

    Raises:
        ValueError: 64 MiB pass without the end of a word.
    """
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= BLOCK_BYTES and (end := _last_word_end(held)):
            yield bytes(held[:end])
            del held[:end]
        if len(held) > LONGEST_WORD_BYTES:
            raise ValueError("a text without a space or line end in 64 MiB cannot be evaluated")
    if held:
        yield bytes(held)


def _last_word_end(text: bytearray) -> int:
    """Return where the last word ends that white space follows; 0 if none does."""
    end = len(text)
    while end := max(text.rfind(b" ", 1, end), text.rfind(b"\n", 1, end), 0):
        before = text[max(0, end - 4) : end].decode(errors="ignore")
        if before and not before[-1].isspace():
            return end
    return 0


def _lines(address: str, column: str, *, what: str) -> Callable[[], Iterator[str]]:
    """Return how to read the lines of a text, or the rows of a Parquet file that has them."""
    if is_parquet(address, what=what):
        return lambda: (row.rstrip("\r\n") for row in read_column(address, column, what=what))
    return partial(read_lines, address, what=what)


def _of_words(
    address: str, lines: Callable[[], Iterator[str]], detokenizer: Detokenizer, *, split: str
) -> Text:
    words = line_ends = characters = size_bytes = 0
    for line in lines():
        words, line_ends = words + len(line.split()), line_ends + 1
        characters, size_bytes = characters + len(line) + 1, size_bytes + len(line.encode()) + 1
    return Text(
        address=address,
        documents=lambda: iter([_running_text(lines(), detokenizer)]),
        words=words,
        line_ends=line_ends,
        characters=characters,
        size_bytes=size_bytes,
        split=split,
        detokenizer=detokenizer.name,
    )


def _running_text(lines: Iterator[str], detokenizer: Detokenizer) -> Document:
    for line in lines:
        text = line if detokenizer is PLAIN else detokenizer.detokenize([t for t in line.split(" ") if t])
        yield f"{text}\n".encode()


def _last_part(address: str, *, what: str) -> tuple[int, str]:
    """Return where the test split begins, and what to say of it."""
    opening_bytes(address, what=what)
    size = storage.size_bytes(address)
    if size == WHOLE_BYTES:
        return WHOLE_BYTES - TEST_BYTES, "the last 5,000,000 bytes"
    if size > TEST_BYTES:
        raise ValueError(f"{address} has {size:,} bytes: expected {what}")
    return 0, f"the file's {size:,} bytes"


def _of_bytes(address: str, start: int, *, split: str) -> Text:
    words = characters = size_bytes = 0
    for piece in at_word_ends(read_blocks(address, start=start)):
        words, size_bytes = words + len(piece.split()), size_bytes + len(piece)
        characters += len(piece.translate(None, CONTINUATIONS))
    return Text(
        address=address,
        documents=partial(_one_document, address, start=start),
        words=words,
        characters=characters,
        size_bytes=size_bytes,
        split=split,
        detokenizer=PLAIN.name,
    )


def _one_document(address: str, *, start: int = 0) -> Iterator[Document]:
    yield read_blocks(address, start=start)


def _row_documents(address: str, *, what: str) -> Iterator[Document]:
    for text in read_column(address, "text", what=what):
        if text:
            yield iter([text.encode()])
