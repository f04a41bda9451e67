"""Look into a folder of token shards: what it holds, any part of its text, and whether it is whole.

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

from pipeline.corpus.layout import Split as SplitName
from pipeline.runner.command import run_command
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.shards.folder import INDEX, VOCABULARY_FILE, Shards, Split, open_shards

SHARES = (0, 10, 50, 90, 99, 100)  # of the documents are no longer than this


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Which shards, and what of them."""

    shards: str
    """Folder of shards, as tokenizer/write_shards.py writes it, in any of its formats."""
    verify: bool = False
    """Read every file whole: checksums, documents, and whether all ids are of the vocabulary."""
    vocabulary: str | None = None
    """Folder or file of the vocabulary that they must be of. By default the copy beside the shards."""
    split: SplitName = "train"
    """Which side of the corpus `start` and `document` are of."""
    start: int | None = None
    """Print the text from this token of the split on."""
    tokens: int = 200
    """How many tokens from `start` on."""
    document: int | None = None
    """Print this document of the split; the first is 0."""


def main(options: InspectOptions) -> None:
    """Print what was asked for.

    Raises:
        ValueError: there are no shards, something is damaged, or there is no such token or document.
    """
    shards = open_shards(options.shards)
    if options.start is None and options.document is None:
        _summarise(shards, options)
    else:
        _show(decode(shards, _vocabulary(shards, options), options.split, *_window(shards, options)))


def decode(shards: Shards, vocabulary: Vocabulary, split: str, start: int, end: int) -> str:
    """Return the text of a part of a split; what is left of a character that it cuts shows as U+FFFD.

    Raises:
        ValueError: a shard is damaged, or a token is not of the vocabulary.
    """
    ids = shards.open(split).read(start, end - start).tolist()
    if ids and max(ids) > vocabulary.end_of_text:
        raise ValueError(f"token {max(ids)} is beyond the vocabulary: check the shards with --verify")
    entries = [*vocabulary.tokens, b"<|endoftext|>"]
    return b"".join(entries[number] for number in ids).decode(errors="replace")


def _window(shards: Shards, options: InspectOptions) -> tuple[int, int]:
    """Return from which to which token of the split to print."""
    if options.document is not None:
        if options.start is not None:
            raise ValueError("give either --start or --document")
        return shards.document(options.split, options.document)
    tokens, start = shards.index.splits[options.split].tokens, options.start or 0
    if not 0 <= start < tokens or options.tokens < 1:
        raise ValueError(f"no {options.tokens} tokens from {start} on: {options.split} has {tokens:,} in all")
    return start, min(tokens, start + options.tokens)


def _show(text: str) -> None:
    """Print text out of the web: on a terminal, which would obey them, without its control characters."""
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    sys.stdout.buffer.write((text + "\n").encode())


def _vocabulary(shards: Shards, options: InspectOptions) -> Vocabulary:
    """Load the vocabulary, and check that it is the one that the shards were written with."""
    address = options.vocabulary or str(shards.folder / VOCABULARY_FILE)
    vocabulary, theirs = load_vocabulary(address), shards.index.vocabulary
    if vocabulary.fingerprint != theirs.fingerprint:
        raise ValueError(
            f"{address} is not the vocabulary of these shards: its fingerprint is "
            f"{vocabulary.fingerprint[:16]}, theirs {theirs.fingerprint[:16]}"
        )
    return vocabulary


def _summarise(shards: Shards, options: InspectOptions) -> None:
    """Print what the shards hold, and check them."""
    index = shards.index
    print(f"format      {index.format}, {index.token_type} ids, shuffled with seed {index.seed}")
    print(f"vocabulary  {index.vocabulary.size:,} entries, {index.vocabulary.fingerprint[:16]}")
    damages = _damages(shards, options)
    for name, split in index.splits.items():
        files = f"{len(split.shards):,} files"
        print(f"{name:<12}{split.documents:,} documents, {split.tokens:,} tokens in {files}")
        if split.documents and not damages:
            print(f"{'':12}{_lengths(shards, split)}")
    for damage in damages:
        print(f"damaged     {damage}")
    if damages:
        raise ValueError(f"{options.shards} is damaged, see above: write the shards again")
    looked = "read whole: they are what was written" if options.verify else f"of the sizes that {INDEX} says"
    print(f"files       {looked}")


def _damages(shards: Shards, options: InspectOptions) -> list[str]:
    """Say of each file that is not as it should be what is the matter with it."""
    found = list[str]()
    for split in shards.index.splits.values():
        for shard in split.shards:
            try:
                shards.check(shard, whole=options.verify)
            except (ValueError, OSError) as error:
                found.append(str(error))
    try:
        _vocabulary(shards, options)
    except (ValueError, OSError) as error:
        found.append(str(error))
    return found


def _lengths(shards: Shards, split: Split) -> str:
    """Tell how the documents' lengths are spread, in tokens of text."""
    lengths = _document_lengths(shards, split)
    told = zip(SHARES, np.percentile(lengths, SHARES, method="nearest").tolist(), strict=True)
    names = {0: "shortest", 50: "median", 100: "longest"}
    return f"tokens a document: mean {lengths.mean():,.1f}; " + ", ".join(
        f"{names.get(share, f'{share} %')} {length:,}" for share, length in told
    )


def _document_lengths(shards: Shards, split: Split) -> NDArray[np.int64]:
    """Return how many tokens each document has beside its `<|endoftext|>`."""
    starts: Sequence[NDArray[np.int64]] = [shards.starts(shard) for shard in split.shards]
    firsts = np.cumsum([0, *(shard.tokens for shard in split.shards)])
    placed = [first + found for first, found in zip(firsts, starts, strict=False)]
    return np.diff(np.concatenate(placed), append=split.tokens) - 1


if __name__ == "__main__":
    run_command(InspectOptions, main, "Look into a folder of token shards, and check it.")
