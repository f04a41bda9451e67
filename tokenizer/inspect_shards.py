"""Show what a folder of token shards holds, print any part of its text, or check it for damage.

python tokenizer/inspect_shards.py --shards out/shards --verify
python tokenizer/inspect_shards.py --shards out/shards --split validation --start 12345 --tokens 200
python tokenizer/inspect_shards.py --shards out/shards --document 17
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.split import Split as SplitName
from pipeline.runner.command import run_command
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.shards.folder import INDEX, VOCABULARY_FILE, Shards, Split, open_shards

PERCENTILES = (0, 10, 50, 90, 99, 100)  # of the documents' lengths


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Which shards, and what to show."""

    shards: str
    """Folder of shards, as tokenizer/write_shards.py writes it, in any format; or llm.c's, nanoGPT's or
    Megatron's own. May be on a store (s3://…)."""
    scratch: str | None = None
    """Folder on this machine for shards from a store. Default: outbound in the user's cache folder."""
    verify: bool = False
    """Read every file in full: check checksums, documents, and that all ids are in the vocabulary."""
    vocabulary: str | None = None
    """Folder or file of the vocabulary that the shards must have. Default: the copy next to the shards."""
    vocabulary_size: int | None = None
    """Entries of the vocabulary, for another tool's shards of which only that is known."""
    split: SplitName = "train"
    """Split that --start and --document refer to."""
    start: int | None = None
    """Print the text from this token of the split onwards."""
    tokens: int = 200
    """Number of tokens to print from --start."""
    document: int | None = None
    """Print this document of the split, counting from 0."""


def main(options: InspectOptions) -> None:
    """Print what was requested.

    Raises:
        ValueError: there are no shards, something is damaged, or there is no such token or document.
    """
    shards = open_shards(
        options.shards,
        vocabulary=options.vocabulary,
        vocabulary_size=options.vocabulary_size,
        scratch=options.scratch,
    ).counted()
    if options.split not in shards.index.splits:
        raise ValueError(f"{options.shards} has no {options.split} split: give the other --split")
    if options.start is None and options.document is None:
        _summarise(shards, options)
    else:
        _show(decode(shards, _vocabulary(shards), options.split, *_window(shards, options)))


def decode(shards: Shards, vocabulary: Vocabulary, split: str, start: int, end: int) -> str:
    """Return the text of a part of a split; a character cut in half shows as U+FFFD.

    Raises:
        ValueError: a shard is damaged, or a token is not in the vocabulary.
    """
    ids = shards.open(split).read(start, end - start).tolist()
    if ids and max(ids) >= vocabulary.size:
        raise ValueError(f"token {max(ids)} is not in the vocabulary: check the shards with --verify")
    return b"".join(vocabulary.entries[number] for number in ids).decode(errors="replace")


def _window(shards: Shards, options: InspectOptions) -> tuple[int, int]:
    """Return the range of tokens to print."""
    if options.document is not None:
        if options.start is not None:
            raise ValueError("give only one of --start and --document")
        return shards.document(options.split, options.document)
    tokens, start = shards.index.splits[options.split].tokens, options.start or 0
    if not 0 <= start < tokens or options.tokens < 1:
        raise ValueError(
            f"cannot print {options.tokens} tokens from {start}: {options.split} has {tokens:,} tokens"
        )
    return start, min(tokens, start + options.tokens)


def _show(text: str) -> None:
    """Print text from the web; on a terminal, without control characters, which it would obey."""
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    sys.stdout.buffer.write((text + "\n").encode())


def _vocabulary(shards: Shards) -> Vocabulary:
    """Load the vocabulary, and check that it is the one that the shards were written with."""
    address = shards.vocabulary_address
    if address is None:
        if shards.are_foreign:
            raise ValueError("to show text, give the --vocabulary of the shards")
        address = str(shards.folder / VOCABULARY_FILE)
    vocabulary, theirs = load_vocabulary(address), shards.index.vocabulary
    if vocabulary.fingerprint != theirs.fingerprint:
        raise ValueError(
            f"{address} is not the vocabulary of these shards: its fingerprint is "
            f"{vocabulary.fingerprint[:16]}, theirs {theirs.fingerprint[:16]}"
        )
    return vocabulary


def _summarise(shards: Shards, options: InspectOptions) -> None:
    """Print what the shards hold, and check the files."""
    index = shards.index
    origin = "another tool's" if shards.are_foreign else f"shuffled with seed {index.seed}"
    print(f"format      {index.format}, {index.token_type} ids, {origin}")
    known = index.vocabulary.fingerprint[:16] or "of which only the size is known"
    print(f"vocabulary  {index.vocabulary.size:,} entries, {known}")
    damages = _damages(shards, options)
    for name, split in index.splits.items():
        files = f"{len(split.shards):,} files"
        documents = "" if split.documents is None else f"{split.documents:,} documents, "
        print(f"{name:<12}{documents}{split.tokens:,} tokens in {files}")
        if split.documents and not damages:
            print(f"{'':12}{_lengths(shards, split)}")
    for damage in damages:
        print(f"damaged     {damage}")
    if damages:
        raise ValueError(f"{options.shards} is damaged (see above): write the shards again")
    if shards.are_foreign:
        checked = (
            "all ids are in the vocabulary" if options.verify else "sizes match (--verify reads all ids)"
        )
    else:
        checked = (
            "all checksums are right" if options.verify else f"sizes match {INDEX} (--verify reads them all)"
        )
    print(f"files       {checked}")


def _damages(shards: Shards, options: InspectOptions) -> list[str]:
    """Return what is wrong, a line for each damaged file."""
    found = list[str]()
    for split in shards.index.splits.values():
        for shard in split.shards:
            try:
                shards.check(shard, whole=options.verify)
            except (ValueError, OSError) as error:
                found.append(str(error))
    try:
        if shards.vocabulary_address or not shards.are_foreign:
            _vocabulary(shards)
    except (ValueError, OSError) as error:
        found.append(str(error))
    return found


def _lengths(shards: Shards, split: Split) -> str:
    """Describe the distribution of document lengths, in tokens."""
    lengths = _document_lengths(shards, split)
    found = np.percentile(lengths, PERCENTILES, method="nearest").tolist()
    names = {0: "shortest", 50: "median", 100: "longest"}
    return f"tokens per document: mean {lengths.mean():,.1f}; " + ", ".join(
        f"{names.get(percent, f'{percent} %')} {length:,}"
        for percent, length in zip(PERCENTILES, found, strict=True)
    )


def _document_lengths(shards: Shards, split: Split) -> NDArray[np.int64]:
    """Return each document's tokens, without its `<|endoftext|>`."""
    starts: Sequence[NDArray[np.int64]] = [shards.starts(shard) for shard in split.shards]
    firsts = np.cumsum([0, *(shard.tokens for shard in split.shards)])
    placed = [first + found for first, found in zip(firsts, starts, strict=False)]
    return np.diff(np.concatenate(placed), append=split.tokens) - 1


if __name__ == "__main__":
    run_command(
        InspectOptions,
        main,
        "Show what a folder of token shards holds, print its text, or check it for damage.",
    )
