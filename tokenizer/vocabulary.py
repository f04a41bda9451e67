"""The vocabulary: 256 bytes, the learned merges, `<|endoftext|>`; in the files that others read.

`tokenizer.json` is for `tokenizers` and `transformers` (with `tokenizer_config.json`) and is the one
that counts: its SHA-256 is the vocabulary's fingerprint. `vocab.json` and `merges.txt` are OpenAI's
`encoder.json` and `vocab.bpe` under their later names, which tiktoken and GPT-2's own code read.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pipeline import storage
from tokenizer.merges import BYTE_TO_CHARACTER, Merge, from_printable, printable

INDEX: Final = "training.json"
END_OF_TEXT: Final = "<|endoftext|>"
SMALLEST_SIZE: Final = 257  # the bytes and the end of text
MERGES_HEADER: Final = "#version: 0.2"
# GPT-2 numbers the bytes that are printable first.
BYTE_ORDER: Final = sorted(range(256), key=lambda byte: (ord(BYTE_TO_CHARACTER[byte]) != byte, byte))
_BYTE_LEVEL: Final = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE in GPT-2's numbering: bytes, then merges by rank, then `<|endoftext|>`."""

    merges: Sequence[Merge]
    tokenizer_json: str
    """The text of `tokenizer.json`, as it is stored."""

    @staticmethod
    def of(merges: Sequence[Merge]) -> "Vocabulary":
        """Make a vocabulary of merges in order of rank."""
        return Vocabulary(merges, json.dumps(_tokenizer_json(merges), ensure_ascii=False, indent=2) + "\n")

    @property
    def size(self) -> int:
        """How many ids there are, that of `<|endoftext|>` included."""
        return 256 + len(self.merges) + 1

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`: the last one."""
        return self.size - 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `tokenizer.json`, in hexadecimal."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """The bytes of each id but the last."""
        return _tokens(self.merges)

    def files(self) -> dict[str, str]:
        """Return the text of every file of the vocabulary, by name."""
        config = {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": False,
        }
        return {
            "tokenizer.json": self.tokenizer_json,
            "vocab.json": json.dumps(_ids(self.merges), ensure_ascii=False) + "\n",
            "merges.txt": "\n".join([MERGES_HEADER, *_written(self.merges)]) + "\n",
            "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        }


def check_size(size: int) -> None:
    """Refuse a vocabulary size that cannot be.

    Raises:
        ValueError: it is less than the bytes and the end of text take.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(f"a vocabulary of {size}: 256 bytes and {END_OF_TEXT} make {SMALLEST_SIZE} at least")


def load_vocabulary(folder: str) -> Vocabulary:
    """Read a vocabulary and check that its files are whole and say the same.

    Raises:
        ValueError: a file is missing or damaged, two of them differ, or it is no byte-level BPE in
            GPT-2's numbering.
    """
    if not storage.exists(folder):
        raise ValueError(f"no vocabulary at {folder}: learn one with tokenizer/train_bpe.py")
    texts = {name: _read(folder, name) for name in ("tokenizer.json", "vocab.json", "merges.txt")}
    try:
        vocabulary = parse_vocabulary(texts["tokenizer.json"])
    except ValueError as error:
        raise ValueError(f"the vocabulary in {folder} is damaged: {error}") from error
    same = {
        "vocab.json": _parsed(texts["vocab.json"]) == _ids(vocabulary.merges),
        "merges.txt": texts["merges.txt"].splitlines()[1:] == _written(vocabulary.merges),
    }
    for name, is_same in same.items():
        if not is_same:
            raise ValueError(f"the vocabulary in {folder} is damaged: {name} differs from tokenizer.json")
    return vocabulary


def parse_vocabulary(tokenizer_json: str) -> Vocabulary:
    """Take the merges from the text of a `tokenizer.json`.

    Raises:
        ValueError: it is damaged, or something in it asks for another encoding than GPT-2's.
    """
    try:
        whole = json.loads(tokenizer_json)
        merges = [_merge(merge) for merge in whole["model"]["merges"]]
        _check(whole, merges)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"tokenizer.json is no byte-level BPE like GPT-2's: {error}") from error
    return Vocabulary(merges, tokenizer_json)


def _check(whole: Mapping[str, Any], merges: Sequence[Merge]) -> None:
    """Refuse whatever would make another library encode otherwise than these merges do."""
    if whole["model"].get("type", "BPE") != "BPE" or whole.get("normalizer") is not None:
        raise ValueError("another model, or text is normalised")
    if whole["pre_tokenizer"]["type"] != "ByteLevel" or whole["pre_tokenizer"]["add_prefix_space"]:
        raise ValueError("text is split in another way")
    if whole["model"]["vocab"] != _ids(merges):
        raise ValueError("entries are numbered otherwise than bytes, merges by rank, end of text")
    special = [(token["content"], token["id"]) for token in whole["added_tokens"]]
    if special != [(END_OF_TEXT, 256 + len(merges))]:
        raise ValueError(f"special tokens are {special}")


def _parsed(text: str) -> Any:
    """Return what a JSON text says, or None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _read(folder: str, name: str) -> str:
    try:
        return storage.read_text(storage.join(folder, name))
    except FileNotFoundError as error:
        raise ValueError(f"the vocabulary in {folder} has no {name}: learn it again") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the vocabulary in {folder} is damaged: {name} is not UTF-8") from error


def _merge(written: str | list[str]) -> Merge:
    """Read a merge in either of the two ways that `tokenizers` has written it."""
    left, right = written.split(" ") if isinstance(written, str) else written
    return from_printable(left), from_printable(right)


def _tokens(merges: Sequence[Merge]) -> list[bytes]:
    return [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in merges]


def _ids(merges: Sequence[Merge]) -> Mapping[str, int]:
    """Return the id of every entry by its printable form."""
    entries = [printable(token) for token in _tokens(merges)] + [END_OF_TEXT]
    ids = {entry: number for number, entry in enumerate(entries)}
    if len(ids) != len(entries):
        raise ValueError("two merges make the same token")
    return ids


def _written(merges: Sequence[Merge]) -> list[str]:
    return [f"{printable(left)} {printable(right)}" for left, right in merges]


def _tokenizer_json(merges: Sequence[Merge]) -> dict[str, Any]:
    """Return what `tokenizers` would save for this vocabulary, in the order in which it does."""
    end_of_text = {
        "id": 256 + len(merges),
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end_of_text],
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL,
        "post_processor": {**_BYTE_LEVEL, "trim_offsets": False},
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": _ids(merges),
            "merges": _written(merges),
        },
    }
