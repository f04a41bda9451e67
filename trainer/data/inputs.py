"""The shards that a run reads: checked before the first step, and watched until the last."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.runner.storage import read_text
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.shards.folder import TOKENS_AT_ONCE, VOCABULARY_FILE, Shard, Shards, check_tokens, open_shards

FileStat = tuple[int, int]  # size in bytes, and time of the last change in ns
WATCHED_SHARE = 100  # of the time that a look at the files takes, until the next
MOST_CHECKED = 2**28  # tokens checked before the first step: half a gigabyte, a fraction of a second


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A folder of shards that has passed every check except reading all of it."""

    shards: Shards
    file_stats: Mapping[str, FileStat]  # of each file of tokens
    vocabulary: Vocabulary | None  # None: there is none beside the shards

    @property
    def byte_lengths(self) -> NDArray[np.int64] | None:
        """Bytes of text per token id; 0 for `<|endoftext|>`."""
        if self.vocabulary is None:
            return None
        return self.vocabulary.byte_lengths

    @property
    def vocabulary_text(self) -> str | None:
        """The vocabulary as a tokenizer.json, which is kept beside the run; None if it is not known."""
        if self.vocabulary is None:
            return None
        beside = self.shards.folder / VOCABULARY_FILE
        is_own = not self.shards.are_foreign and beside.is_file()
        return read_text(str(beside)) if is_own else self.vocabulary.tokenizer_json

    @property
    def are_remote(self) -> bool:
        """Whether they are on a store, and each file is checked when it is fetched."""
        return self.shards.cache is not None

    def check_since(self, before: Mapping[str, Sequence[int]]) -> None:
        """Check that the files are those that a run began with, given their sizes and times then.

        A file that differs is read in full: if its checksum is right, it was only copied.

        Raises:
            ValueError: one has changed.
        """
        if self.are_remote:  # by their checksums
            return
        for shard in _files(self.shards):
            if self.file_stats[shard.file] == tuple(before.get(shard.file, ())):
                continue
            try:
                self.shards.check(shard, whole=True)
            except ValueError as error:
                raise ValueError(f"the shards have changed since the run began: {error}") from error


class ShardWatcher:
    """Checks in a running program that the files of tokens are still those of its start.

    On a disk that many machines share, looking at a thousand files before every step is a load of its own:
    it takes at most a hundredth of the time.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._shards, self._is_needed = inputs.shards, not inputs.are_remote
        self._stats = dict(inputs.file_stats)
        self._next_s = 0.0

    def __call__(self) -> None:
        """Check the files, if it is time to.

        Raises:
            ValueError: one was removed, or its content has changed. One that was only touched, or copied
                back, is read through once.
        """
        started = time.monotonic()
        if not self._is_needed or started < self._next_s:
            return
        for shard in _files(self._shards):
            path = self._shards.folder / shard.file
            found = _file_stat(path)
            if found == self._stats[shard.file]:
                continue
            if not self._shards.has_its_checksum(shard):
                raise ValueError(f"{path} was changed or removed during the run")
            self._stats[shard.file] = found or (0, 0)
        ended = time.monotonic()
        self._next_s = ended + WATCHED_SHARE * (ended - started)


def open_inputs(
    address: str,
    *,
    vocabulary: str | None = None,
    vocabulary_size: int | None = None,
    scratch: str | None = None,
    cache_gb: float | None = None,
) -> Inputs:
    """Open a folder of shards and check it.

    On a store only what it lists is checked: tokens are when they are fetched and read.

    Args:
        vocabulary: its address. Default: what lies beside the shards.
        vocabulary_size: its entries, where nothing else is known of another tool's shards.
        scratch: folder on this machine for shards of a store.
        cache_gb: most that they may take there.

    Raises:
        ValueError: a shard is missing or truncated, a checked token is not in the vocabulary, or the
            tokenizer.json beside the shards is another vocabulary.
    """
    shards = open_shards(
        address,
        vocabulary=vocabulary,
        vocabulary_size=vocabulary_size,
        scratch=scratch,
        cache_gb=cache_gb,
    )
    known = _open_vocabulary(shards)
    shards.check_listed()
    if shards.cache is not None:
        return Inputs(shards=shards, file_stats={}, vocabulary=known)
    _check_ids(shards)
    file_stats = {shard.file: _file_stat(shards.folder / shard.file) or (0, 0) for shard in _files(shards)}
    return Inputs(shards=shards, file_stats=file_stats, vocabulary=known)


def _files(shards: Shards) -> Iterator[Shard]:
    for split in ("train", "validation"):
        if split in shards.index.splits:
            yield from shards.index.splits[split].shards


def _file_stat(path: Path) -> FileStat | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _open_vocabulary(shards: Shards) -> Vocabulary | None:
    path, expected = shards.vocabulary_address, shards.index.vocabulary
    if path is None:
        return None
    vocabulary = load_vocabulary(path)
    if (vocabulary.size, vocabulary.fingerprint) != (expected.size, expected.fingerprint):
        raise ValueError(
            f"{path} is not the vocabulary of the shards: {vocabulary.size:,} entries, fingerprint "
            f"{vocabulary.fingerprint[:16]}; shards.json says {expected.size:,} and "
            f"{expected.fingerprint[:16]}"
        )
    return vocabulary


def _check_ids(shards: Shards) -> None:
    """Check for tokens outside the vocabulary: all of small data, samples of large data."""
    for split in shards.index.splits.values():
        step = max(1, -(-split.tokens // MOST_CHECKED))
        for shard in split.shards:
            tokens = shards.open_shard(shard)
            for first in range(0, len(tokens), step * TOKENS_AT_ONCE):
                part = np.asarray(tokens[first : first + TOKENS_AT_ONCE])
                try:
                    check_tokens(part, shards.index.vocabulary.size)
                except ValueError as error:
                    raise ValueError(f"{shards.folder / shard.file}: {error}") from error
