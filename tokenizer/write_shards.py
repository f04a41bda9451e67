"""Encode a corpus with a vocabulary, shuffle its documents, and write llm.c token shards.

python tokenizer/write_shards.py --corpus out/corpus --vocabulary out/vocabulary --output out/shards
"""

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline import storage
from pipeline.command import run_command
from pipeline.corpus import SPLITS
from pipeline.stages import Partition, Source, Stage, run_stage
from tokenizer import shuffle
from tokenizer.documents import open_corpus
from tokenizer.publish import Finished, check_output, publish
from tokenizer.shards import (
    INDEX,
    LARGEST_VOCABULARY,
    MOST_TOKENS,
    Shard,
    ShardIndex,
    Split,
    VocabularyReference,
)
from tokenizer.vocabulary import Vocabulary, load_vocabulary

CHARACTERS_PER_TOKEN = 4  # about what GPT-2's vocabulary gives for English; it only sizes the shards
OURS = re.compile(r"(train|validation)_\d{6}\.bin")


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What to encode with what, and in which order."""

    corpus: str
    """Folder with train/*.parquet and validation/*.parquet, as pipeline/build_webtext.py writes it."""
    vocabulary: str
    """Folder of a vocabulary, as tokenizer/train_bpe.py writes it; or a tokenizer.json such as GPT-2's."""
    output: str
    """Folder for the shards."""
    shard_tokens: int = 100_000_000
    """About how many tokens go into a shard, reckoned at four characters a token."""
    seed: int = 0
    """Another seed shuffles the documents into another order."""
    workers: int | None = None
    """How many tasks run at once. By default as many as the Ray cluster has cores."""


def main(options: ShardOptions) -> None:
    """Write the shards, and print what they hold.

    Raises:
        ValueError: the corpus or the vocabulary is missing or damaged, or its ids do not fit 16 bits.
    """
    started = time.monotonic()
    vocabulary = _open_vocabulary(options)
    check_output(options.output)
    corpus = open_corpus(options.corpus)
    root = storage.join(options.output, ".stages")
    its_vocabulary = Source(storage.absolute(options.vocabulary), vocabulary.fingerprint)

    splits, files = dict[str, Split](), dict[str, Finished]()
    for split in SPLITS:
        shards = 1 + corpus.characters[split] // (CHARACTERS_PER_TOKEN * options.shard_tokens)
        documents = {name: [file, its_vocabulary] for name, file in corpus.files[split].items()}
        scatter = shuffle.ScatterOptions(seed=options.seed, shards=shards)
        encode = Stage(name=f"encode_{split}", work=shuffle.encode_file, options=scatter)
        encoded = run_stage(encode, documents, root, workers=options.workers)

        pieces = {f"{split}_{shard:06d}": encoded.files(shuffle.piece_file(shard)) for shard in range(shards)}
        filled = {name: sources for name, sources in pieces.items() if sources}
        gather = Stage(name=f"gather_{split}", work=shuffle.gather_shard)
        gathered = run_stage(gather, filled, root, workers=options.workers)

        splits[split] = _split(encoded.partitions, gathered.partitions)
        files |= {
            f"{shard.name}.bin": Finished.of(shard, shuffle.SHARD_FILE) for shard in gathered.partitions
        }

    index = ShardIndex(vocabulary=_reference(vocabulary), seed=options.seed, splits=splits)
    changed = publish(files, options.output, index=INDEX, text=index.to_json(), stale=OURS)
    if changed:
        told = json.dumps(asdict(options), indent=2) + "\n"
        storage.write_text(storage.join(options.output, "options.json"), told)
    _print_summary(index, options.output, time.monotonic() - started if changed else None)


def _open_vocabulary(options: ShardOptions) -> Vocabulary:
    """Load the vocabulary, and refuse what no shard can hold."""
    if not 1 <= options.shard_tokens <= MOST_TOKENS // 2:
        raise ValueError(f"{options.shard_tokens:,} tokens a shard: 1 to {MOST_TOKENS // 2:,} are possible")
    if not 0 <= options.seed < 2**64:
        raise ValueError(f"seed {options.seed}: 0 to 2**64 - 1 are possible")
    vocabulary = load_vocabulary(options.vocabulary)
    if vocabulary.size > LARGEST_VOCABULARY:
        raise ValueError(
            f"the vocabulary in {options.vocabulary} has {vocabulary.size:,} entries, but the ids in a shard "
            f"are 16 bits: learn one of {LARGEST_VOCABULARY:,} at most"
        )
    return vocabulary


def _split(encoded: Sequence[Partition], gathered: Sequence[Partition]) -> Split:
    """Add up what the stages noted of one split."""
    shards = [Shard(file=f"{partition.name}.bin", **partition.notes) for partition in gathered]
    tokens = sum(shard.tokens for shard in shards)
    assert tokens == sum(partition.notes["tokens"] for partition in encoded), "tokens lost between the stages"
    return Split(
        documents=sum(partition.counts.kept for partition in encoded),
        tokens=tokens,
        characters=sum(partition.notes["characters"] for partition in encoded),
        bytes=sum(partition.notes["bytes"] for partition in encoded),
        shards=shards,
    )


def _reference(vocabulary: Vocabulary) -> VocabularyReference:
    return VocabularyReference(vocabulary.fingerprint, vocabulary.size, vocabulary.end_of_text)


def _print_summary(index: ShardIndex, folder: str, seconds: float | None) -> None:
    """Tell what the shards hold, for a person to read."""
    print(f"{'':12}{'documents':>12}{'tokens':>16}{'characters/token':>18}{'bytes/token':>13}{'shards':>8}")
    for name, split in index.splits.items():
        text_tokens = max(1, split.tokens - split.documents)  # <|endoftext|> stands for no text
        print(
            f"{name:12}{split.documents:>12,}{split.tokens:>16,}{split.characters / text_tokens:>18.3f}"
            f"{split.bytes / text_tokens:>13.3f}{len(split.shards):>8,}"
        )
    if seconds is None:
        print(f"nothing to do: all this was in {folder} already")
    else:
        print(f"written to  {folder} in {seconds:.1f} s; {INDEX} says it all for machines")


if __name__ == "__main__":
    run_command(ShardOptions, main, "Encode a corpus and write it as shuffled token shards.")
