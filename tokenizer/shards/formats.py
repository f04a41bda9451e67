"""Files of token ids as three other projects read them.

| format | files of a split | what is in them |
|---|---|---|
| llm.c | `train_000000.bin`, … | 256 little-endian int32 (magic, version, tokens, zeros), then the ids |
| nanogpt | `train.bin`, `val.bin` | the ids only |
| megatron | `train.bin`, `train.idx` | the ids; their type, and where each document begins |

Ids are little-endian uint16 if the vocabulary allows, else uint32; Megatron does not support uint32 and has
int32. Each document is preceded by `<|endoftext|>`, in all three.

Sources: llm.c, dev/data/data_common.py; nanoGPT, train.py and data/openwebtext/prepare.py; Megatron-LM,
megatron/core/datasets/indexed_dataset.py.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tokenizer.shards.mapping import map_file

FormatName = Literal["llm.c", "nanogpt", "megatron"]
TypeName = Literal["uint16", "uint32", "int32"]
Tokens = NDArray[Any]  # of one of these types

MOST_TOKENS: Final = 2**31 - 1  # llm.c's header counts them in an int32
HEADER_BYTES: Final = 256 * 4
# Magic and version: those of GPT-2, and those of Llama 3.
_LLM_C: Final[dict[TypeName, tuple[int, int]]] = {"uint16": (20240520, 1), "uint32": (20240801, 7)}
_MEGATRON_MAGIC: Final = b"MMIDIDX\x00\x00"
_MEGATRON_TYPES: Final[dict[TypeName, int]] = {"uint16": 8, "int32": 4}
_MEGATRON_HEAD: Final = struct.Struct("<9sQBQQ")  # magic, version, type, sequences, documents + 1


def token_type(form: FormatName, vocabulary_size: int) -> TypeName:
    """Return the format's smallest type that holds the ids of a vocabulary."""
    if vocabulary_size <= 2**16:
        return "uint16"
    return "int32" if form == "megatron" else "uint32"


def dtype(name: TypeName) -> np.dtype[Any]:
    """Return the NumPy dtype of ids in a file."""
    return np.dtype(name).newbyteorder("<")


def file_bytes(form: FormatName, kind: TypeName, tokens: int) -> int:
    """Return how large a file of so many ids is."""
    return (HEADER_BYTES if form == "llm.c" else 0) + tokens * dtype(kind).itemsize


def file_name(form: FormatName, split: str, number: int) -> str:
    """Return the format's name for a file of ids. Only llm.c has more than one per split."""
    if form == "llm.c":
        return f"{split}_{number:06d}.bin"
    return "val.bin" if (form, split) == ("nanogpt", "validation") else f"{split}.bin"


def index_name(form: FormatName, file: str) -> str | None:
    """Return the name of Megatron's index beside a file of ids; None for the other formats."""
    return file.removesuffix(".bin") + ".idx" if form == "megatron" else None


def header(form: FormatName, tokens: int, kind: TypeName) -> bytes:
    """Return what comes before the ids."""
    if form != "llm.c":
        return b""
    assert tokens <= MOST_TOKENS, "more tokens than llm.c's header can count"
    words = np.zeros(256, dtype="<i4")
    words[:3] = *_LLM_C[kind], tokens
    return words.tobytes()


def open_tokens(path: Path, form: FormatName, kind: TypeName) -> Tokens:
    """Map the ids of a file into memory without reading them.

    Raises:
        ValueError: the file is missing, has another format or type, or another size than its
            header says.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    size, start = path.stat().st_size, 0
    if form == "llm.c":
        _check_header(path, size, kind)
        start = HEADER_BYTES
    tokens, rest = divmod(size - start, dtype(kind).itemsize)
    if rest:
        raise ValueError(f"{path} is damaged: {size:,} bytes are not a whole number of {kind} ids")
    if not tokens:  # which cannot be mapped
        return np.empty(0, dtype=dtype(kind))
    return np.frombuffer(map_file(path, size), dtype=dtype(kind), offset=start)


def llm_c_type(path: Path) -> TypeName | None:
    """Return the type of the ids in a file that begins as llm.c's shards do; None if it does not."""
    with path.open("rb") as file:
        magic = int.from_bytes(file.read(4), "little")
    return next((kind for kind, (own, _) in _LLM_C.items() if own == magic), None)


def _check_header(path: Path, size: int, kind: TypeName) -> None:
    magic, version = _LLM_C[kind]
    words = np.fromfile(path, dtype="<i4", count=256)
    if len(words) < 256 or words[0] != magic:
        raise ValueError(f"{path} is not a shard in llm.c's format with {kind} ids")
    if words[1] != version:
        raise ValueError(f"{path} has version {words[1]} of llm.c's shard format, not {version}")
    if size != HEADER_BYTES + dtype(kind).itemsize * int(words[2]):
        raise ValueError(f"{path} is damaged: {size:,} bytes, but its header says {words[2]:,} tokens")


@dataclass(frozen=True)
class MegatronIndex:
    """The content of an `.idx`: the documents of the `.bin` beside it."""

    kind: TypeName
    lengths: NDArray[np.int32]  # of each document, in tokens


def megatron_index(lengths: NDArray[np.int64], kind: TypeName) -> bytes:
    """Return an `.idx` for documents of these lengths: each is a document of a single sequence."""
    first_bytes = (np.cumsum(lengths) - lengths) * dtype(kind).itemsize
    head = _MEGATRON_HEAD.pack(_MEGATRON_MAGIC, 1, _MEGATRON_TYPES[kind], len(lengths), len(lengths) + 1)
    parts = (lengths.astype("<i4"), first_bytes.astype("<i8"), np.arange(len(lengths) + 1, dtype="<i8"))
    return head + b"".join(part.tobytes() for part in parts)


def read_megatron_index(path: Path) -> MegatronIndex:
    """Read an `.idx`.

    Raises:
        ValueError: it is missing, truncated or of another version, or its documents are not consecutive.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    raw = path.read_bytes()
    if len(raw) < _MEGATRON_HEAD.size:
        raise ValueError(f"{path} is damaged: {len(raw):,} bytes are not a Megatron index")
    magic, version, code, sequences, documents = _MEGATRON_HEAD.unpack_from(raw)
    kinds = [kind for kind in _MEGATRON_TYPES if _MEGATRON_TYPES[kind] == code]
    if (magic, version) != (_MEGATRON_MAGIC, 1) or not kinds:
        raise ValueError(f"{path} is not a Megatron index, version 1, of uint16 or int32 ids")
    if len(raw) != _MEGATRON_HEAD.size + 12 * sequences + 8 * documents:
        raise ValueError(
            f"{path} is damaged: {len(raw):,} bytes, but its header says {sequences:,} documents"
        )
    kind = kinds[0]
    lengths, first_bytes = (
        np.frombuffer(raw, number, sequences, offset)
        for number, offset in (("<i4", _MEGATRON_HEAD.size), ("<i8", _MEGATRON_HEAD.size + 4 * sequences))
    )
    ends = np.cumsum(lengths, dtype=np.int64) * dtype(kind).itemsize
    if not np.array_equal(first_bytes[1:], ends[:-1]):
        raise ValueError(f"{path} is damaged: its documents are not consecutive")
    return MegatronIndex(kind, lengths)
