"""The vocabulary: 256 bytes, the merges, and `<|endoftext|>`; read from any of its formats."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.runner import storage
from tokenizer.bpe import vocabulary_formats
from tokenizer.bpe.merges import Merge
from tokenizer.bpe.vocabulary_formats import END_OF_TEXT, Entries

INDEX: Final = "training.json"
SMALLEST_SIZE: Final = 257  # the bytes and the end of text
LAST: Final = -1


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE in GPT-2's numbering: bytes, then merges by rank, and somewhere `<|endoftext|>`.

    It is the last entry in GPT-2 and in what we learn, and mostly the first in what `tokenizers` trains.
    """

    merges: Sequence[Merge]
    end_of_text: int = LAST  # its id

    def __post_init__(self) -> None:
        if self.end_of_text == LAST:
            object.__setattr__(self, "end_of_text", self.size - 1)
        assert 0 <= self.end_of_text < self.size, "an id beyond the vocabulary"

    @property
    def size(self) -> int:
        """The number of ids, including `<|endoftext|>`."""
        return 256 + len(self.merges) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the `tokenizer.json` that we write, in hexadecimal; the same for every format."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @cached_property
    def tokenizer_json(self) -> str:
        """The text of `tokenizer.json`."""
        return vocabulary_formats.write_tokenizer_json(self.merges, self.end_of_text)

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """The bytes of each entry but `<|endoftext|>`, in the order of ids."""
        return vocabulary_formats.tokens_of(self.merges)

    @cached_property
    def entries(self) -> Sequence[bytes]:
        """The bytes of each id; those of `<|endoftext|>` are its name."""
        entries = list(self.tokens)
        entries.insert(self.end_of_text, END_OF_TEXT.encode())
        return entries

    @property
    def byte_lengths(self) -> NDArray[np.int64]:
        """How many bytes of text each id stands for; 0 for `<|endoftext|>`."""
        lengths = np.array([len(entry) for entry in self.entries], np.int64)
        lengths[self.end_of_text] = 0
        return lengths

    def files(self) -> dict[str, str]:
        """Return the text of every file of the vocabulary, by name."""
        return vocabulary_formats.write_formats(self.merges, self.end_of_text)


def check_size(size: int) -> None:
    """Reject a vocabulary size that is too small.

    Raises:
        ValueError: it is smaller than the bytes and the end of text.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(
            f"--vocab-size {size} is too small: 256 bytes and {END_OF_TEXT} make at least {SMALLEST_SIZE}"
        )


def load_vocabulary(address: str) -> Vocabulary:
    """Read a vocabulary in GPT-2's numbering from a file, or from a folder with one or more of its formats.

    A file is a `tokenizer.json` under any name, or tiktoken's ranks (`*.tiktoken`). A folder has a
    `tokenizer.json`, `vocab.json` and `merges.txt`, `encoder.json` and `vocab.bpe`, or
    `vocabulary.tiktoken`; if there are several, they must agree.

    Raises:
        ValueError: there is none, a file is missing or damaged, two formats differ, or it is not a
            byte-level BPE that encodes as GPT-2 does.
    """
    if not storage.exists(address):
        raise ValueError(f"no vocabulary at {address}: learn one with tokenizer/train_bpe.py")
    filesystem, path = storage.locate(address)
    if filesystem.isfile(path):
        reader = (
            vocabulary_formats.read_tiktoken
            if path.endswith(".tiktoken")
            else vocabulary_formats.read_tokenizer_json
        )
        return _read(reader, "", [address])
    names = {name.rsplit("/", 1)[-1] for name in storage.list_files(address)}
    present = [format_files for format_files in _FORMATS if names & set(format_files)]
    if not present:
        known = ", ".join(" with ".join(format_files) for format_files in _FORMATS)
        raise ValueError(f"no vocabulary in {address}: it has none of: {known}")
    for missing in (name for format_files in present for name in format_files if name not in names):
        raise ValueError(f"the vocabulary in {address} lacks {missing}")
    first = _read(_FORMATS[present[0]], address, present[0])
    ours = first.files()
    for format_files in present[1:]:
        is_ours = all(_holds(storage.join(address, name), ours[name]) for name in format_files)
        if not is_ours and _read(_FORMATS[format_files], address, format_files) != first:
            raise ValueError(
                f"the vocabulary in {address} is damaged: {format_files[0]} differs from {present[0][0]}"
            )
    return first


def holds_vocabulary(folder: str) -> bool:
    """Say whether a folder has all files of one of the formats."""
    names = {name.rsplit("/", 1)[-1] for name in storage.list_files(folder)}
    return any(names.issuperset(format_files) for format_files in _FORMATS)


_FORMATS: Final[dict[tuple[str, ...], Callable[..., Entries]]] = {
    ("tokenizer.json",): vocabulary_formats.read_tokenizer_json,
    ("vocab.json", "merges.txt"): vocabulary_formats.read_vocab_and_merges,
    ("encoder.json", "vocab.bpe"): vocabulary_formats.read_vocab_and_merges,
    ("vocabulary.tiktoken",): vocabulary_formats.read_tiktoken,
}


def _holds(address: str, text: str) -> bool:
    with storage.open_read(address) as file:
        return file.read() == text.encode()


def _read(reader: Callable[..., Entries], folder: str, names: Sequence[str]) -> Vocabulary:
    """Read one format of a vocabulary, and name its files if that fails."""
    addresses = [storage.join(folder, name) if folder else name for name in names]
    try:
        return Vocabulary(*reader(*map(storage.read_text, addresses)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{' or '.join(addresses)} is damaged: it is not UTF-8") from error
    except ValueError as error:
        raise ValueError(f"{' with '.join(addresses)} is not a GPT-2 vocabulary: {error}") from error
