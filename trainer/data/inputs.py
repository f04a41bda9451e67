"""The shards that a run reads: opened, checked before the first step, and watched until the last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.runner.storage import read_text
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.shards.folder import TOKENS_AT_ONCE, VOCABULARY_FILE, Shard, Shards, open_shards
from trainer.data.batches import check_tokens

Stamp = tuple[int, int]  # size in bytes, and when it was last written, in ns
MOST_CHECKED = 2**28  # tokens looked at before the first step: half a gigabyte, a fraction of a second


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A folder of shards that has passed every check that does not read all of it."""

    shards: Shards
    stamps: Mapping[str, Stamp]  # of each file of tokens
    vocabulary: Vocabulary | None  # None: there is no tokenizer.json beside the shards

    @property
    def byte_lengths(self) -> NDArray[np.int64] | None:
        """How many bytes each token stands for; `<|endoftext|>` for none."""
        if self.vocabulary is None:
            return None
        return np.array([*map(len, self.vocabulary.tokens), 0], np.int64)

    @property
    def vocabulary_text(self) -> str | None:
        """The tokenizer.json beside the shards."""
        return read_text(str(self.shards.folder / VOCABULARY_FILE)) if self.vocabulary else None

    def check_since(self, before: Mapping[str, Sequence[int]]) -> None:
        """Check that the files are those of a run that began with these stamps.

        A file with another stamp is read through: if its checksum is what the index says, it was only copied.

        Raises:
            ValueError: one has changed.
        """
        for shard in _files(self.shards):
            if self.stamps[shard.file] == tuple(before.get(shard.file, ())):
                continue
            try:
                self.shards.check(shard, whole=True)
            except ValueError as error:
                raise ValueError(f"the shards have changed since the run began: {error}") from error

    def check_unchanged(self) -> None:
        """Check that the files are those of the start of the program.

        Raises:
            ValueError: one is gone, or has been written to.
        """
        for file, stamp in self.stamps.items():
            if _stamp(self.shards.folder / file) != stamp:
                raise ValueError(f"{self.shards.folder / file} has been changed or removed during the run")


def open_inputs(address: str) -> Inputs:
    """Open a folder of shards and check it.

    Raises:
        ValueError: a shard is missing or cut; a token is none of the vocabulary, so far as was looked; the
            tokenizer.json beside the shards is another vocabulary.
    """
    shards = open_shards(address)
    vocabulary = _open_vocabulary(shards)
    for shard in _files(shards):
        shards.check(shard, whole=False)
    _check_ids(shards)
    stamps = {shard.file: _stamp(shards.folder / shard.file) or (0, 0) for shard in _files(shards)}
    return Inputs(shards=shards, stamps=stamps, vocabulary=vocabulary)


def _files(shards: Shards) -> Iterator[Shard]:
    for split in ("train", "validation"):
        if split in shards.index.splits:
            yield from shards.index.splits[split].shards


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _open_vocabulary(shards: Shards) -> Vocabulary | None:
    path, said = shards.folder / VOCABULARY_FILE, shards.index.vocabulary
    if not path.is_file():
        return None
    vocabulary = load_vocabulary(str(path))
    if (vocabulary.size, vocabulary.fingerprint) != (said.size, said.fingerprint):
        raise ValueError(
            f"{path} is another vocabulary than that of the shards: {vocabulary.size:,} entries, fingerprint "
            f"{vocabulary.fingerprint[:16]}; shards.json says {said.size:,} and {said.fingerprint[:16]}"
        )
    return vocabulary


def _check_ids(shards: Shards) -> None:
    """Look for tokens outside the vocabulary: everywhere in small data, here and there in large."""
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
