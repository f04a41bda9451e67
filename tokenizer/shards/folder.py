"""A folder of token shards: its files, and its tokens mapped into memory.

    shards.json       format, type of the ids, vocabulary, seed; tokens, documents and checksum of each file
    tokenizer.json    the vocabulary
    train_000000.bin  … or as the format names it (see `formats`)

The files of a split are one stream of tokens, cut wherever a shard is full: a document may begin in one
shard and end in the next. Without `shards.json` it is another tool's folder (see `foreign`). Files of a
folder on a store are fetched when they are opened (see `cache`).
"""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.runner import storage
from pipeline.runner.transfer import patiently
from tokenizer.bpe.vocabulary import Vocabulary, holds_vocabulary, load_vocabulary
from tokenizer.shards import foreign, formats
from tokenizer.shards.cache import ShardCache
from tokenizer.shards.formats import Tokens
from tokenizer.shards.index import (
    INDEX,
    VERSION,
    Shard,
    ShardIndex,
    Split,
    VocabularyReference,
    load_index,
)
from tokenizer.shards.stream import StreamedTokens, TokenStream

__all__ = [
    "INDEX",
    "VERSION",
    "Shard",
    "ShardIndex",
    "Split",
    "StreamedTokens",
    "TokenStream",
    "VocabularyReference",
    "load_index",
]

