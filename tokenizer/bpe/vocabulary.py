"""The vocabulary: 256 bytes, the learned merges, `<|endoftext|>`; read from whichever form there is."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from pipeline.runner import storage
from tokenizer.bpe import forms
from tokenizer.bpe.forms import END_OF_TEXT
from tokenizer.bpe.merges import Merge

INDEX: Final = "training.json"
SMALLEST_SIZE: Final = 257  # the bytes and the end of text


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE in GPT-2's numbering: bytes, then merges by rank, then `<|endoftext|>`."""

    merges: Sequence[Merge]

    @property
    def size(self) -> int:
        """How many ids there are, that of `<|endoftext|>` included."""
        return 256 + len(self.merges) + 1

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`: the last one."""
        return self.size - 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the `tokenizer.json` that we write, in hexadecimal: the same from whichever form."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @cached_property
    def tokenizer_json(self) -> str:
        """The text of `tokenizer.json`."""
        return forms.write_tokenizer_json(self.merges)

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """The bytes of each id but the last."""
        return forms.tokens_of(self.merges)

    def files(self) -> dict[str, str]:
        """Return the text of every file of the vocabulary, by name."""
        return forms.write_forms(self.merges)


def check_size(size: int) -> None:
    """Refuse a vocabulary size that cannot be.

    Raises:
        ValueError: it is less than the bytes and the end of text take.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(f"a vocabulary of {size}: 256 bytes and {END_OF_TEXT} make {SMALLEST_SIZE} at least")


def load_vocabulary(address: str) -> Vocabulary:
    """Read a vocabulary in GPT-2's numbering from a file, or from a folder with one or more of its forms.

    A file is a `tokenizer.json` of whatever name, or tiktoken's ranks (`*.tiktoken`). A folder has a
    `tokenizer.json`, `vocab.json` and `merges.txt`, `encoder.json` and `vocab.bpe`, or
    `vocabulary.tiktoken`; of several forms, all must say the same.

    Raises:
        ValueError: there is none, a file is missing or damaged, two forms differ, or it is no
            byte-level BPE that encodes as GPT-2's does.
    """
    if not storage.exists(address):
        raise ValueError(f"no vocabulary at {address}: learn one with tokenizer/train_bpe.py")
    filesystem, path = storage.locate(address)
    if filesystem.isfile(path):
        reader = forms.read_tiktoken if path.endswith(".tiktoken") else forms.read_tokenizer_json
        return _read(reader, "", [address])
    names = {name.rsplit("/", 1)[-1] for name in storage.list_files(address)}
    present = [form for form in _FORMS if names & set(form)]
    if not present:
        known = ", ".join(" with ".join(form) for form in _FORMS)
        raise ValueError(f"no vocabulary in {address}: it has none of {known}")
    for missing in (name for form in present for name in form if name not in names):
        raise ValueError(f"the vocabulary in {address} has no {missing}")
    first = _read(_FORMS[present[0]], address, present[0])
    ours = first.files()
    for form in present[1:]:
        is_ours = all(_holds(storage.join(address, name), ours[name]) for name in form)
        if not is_ours and _read(_FORMS[form], address, form) != first:
            raise ValueError(
                f"the vocabulary in {address} is damaged: {form[0]} says otherwise than {present[0][0]}"
            )
    return first


_FORMS: Final[dict[tuple[str, ...], Callable[..., list[Merge]]]] = {
    ("tokenizer.json",): forms.read_tokenizer_json,
    ("vocab.json", "merges.txt"): forms.read_vocab_and_merges,
    ("encoder.json", "vocab.bpe"): forms.read_vocab_and_merges,
    ("vocabulary.tiktoken",): forms.read_tiktoken,
}


def _holds(address: str, text: str) -> bool:
    with storage.open_read(address) as file:
        return file.read() == text.encode()


def _read(reader: Callable[..., list[Merge]], folder: str, names: Sequence[str]) -> Vocabulary:
    """Read one form of a vocabulary, and name its files where that fails."""
    addresses = [storage.join(folder, name) if folder else name for name in names]
    try:
        return Vocabulary(reader(*map(storage.read_text, addresses)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{' or '.join(addresses)} is damaged: it is not UTF-8") from error
    except ValueError as error:
        raise ValueError(f"{' with '.join(addresses)} is no vocabulary like GPT-2's: {error}") from error
