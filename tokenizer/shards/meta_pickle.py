"""nanoGPT's `meta.pkl`, which says how large a vocabulary is and what its ids stand for: written, and read.

It is a pickle of a dictionary: `vocab_size`, from which `train.py` makes the embedding; `stoi`, the ids of
characters, and `itos`, the text of ids, with which `sample.py` encodes a prompt and decodes what follows.
Without the file both take GPT-2's vocabulary. It is read without running what is in it: only the opcodes that
such plain containers need are taken. A pickle that names a class, calls something, or asks for memory
that its size does not account for is refused before any of it is read.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, Final, NoReturn

from tokenizer.bpe.vocabulary import Vocabulary

META: Final = "meta.pkl"
# The fingerprint of GPT-2's vocabulary, which nanoGPT takes where there is no meta.pkl.
GPT2: Final = "e146322d5b332cd5dec90341a184f491370bdd4caef67e7d60891ce77f3a5284"
MOST_BYTES: Final = 16 * 2**20  # that of GPT-2's 50,257 entries would have 2 MB
# fmt: off
_PLAIN: Final = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "POP",
    "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
})
# fmt: on
_MEMO: Final = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])


def read_vocabulary_size(path: Path) -> int:
    """Return `vocab_size` of a `meta.pkl`.

    Raises:
        ValueError: it is damaged, too large, more than plain containers, or says no size.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes: a meta.pkl has at most {MOST_BYTES:,}")
    raw = path.read_bytes()
    try:
        _check_opcodes(raw)
        content = _Plain(io.BytesIO(raw)).load()
    # A damaged pickle makes the reader raise nearly anything.
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"{path} cannot be read safely: {error}: give --vocabulary-size instead") from error
    size = content.get("vocab_size") if isinstance(content, dict) else None
    if type(size) is not int or size < 1:
        raise ValueError(f"{path} has vocab_size {size!r}, which should be a positive integer")
    return size


def _check_opcodes(raw: bytes) -> None:
    for opcode, argument, position in pickletools.genops(raw):
        if opcode.name not in _PLAIN:
            raise ValueError(f"it holds more than plain values ({opcode.name} at byte {position:,})")
        if opcode.name in _MEMO and int(argument or 0) > len(
            raw
        ):  # the reader's table is as long as this says
            raise ValueError(f"it numbers a value {argument:,}, but has {len(raw):,} bytes")


def write_meta(vocabulary: Vocabulary) -> bytes:
    """Return the `meta.pkl` of a vocabulary of our own.

    `sample.py` encodes a prompt character by character, so each character that one entry stands for is in
    `stoi`, ASCII at least; others it cannot encode. Bytes that are only part of a character decode to U+FFFD.
    """
    texts = [entry.decode(errors="replace") for entry in vocabulary.entries]
    characters = {
        text: number
        for number, (text, entry) in enumerate(zip(texts, vocabulary.entries, strict=True))
        if len(text) == 1 and text.encode() == entry
    }
    meta = {"vocab_size": vocabulary.size, "stoi": characters, "itos": dict(enumerate(texts))}
    return pickle.dumps(meta, protocol=4)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ValueError("it refers to other data")