VOCABULARY_FILE: Final = "tokenizer.json"
TOKENS_AT_ONCE: Final = 2**24


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A folder of token shards on this machine, or on a store and in part on this machine."""

    folder: Path
    index: ShardIndex
    fingerprint: str  # SHA-256 of shards.json, which holds the SHA-256 of every file, or a sample of it
    vocabulary_address: str | None = None  # where the vocabulary is
    cache: ShardCache | None = None  # that fetches the files, if they are on a store

    @property
    def are_foreign(self) -> bool:
        """Whether another tool wrote them."""
        return self.index.seed is None

    def open(self, split: str) -> TokenStream:
        """Map the tokens of a split into memory; empty if there is no such split.

        Raises:
            ValueError: a shard is missing or truncated, or not the one in the index.
        """
        described = self.index.splits[split].shards if split in self.index.splits else ()
        if self.cache is not None:
            return StreamedTokens(self.cache, described, self.open_shard)
        return TokenStream([self.open_shard(shard) for shard in described])

    def at_hand(self, shard: Shard) -> AbstractContextManager[None]:
        """Have a shard's files in the folder inside; on a local disk they are."""
        return nullcontext() if self.cache is None else self.cache.at_hand(shard)

    def open_shard(self, shard: Shard) -> Tokens:
        """Map the tokens of one shard into memory; like `open`."""
        path = self.folder / shard.file
        with self.at_hand(shard):
            tokens = formats.open_tokens(path, self.index.format, self.index.token_type)
        if len(tokens) != shard.tokens:
            raise ValueError(f"{path} has {len(tokens):,} tokens, but {INDEX} says {shard.tokens:,}")
        return tokens

    def starts(self, shard: Shard) -> NDArray[np.int64]:
        """Find where documents begin in a shard: at `<|endoftext|>`, which no text can contain."""
        if self.index.vocabulary.end_of_text is None:
            raise ValueError(f"documents of {self.folder} cannot be told apart without its --vocabulary")
        return self._starts(self.open_shard(shard))

    def _starts(self, tokens: Tokens) -> NDArray[np.int64]:
        found = [np.empty(0, np.int64)]
        for first in range(0, len(tokens), TOKENS_AT_ONCE):
            part = tokens[first : first + TOKENS_AT_ONCE]
            found.append(first + np.flatnonzero(part == self.index.vocabulary.end_of_text))
        return np.concatenate(found)

    def document(self, split: str, number: int) -> tuple[int, int]:
        """Return a document's start and end in a split's stream, including its `<|endoftext|>`.

        Raises:
            ValueError: there is no such document, or its shard is damaged.
        """
        if split not in self.index.splits:
            raise ValueError(f"the shards have no {split} split")
        documents = self.index.splits[split].documents
        assert documents is not None, "documents were not counted"
        if not 0 <= number < documents:
            raise ValueError(f"no document {number} in {split}: it has {documents:,}, counting from 0")
        return self._start(split, number), self._start(split, number + 1)

    def _start(self, split: str, number: int) -> int:
        """Return where in a split's stream a document begins; the one after the last, at its end."""
        at = 0
        for shard in self.index.splits[split].shards:
            assert shard.documents is not None, "documents were not counted"
            if number < shard.documents:
                return at + int(self.starts(shard)[number])
            at, number = at + shard.tokens, number - shard.documents
        return at

    def check_listed(self) -> None:
        """Compare the sizes of all files with the index, of those on a store by its listing.

        Raises:
            ValueError: a shard is missing or truncated.
        """
        for split in self.index.splits.values():
            for shard in split.shards:
                if self.cache is None:
                    self.check(shard, whole=False)
                else:
                    size = formats.file_bytes(self.index.format, self.index.token_type, shard.tokens)
                    self.cache.check_size(shard, size)

    def check(self, shard: Shard, *, whole: bool) -> None:
        """Compare a shard with the index: its header and size; with `whole`, its content too.

        Raises:
            ValueError: the shard is damaged.
        """
        tokens = self.open_shard(shard)
        with self.at_hand(shard):
            self._check(shard, tokens, whole=whole)

    def _check(self, shard: Shard, tokens: Tokens, *, whole: bool) -> None:
        index_file = formats.index_name(self.index.format, shard.file)
        megatron = formats.read_megatron_index(self.folder / index_file) if index_file else None
        if not whole:
            return
        path = self.folder / shard.file
        if shard.sha256:
            starts = self._starts(tokens)
            if len(starts) != shard.documents:
                raise ValueError(
                    f"{path} has {len(starts):,} documents, but {INDEX} says {shard.documents:,}"
                )
            if megatron and megatron.lengths.tolist() != np.diff(starts, append=len(tokens)).tolist():
                raise ValueError(f"{self.folder / str(index_file)} does not match {shard.file}")
        for first in range(0, len(tokens), TOKENS_AT_ONCE):
            part = tokens[first : first + TOKENS_AT_ONCE]
            highest = part.max() if part.min() >= 0 else part.min()  # Megatron's ids have a sign
            if not 0 <= highest < self.index.vocabulary.size:
                raise ValueError(f"{path} holds token {highest}, which is not in its vocabulary")
        if not shard.sha256:
            return
        for name, checksum in ((shard.file, shard.sha256), (index_file, shard.idx_sha256)):
            if name and _sha256(self.folder / name) != checksum:
                raise ValueError(f"{self.folder / name} is damaged: its SHA-256 is not the one in {INDEX}")

    def has_its_checksum(self, shard: Shard) -> bool:
        """Say whether a shard's file is there and has the content that was written."""
        path = self.folder / shard.file
        if shard.sha256 is None:
            return foreign.has_its_samples(path, shard)
        return path.is_file() and _sha256(path) == shard.sha256

    def counted(self) -> "Shards":
        """Return the shards with the documents of every file counted, as far as `<|endoftext|>` is known."""
        if not self.are_foreign or self.index.vocabulary.end_of_text is None:
            return self
        splits = {name: self._counted(split) for name, split in self.index.splits.items()}
        return replace(self, index=replace(self.index, splits=splits))

    def _counted(self, split: Split) -> Split:
        shards = [replace(shard, documents=len(self.starts(shard))) for shard in split.shards]
        return replace(split, shards=shards, documents=sum(shard.documents or 0 for shard in shards))


