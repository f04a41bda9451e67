"""The index of a folder of token shards: what `shards.json` says."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as, parse_json
from tokenizer.shards import formats
from tokenizer.shards.formats import FormatName, TypeName

INDEX: Final = "shards.json"
VERSION: Final = 2  # of the index


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    file: str
    tokens: int
    documents: int | None  # that begin in it; None: another tool's, and not counted
    sha256: str | None  # None: another tool's
    idx_sha256: str | None = None  # of Megatron's index beside it
    sample: str | None = None  # of another tool's file: what tells it from another


@dataclass(frozen=True)
class Split:
    """All shards of one split of the corpus, and what they hold."""

    documents: int | None  # None: another tool's, and not counted
    tokens: int
    characters: int
    bytes: int  # of the texts in UTF-8
    shards: Sequence[Shard]


@dataclass(frozen=True)
class VocabularyReference:
    """The vocabulary of the tokens."""

    fingerprint: str  # empty where only the size is known
    size: int
    end_of_text: int | None  # None where it is not known, or there is none


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The content of `shards.json`."""

    format: FormatName
    token_type: TypeName
    vocabulary: VocabularyReference
    seed: int | None  # None: another tool's
    splits: Mapping[str, Split]

    def to_json(self) -> str:
        """Return the index as text; equal indexes give equal text."""
        return (
            json.dumps({"version": VERSION, **dataclasses.asdict(self, dict_factory=_without_none)}, indent=2)
            + "\n"
        )


def _without_none(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


def load_index(folder: str) -> ShardIndex:
    """Read `shards.json` of a folder of shards.

    Raises:
        ValueError: there is none, it is damaged, or it has another version.
    """
    address = storage.join(folder, INDEX)
    if not storage.exists(address):
        raise ValueError(f"no finished shards at {folder}: write them with tokenizer/write_shards.py")
    try:
        whole = parse_json(storage.read_text(address))
        version = whole.pop("version")
        if version != VERSION:
            raise ValueError(f"version {version!r}, not {VERSION}: write the shards again")
        return _checked(parse_as(ShardIndex, whole))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{address} is not an index of token shards: {error!r}") from error


def _checked(index: ShardIndex) -> ShardIndex:
    """Return the index if what it says goes together, and nothing that is ours to say is left open."""
    if index.seed is None or index.vocabulary.end_of_text is None:
        raise ValueError("it has no seed, or no end_of_text")
    if index.token_type != formats.token_type(index.format, index.vocabulary.size):
        raise ValueError(f"{index.token_type} ids of {index.vocabulary.size} entries in {index.format}")
    for name, split in index.splits.items():
        for shard in split.shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"{shard.file!r} is no file of this folder")
            if shard.documents is None or split.documents is None or shard.sha256 is None:
                raise ValueError(f"{shard.file} has no documents or no sha256")
            if not 0 <= shard.documents <= shard.tokens:  # each has its <|endoftext|>
                raise ValueError(f"{shard.file} has {shard.documents} documents of {shard.tokens} tokens")
        sums = (
            sum(shard.tokens for shard in split.shards),
            sum(shard.documents or 0 for shard in split.shards),
        )
        if sums != (split.tokens, split.documents):
            raise ValueError(f"the shards of {name} do not add up to its totals")
    return index
