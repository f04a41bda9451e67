"""Encode a corpus with a vocabulary, shuffle its documents, and write token shards.

python tokenizer/write_shards.py --corpus out/corpus --vocabulary out/vocabulary --output out/shards
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.corpus.layout import SPLITS
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.executor import run_stage
from pipeline.runner.stages import Partition, Source, Stage, StageOutput
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.documents import open_corpus
from tokenizer.publish import Finished, check_output, publish
from tokenizer.shards import formats, shuffle
from tokenizer.shards.folder import INDEX, VOCABULARY_FILE, Shard, ShardIndex, Split, VocabularyReference
from tokenizer.shards.formats import FormatName


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What to encode with what, in which order, for whom."""

    corpus: str
    """Folder with train/*.parquet and validation/*.parquet, as pipeline/build_webtext.py writes it."""
    vocabulary: str
    """Folder of a vocabulary, as tokenizer/train_bpe.py writes it; or a tokenizer.json such as GPT-2's."""
    output: str
    """Folder for the shards."""
    format: FormatName = "llm.c"
    """Whose files to write. nanogpt and megatron have one file a split, llm.c as many as there are shards."""
    shard_tokens: int = 100_000_000
    """Tokens in each shard of llm.c's; the last of a split has half to one and a half as many."""
    seed: int = 0
    """Another seed shuffles the documents into another order."""
    workers: int | None = None
    """How many tasks run at once. By default as many as the Ray cluster has cores."""


def main(options: ShardOptions) -> None:
    """Write the shards, and print what they hold.

    Raises:
        ValueError: the corpus or the vocabulary is missing or damaged, or there is no text to train on.
    """
    started = time.monotonic()
    _check(options)
    vocabulary = load_vocabulary(options.vocabulary)
    check_output(options.output)
    corpus = open_corpus(options.corpus)
    root = storage.join(options.output, ".stages")
    text = _keep(vocabulary, storage.join(storage.absolute(root), VOCABULARY_FILE))

    splits = dict[str, Split]()
    files = {VOCABULARY_FILE: Finished(text.address, len(vocabulary.tokenizer_json.encode()))}
    for split in SPLITS:
        buckets = shuffle.bucket_count(corpus.text_bytes[split])
        scatter = shuffle.ScatterOptions(seed=options.seed, buckets=buckets)
        encode = Stage(name=f"encode_{split}", work=shuffle.encode_file, options=scatter)
        documents = {name: [file, text] for name, file in corpus.files[split].items()}
        encoded = run_stage(encode, documents, root, workers=options.workers)
        cut = _cut(encoded, buckets, vocabulary, options)
        if split == "train" and not sum(cut.bucket_tokens):
            raise ValueError(f"no text in {storage.join(options.corpus, 'train')}: all its texts are empty")

        gather = Stage(name=f"gather_{split}", work=shuffle.gather_shard, options=cut)
        pieces = encoded.files(shuffle.PIECES_FILE)
        numbers = {f"{number:06d}": pieces for number in range(cut.shards)}
        gathered = run_stage(gather, numbers, root, workers=options.workers)
        splits[split] = _split(split, encoded, gathered, options.format)
        files |= _files(split, gathered.partitions, options.format)

    index = ShardIndex(
        format=options.format,
        token_type=formats.token_type(options.format, vocabulary.size),
        vocabulary=VocabularyReference(vocabulary.fingerprint, vocabulary.size, vocabulary.end_of_text),
        seed=options.seed,
        splits=splits,
    )
    changed = publish(files, options.output, index=INDEX, text=index.to_json())
    if changed:
        told = json.dumps(asdict(options), indent=2) + "\n"
        storage.write_text(storage.join(options.output, "options.json"), told)
    _print_summary(index, options.output, time.monotonic() - started if changed else None)


def _check(options: ShardOptions) -> None:
    """Refuse numbers that no shard and no shuffle can have."""
    most = formats.MOST_TOKENS // 2
    if not 1 <= options.shard_tokens <= most:
        raise ValueError(f"{options.shard_tokens:,} tokens a shard: 1 to {most:,} are possible")
    if not 0 <= options.seed < 2**64:
        raise ValueError(f"seed {options.seed}: 0 to 2**64 - 1 are possible")


def _keep(vocabulary: Vocabulary, address: str) -> Source:
    """Put the vocabulary where every task finds it, and in the one form that is read from there."""
    if not storage.exists(address) or storage.read_text(address) != vocabulary.tokenizer_json:
        storage.write_text(address, vocabulary.tokenizer_json)
    return Source(address, vocabulary.fingerprint)


def _cut(
    encoded: StageOutput, buckets: int, vocabulary: Vocabulary, options: ShardOptions
) -> shuffle.GatherOptions:
    """Decide how the tokens of a split, now that they are counted, are cut into shards."""
    counts = [0] * buckets
    for partition in encoded.partitions:
        counts = [had + more for had, more in zip(counts, partition.notes["bucket_tokens"], strict=True)]
    shard_tokens = options.shard_tokens if options.format == "llm.c" else max(1, sum(counts))
    return shuffle.GatherOptions(
        form=options.format,
        kind=formats.token_type(options.format, vocabulary.size),
        shard_tokens=shard_tokens,
        shards=shuffle.shard_count(sum(counts), shard_tokens),
        bucket_tokens=tuple(counts),
    )


def _split(name: str, encoded: StageOutput, gathered: StageOutput, form: FormatName) -> Split:
    """Add up what the stages noted of one split."""
    shards = [
        Shard(file=formats.file_name(form, name, number), **partition.notes)
        for number, partition in enumerate(gathered.partitions)
    ]
    documents = sum(shard.documents for shard in shards)
    assert documents == encoded.counts.kept, "documents lost between the stages"
    return Split(
        documents=documents,
        tokens=sum(shard.tokens for shard in shards),
        characters=sum(partition.notes["characters"] for partition in encoded.partitions),
        bytes=sum(partition.notes["bytes"] for partition in encoded.partitions),
        shards=shards,
    )


def _files(split: str, gathered: Sequence[Partition], form: FormatName) -> dict[str, Finished]:
    """Return where the files of a split are, by the names that they are to have."""
    files = dict[str, Finished]()
    for number, partition in enumerate(gathered):
        name = formats.file_name(form, split, number)
        files[name] = Finished.of(partition, shuffle.SHARD_FILE)
        index = formats.index_name(form, name)
        if index:
            files[index] = Finished.of(partition, shuffle.INDEX_FILE)
    return files


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