def open_shards(
    address: str,
    *,
    vocabulary: str | None = None,
    vocabulary_size: int | None = None,
    any_vocabulary: bool = False,
    scratch: str | None = None,
    cache_gb: float | None = None,
) -> Shards:
    """Read the index of a folder of shards, or find out what another tool's are.

    Their files are checked when they are opened, or fetched.

    Args:
        vocabulary: address of the vocabulary. Default: what lies beside the shards.
        vocabulary_size: its entries, where nothing else is known of it.
        any_vocabulary: accept another tool's shards of which not even that is known.
        scratch: folder on this machine for shards of a store. Default: in the user's cache folder.
        cache_gb: most that shards may take there. Default: nine tenths of the disk's free space.

    Raises:
        ValueError: there are none, or their vocabulary is not known, or another one.
        OSError: the store cannot be reached.
    """
    if vocabulary and vocabulary_size is not None:
        raise ValueError("give only one of --vocabulary and --vocabulary-size")
    folder = storage.local_path(address)
    has_index = patiently(lambda: storage.exists(storage.join(address, INDEX)), what=address)
    if folder is None and not has_index:
        return _fetch_foreign(
            address,
            vocabulary,
            vocabulary_size,
            any_vocabulary=any_vocabulary,
            scratch=scratch,
            most_gb=cache_gb,
        )
    if folder is not None and not has_index and foreign.is_foreign(folder):
        return _open_foreign(folder, vocabulary, vocabulary_size, any_vocabulary=any_vocabulary)
    index = patiently(lambda: load_index(address), what=address)
    if vocabulary_size not in (None, index.vocabulary.size):
        raise ValueError(
            f"--vocabulary-size is {vocabulary_size}, but the shards in {address} have a vocabulary of "
            f"{index.vocabulary.size:,}"
        )
    text = patiently(lambda: storage.read_text(storage.join(address, INDEX)), what=address).encode()
    fingerprint = hashlib.sha256(text).hexdigest()
    cache = None
    if folder is None:
        cache = ShardCache(
            address, scratch=scratch, fingerprint=fingerprint, form=index.format, most_gb=cache_gb
        )
        folder = cache.folder
        cache.fetch_beside(VOCABULARY_FILE)
    beside = folder / VOCABULARY_FILE
    return Shards(
        folder=folder,
        index=index,
        fingerprint=fingerprint,
        vocabulary_address=vocabulary or (str(beside) if beside.is_file() else None),
        cache=cache,
    )


def _fetch_foreign(
    address: str,
    vocabulary: str | None,
    size: int | None,
    *,
    any_vocabulary: bool,
    scratch: str | None,
    most_gb: float | None,
) -> Shards:
    """Fetch all of another tool's shards: what they are is found out from the files."""
    names = patiently(lambda: sorted(storage.file_sizes(address)), what=address)
    names = [name for name in names if foreign.is_of_interest(name)]
    if not any(name.endswith(".bin") for name in names):
        raise ValueError(f"no finished shards at {address}: write them with tokenizer/write_shards.py")
    places = [storage.join(address, name) for name in names]
    contents = patiently(lambda: [storage.fingerprint(place) for place in places], what=address)
    fingerprint = hashlib.sha256("".join(contents).encode()).hexdigest()
    cache = ShardCache(address, scratch=scratch, fingerprint=fingerprint, form="llm.c", most_gb=most_gb)
    files = [Shard(file=name, tokens=0, documents=None, sha256=None) for name in names]
    cache.check_fits(cache.size_bytes(files), "give more with --cache-gb")
    cache.keep(files)
    cache.fetch_all(files, tell=True)
    shards = _open_foreign(cache.folder, vocabulary, size, any_vocabulary=any_vocabulary)
    cache.form = shards.index.format
    return replace(shards, cache=cache)


def _open_foreign(folder: Path, address: str | None, size: int | None, *, any_vocabulary: bool) -> Shards:
    if address is None and size is None:
        if holds_vocabulary(str(folder)):
            address = str(folder)
        elif any_vocabulary:
            size = 2**16  # as far as 16-bit ids go; others are as their files say
    vocabulary: Vocabulary | None = load_vocabulary(address) if address else None
    index = foreign.describe(folder, vocabulary, size)
    fingerprint = hashlib.sha256(index.to_json().encode()).hexdigest()
    return Shards(folder=folder, index=index, fingerprint=fingerprint, vocabulary_address=address)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_tokens(tokens: NDArray[np.integer], vocabulary: int) -> None:
    """Reject tokens outside the vocabulary.

    Raises:
        ValueError: there is one.
    """
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
        wrong = tokens.min() if tokens.min() < 0 else tokens.max()
        raise ValueError(f"the shards contain token {wrong}, but their vocabulary has {vocabulary} entries")
