"""The file formats of a vocabulary, each written and read back.

| format | for |
|---|---|
| `tokenizer.json` | `tokenizers`, and `transformers` with `tokenizer_config.json` |
| `vocab.json`, `merges.txt` | `transformers`; OpenAI and picoGPT call them `encoder.json` and `vocab.bpe` |
| `vocabulary.tiktoken` | tiktoken: one token per line, its bytes in base64 and its rank |

A setting that would make another library encode differently from GPT-2 is refused. `<|endoftext|>` may have
any id, as in vocabularies that `tokenizers` has trained, which number special tokens first; where it is not
the last, all other entries have GPT-2's order around it.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.runner.json_text import parse_json
from tokenizer.bpe.merges import BYTE_TO_CHARACTER, Merge, from_printable, merges_of, printable

Entries = tuple[list[Merge], int]  # the merges, and the id of <|endoftext|>

END_OF_TEXT: Final = "<|endoftext|>"
MOST_TOKEN_BYTES: Final = 4096  # GPT-2's longest has 128; the time to read a vocabulary grows with the square
MERGES_HEADER: Final = "#version: 0.2"
# GPT-2 numbers the bytes that are printable first.
BYTE_ORDER: Final = sorted(range(256), key=lambda byte: (ord(BYTE_TO_CHARACTER[byte]) != byte, byte))
_BYTE_LEVEL: Final = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
# The settings of a BPE model in `tokenizers` that change ids, and the values that they must have.
_MODEL: Final = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}
# `transformers` knows <|endoftext|> by name, but treats it in a text as ordinary text.
_CONFIG: Final = {
    "tokenizer_class": "GPT2Tokenizer",
    "add_prefix_space": False,
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "clean_up_tokenization_spaces": False,
    "split_special_tokens": True,
}


def tokens_of(merges: Sequence[Merge]) -> list[bytes]:
    """Return the bytes of every entry but `<|endoftext|>`, in the order of ids."""
    return [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in merges]


def ids_of(merges: Sequence[Merge], end_of_text: int) -> dict[str, int]:
    """Return the id of every entry by its printable form, in the order of ids: bytes, then merges by rank."""
    entries = list(map(printable, tokens_of(merges)))
    entries.insert(end_of_text, END_OF_TEXT)
    return {entry: number for number, entry in enumerate(entries)}


def check_merges(merges: Sequence[Merge]) -> None:
    """Reject merges that no byte-level BPE trainer would learn.

    Raises:
        ValueError: a part is not an earlier entry, or two merges make the same token.
    """
    known = set(tokens_of([]))
    for rank, (left, right) in enumerate(merges):
        for part in (left, right):
            if part not in known:
                raise ValueError(f"merge {rank} joins {printable(part)!r}, which is not an earlier entry")
        if len(left + right) > MOST_TOKEN_BYTES:
            raise ValueError(f"merge {rank} makes a token of {len(left + right):,} bytes")
        if left + right in known:
            raise ValueError(f"merge {rank} makes {printable(left + right)!r}, which is already an entry")
        known.add(left + right)


def write_formats(merges: Sequence[Merge], end_of_text: int) -> dict[str, str]:
    """Return the text of every file of a vocabulary, by name."""
    # ASCII as in OpenAI's file, whose encoder.py reads it in whatever encoding the locale has.
    vocab_json = json.dumps(ids_of(merges, end_of_text))
    merges_txt = "\n".join([MERGES_HEADER, *_written(merges)]) + "\n"
    return {
        "tokenizer.json": write_tokenizer_json(merges, end_of_text),
        "tokenizer_config.json": json.dumps(_CONFIG, indent=2) + "\n",
        "vocab.json": vocab_json,
        "merges.txt": merges_txt,
        "encoder.json": vocab_json,
        "vocab.bpe": merges_txt,
        "vocabulary.tiktoken": write_tiktoken(merges, end_of_text),
    }


def write_model_config(context: int) -> str:
    """Return the `tokenizer_config.json` beside a model: it pads batches, and warns of texts too long for it.

    Padding takes <|endoftext|>, as is usual for GPT-2: the attention mask leaves it out, so its id is of no
    matter, and a token of its own would want a row of the embedding.
    """
    return json.dumps({**_CONFIG, "pad_token": END_OF_TEXT, "model_max_length": context}, indent=2) + "\n"


def write_tokenizer_json(merges: Sequence[Merge], end_of_text: int) -> str:
    """Write what `tokenizers` would save for these merges."""
    return json.dumps(tokenizer_of(merges, end_of_text), ensure_ascii=False, indent=2) + "\n"


def tokenizer_of(merges: Sequence[Merge], end_of_text: int) -> dict[str, Any]:
    """Return the content of `tokenizer.json`, in the order in which `tokenizers` would save it."""
    added = {
        "id": end_of_text,
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": ids_of(merges, end_of_text),
        "merges": _written(merges),
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added],
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL,
        "post_processor": {**_BYTE_LEVEL, "trim_offsets": False},
        "decoder": _BYTE_LEVEL,
        "model": model,
    }


def read_tokenizer_json(text: str) -> Entries:
    """Return the merges in a `tokenizer.json`, and the id of `<|endoftext|>`.

    Raises:
        ValueError: it is truncated or damaged, or a setting makes it encode differently from GPT-2.
    """
    whole = _json_object(text)
    model = whole.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise ValueError("not a file of the `tokenizers` library: it has no model with a vocabulary")
    kind = model.get("type", "BPE")
    if kind != "BPE" or not isinstance(model["vocab"], dict) or "merges" not in model:
        raise ValueError(f"its model is {kind}, not BPE" if kind != "BPE" else "its model has no merges")
    for name, right in _MODEL.items():
        if model.get(name) not in right:
            raise ValueError(f"its model has {name} {model[name]!r}")
    _check_text_handling(whole)
    try:
        merges = [_merge(merge) for merge in model["merges"]]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its merges cannot be read: {error}") from error
    special = [(token.get("content"), token.get("id")) for token in whole.get("added_tokens") or []]
    if [name for name, _ in special] != [END_OF_TEXT]:
        found = ", ".join(f"{name} {number}" for name, number in special) or "none"
        raise ValueError(f"its only special token should be {END_OF_TEXT}; it has {found}")
    # A token that was added after training is in no vocabulary but its own.
    vocab = {END_OF_TEXT: special[0][1], **model["vocab"]}
    if vocab[END_OF_TEXT] != special[0][1]:
        raise ValueError(f"{END_OF_TEXT} has the ids {vocab[END_OF_TEXT]} and {special[0][1]}")
    return merges, _check_numbering(vocab, merges)


def read_vocab_and_merges(vocab_json: str, merges_txt: str) -> Entries:
    """Return the merges in OpenAI's two files, whatever they are called, and the id of `<|endoftext|>`.

    Raises:
        ValueError: one is truncated or damaged, or the entries are not numbered as in GPT-2.
    """
    lines = merges_txt.splitlines()
    written = lines[1:] if lines and lines[0].startswith("#version") else lines
    merges = [_merge(line) for line in written if line]
    return merges, _check_numbering(_json_object(vocab_json), merges)


def write_tiktoken(merges: Sequence[Merge], end_of_text: int) -> str:
    """Write what `tiktoken.load.load_tiktoken_bpe` reads: tokens in base64 with their ranks: the ids."""
    coded = [base64.b64encode(token).decode() for token in tokens_of(merges)]
    return "".join(f"{token} {rank + (rank >= end_of_text)}\n" for rank, token in enumerate(coded))


def read_tiktoken(text: str) -> Entries:
    """Return the merges that tiktoken's ranks came from, and the id that they leave to `<|endoftext|>`.

    Raises:
        ValueError: it is truncated or damaged, or the tokens are not numbered as in GPT-2, bytes first.
    """
    lines = text.splitlines()
    end_of_text = len(lines)
    if lines and lines[-1].endswith(f" {len(lines)}"):  # a rank is left out
        end_of_text = next(rank for rank, line in enumerate(lines) if not line.endswith(f" {rank}"))
    tokens = [_ranked(line, number, number + (number >= end_of_text)) for number, line in enumerate(lines)]
    if tokens[:256] != tokens_of([]):
        raise ValueError("its first 256 tokens are not the bytes in GPT-2's order")
    merges = merges_of(tokens[256:])
    check_merges(merges)
    return merges, end_of_text


def _check_text_handling(whole: Mapping[str, Any]) -> None:
    """Reject a tokenizer that changes text before the merges, splits it differently, or adds tokens."""
    if whole.get("normalizer") is not None:
        raise ValueError(f"it normalises text ({_kind(whole['normalizer'])})")
    split = whole.get("pre_tokenizer") or {}
    if _kind(split) != "ByteLevel" or split.get("use_regex", True) is not True:
        raise ValueError(f"it does not split text by GPT-2's regular expression ({_kind(split)})")
    if split.get("add_prefix_space", True):
        raise ValueError("it puts a space before each text (add_prefix_space)")
    if _kind(whole.get("post_processor")) not in {"none", "ByteLevel"}:
        raise ValueError(f"it adds tokens to each text ({_kind(whole['post_processor'])})")


def _check_numbering(vocab: Mapping[str, Any], merges: Sequence[Merge]) -> int:
    """Return the id of `<|endoftext|>`; reject entries that are not numbered as in GPT-2, and say why."""
    check_merges(merges)
    end_of_text = vocab.get(END_OF_TEXT)
    if type(end_of_text) is not int or not 0 <= end_of_text <= 256 + len(merges):
        end_of_text = 256 + len(merges)
    expected = ids_of(merges, end_of_text)
    if vocab == expected:
        return end_of_text
    for byte, character in enumerate(BYTE_TO_CHARACTER):
        if character not in vocab:
            raise ValueError(f"byte 0x{byte:02X} ({character!r}) has no entry: it is not a byte-level BPE")
    if len(vocab) != len(expected):
        raise ValueError(f"{len(vocab):,} entries, but 256 bytes, {len(merges):,} merges and {END_OF_TEXT}")
    seen = dict[Any, str]()
    for entry, number in vocab.items():
        if number in seen:
            raise ValueError(f"{seen[number]!r} and {entry!r} have the same id, {number}")
        seen[number] = entry
    entry = next(entry for entry in vocab if vocab[entry] != expected.get(entry))
    raise ValueError(
        f"{entry!r} has id {vocab[entry]}, not {expected.get(entry)}: entries are not numbered as in GPT-2: "
        f"bytes, then merges by rank, with {END_OF_TEXT} anywhere"
    )


def _kind(part: Mapping[str, Any] | None) -> str:
    """Name a part of a `tokenizer.json` by its type."""
    return str(part.get("type")) if part else "none"


def _json_object(text: str) -> dict[str, Any]:
    try:
        whole = parse_json(text)
    except ValueError as error:
        raise ValueError(f"not JSON, or truncated: {error}") from error
    if not isinstance(whole, dict):
        raise ValueError("not a JSON object")
    return whole


def _merge(written: str | list[str]) -> Merge:
    """Read a merge in either of the two ways that `tokenizers` has written it."""
    parts = written.split(" ") if isinstance(written, str) else written
    if len(parts) != 2:
        raise ValueError(f"{written!r} is not a merge of two entries")
    return from_printable(parts[0]), from_printable(parts[1])


def _written(merges: Sequence[Merge]) -> list[str]:
    return [f"{printable(left)} {printable(right)}" for left, right in merges]


def _ranked(line: str, place: int, rank: int) -> bytes:
    """Read one line of tiktoken's file, the one at this place, which must have this rank."""
    coded, _, number = line.partition(" ")
    try:
        token = base64.b64decode(coded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"line {place + 1} is not base64: {error}") from error
    if number != str(rank) or not token:
        raise ValueError(f"line {place + 1} is {line!r}, not a token with rank {rank}")
    return token
