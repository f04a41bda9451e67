"""Encode a corpus with a vocabulary, shuffle its documents, and write token shards.

python tokenizer/write_shards.py --corpus out/corpus --vocabulary out/vocabulary --output out/shards
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.corpus.split import SPLITS
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.executor import run_stage
from pipeline.runner.lock import locked
from pipeline.runner.outputs import check_output
from pipeline.runner.stages import Counts, InputFile, Partition, Stage, StageOutput
from pipeline.sources.options import TextOptions
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.documents import describe_left_out, open_corpus
from tokenizer.publish import RECORD, CommittedFile, publish
from tokenizer.shards import formats, meta_pickle, shuffle
from tokenizer.shards.folder import INDEX, VOCABULARY_FILE, Shard, ShardIndex, Split, VocabularyReference
from tokenizer.shards.formats import FormatName


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What to encode, with which vocabulary, in which order and format."""

    corpus: str
    """A corpus as pipeline/build_webtext.py writes it; or any text: a file, folder or glob of Parquet, JSON
    Lines or plain text (.gz, .zst or not), or a data set that `datasets` saved to disk."""
    vocabulary: str
    """Folder of a vocabulary, as tokenizer/train_bpe.py writes it; or a tokenizer.json such as GPT-2's."""
    output: str
    """Folder for the shards."""
    format: FormatName = "llm.c"
    """Format of the shards. nanogpt and megatron have one file per split, llm.c one per shard."""
    shard_tokens: int = 100_000_000
    """Tokens per shard in llm.c's format; the last shard of a split has 0.5 to 1.5 times as many."""
    seed: int = 0
    """Seed of the shuffle."""
    workers: int | None = None
    """Number of tasks to run at once. Default: the number of cores of the Ray cluster."""
    text: TextOptions = field(default_factory=TextOptions)
    """Where the texts are."""


def main(options: ShardOptions) -> None:
    """Write the shards, and print a summary.

    Raises:
        ValueError: the corpus or the vocabulary is missing or damaged, there is no text to train on, or the
            output is another command's.
    """
    _check(options)
    check_output(options.output, INDEX, RECORD, option="shard_tokens")
    vocabulary = load_vocabulary(options.vocabulary)
    if options.format == "nanogpt" and vocabulary.size > 2**16:
        raise ValueError(
            "--format nanogpt: nanoGPT reads 16-bit ids, but the vocabulary has "
            f"{vocabulary.size:,} entries: use another format"
        )
    with locked(options.output):
        _write(options, vocabulary)


def _write(options: ShardOptions, vocabulary: Vocabulary) -> None:
    """Run the stages, put the shards in place, and print a summary."""
    started = time.monotonic()
    corpus = open_corpus(options.corpus, options.text, output=options.output, workers=options.workers)
    root = storage.join(options.output, ".stages")
    text = _keep(vocabulary, storage.join(storage.absolute(root), VOCABULARY_FILE))

    splits, counts = dict[str, Split](), list[Counts]()
    files = {VOCABULARY_FILE: CommittedFile(text.address, len(vocabulary.tokenizer_json.encode()))}
    if options.format == "nanogpt" and vocabulary.fingerprint != meta_pickle.GPT2:
        files[meta_pickle.META] = _keep_meta(vocabulary, storage.join(root, meta_pickle.META))
    for split in SPLITS:
        buckets = shuffle.bucket_count(corpus.text_bytes[split])
        scatter = shuffle.ScatterOptions(seed=options.seed, buckets=buckets, reading=corpus.reading[split])
        encode = Stage(name=f"encode_{split}", work=shuffle.encode_file, options=scatter)
        documents = {name: [*sources, text] for name, sources in corpus.files[split].items()}
        encoded = run_stage(encode, documents, root, workers=options.workers)
        cut = _cut(encoded, buckets, vocabulary, options)
        if split == "train" and not sum(cut.bucket_tokens):
            raise ValueError(
                f"no text in {options.corpus} to train on: left out {describe_left_out(encoded.counts)}"
            )
        counts.append(encoded.counts)

        # Stages are named on disk, so this one keeps its first name.
        collect = Stage(name=f"gather_{split}", work=shuffle.collect_shard, options=cut)
        pieces = encoded.files(shuffle.PIECES_FILE)
        numbers = {f"{number:06d}": pieces for number in range(cut.shards)}
        collected = run_stage(collect, numbers, root, workers=options.workers)
        splits[split] = _split(split, encoded, collected, options.format)
        files |= _files(split, collected.partitions, options.format)

    index = ShardIndex(
        format=options.format,
        token_type=formats.token_type(options.format, vocabulary.size),
        vocabulary=VocabularyReference(vocabulary.fingerprint, vocabulary.size, vocabulary.end_of_text),
        seed=options.seed,
        splits=splits,
    )
    changed = publish(files, options.output, index=INDEX, text=index.to_json())
    if changed:
        used = json.dumps(asdict(options), indent=2) + "\n"
        storage.write_text(storage.join(options.output, "options.json"), used)
    _print_summary(
        index, Counts.total(counts), options.output, time.monotonic() - started if changed else None
    )


def _check(options: ShardOptions) -> None:
    """Reject options out of range."""
    most = formats.MOST_TOKENS // 2
    if not 1 <= options.shard_tokens <= most:
        raise ValueError(f"--shard-tokens is {options.shard_tokens:,}: it must be from 1 to {most:,}")
    if not 0 <= options.seed < 2**64:
        raise ValueError(f"--seed is {options.seed}: it must be from 0 to 2**64 - 1")


def _keep(vocabulary: Vocabulary, address: str) -> InputFile:
    """Store the vocabulary where every task finds it, as a `tokenizer.json`."""
    if not storage.exists(address) or storage.read_text(address) != vocabulary.tokenizer_json:
        storage.write_text(address, vocabulary.tokenizer_json)
    return InputFile(address, vocabulary.fingerprint)


def _keep_meta(vocabulary: Vocabulary, address: str) -> CommittedFile:
    """Store nanoGPT's description of the vocabulary, to be published."""
    content = meta_pickle.write_meta(vocabulary)
    filesystem, path = storage.locate(address)
    if not filesystem.exists(path) or filesystem.cat_file(path) != content:
        filesystem.pipe_file(path, content)
    return CommittedFile(address, len(content))


def _cut(
    encoded: StageOutput, buckets: int, vocabulary: Vocabulary, options: ShardOptions
) -> shuffle.CollectOptions:
    """Decide how the tokens of a split, which are counted by now, are cut into shards."""
    counts = [0] * buckets
    for partition in encoded.partitions:
        counts = [had + more for had, more in zip(counts, partition.notes["bucket_tokens"], strict=True)]
    shard_tokens = options.shard_tokens if options.format == "llm.c" else max(1, sum(counts))
    return shuffle.CollectOptions(
        form=options.format,
        kind=formats.token_type(options.format, vocabulary.size),
        shard_tokens=shard_tokens,
        shards=shuffle.shard_count(sum(counts), shard_tokens),
        bucket_tokens=tuple(counts),
    )


def _split(name: str, encoded: StageOutput, collected: StageOutput, form: FormatName) -> Split:
    """Add up what the stages noted about one split."""
    shards = [
        Shard(file=formats.file_name(form, name, number), **partition.notes)
        for number, partition in enumerate(collected.partitions)
    ]
    documents = sum(partition.notes["documents"] for partition in collected.partitions)
    assert documents == encoded.counts.kept, "documents lost between the stages"
    return Split(
        documents=documents,
        tokens=sum(shard.tokens for shard in shards),
        characters=sum(partition.notes["characters"] for partition in encoded.partitions),
        bytes=sum(partition.notes["bytes"] for partition in encoded.partitions),
        shards=shards,
    )


def _files(split: str, collected: Sequence[Partition], form: FormatName) -> dict[str, CommittedFile]:
    """Return the files of a split by their published names."""
    files = dict[str, CommittedFile]()
    for number, partition in enumerate(collected):
        name = formats.file_name(form, split, number)
        files[name] = CommittedFile.of(partition, shuffle.SHARD_FILE)
        index = formats.index_name(form, name)
        if index:
            files[index] = CommittedFile.of(partition, shuffle.INDEX_FILE)
    return files


def _print_summary(index: ShardIndex, counts: Counts, folder: str, seconds: float | None) -> None:
    """Print what the shards hold."""
    print(f"{'':12}{'documents':>12}{'tokens':>16}{'characters/token':>18}{'bytes/token':>13}{'shards':>8}")
    for name, split in index.splits.items():
        text_tokens = max(1, split.tokens - (split.documents or 0))  # <|endoftext|> stands for no text
        print(
            f"{name:12}{split.documents:>12,}{split.tokens:>16,}{split.characters / text_tokens:>18.3f}"
            f"{split.bytes / text_tokens:>13.3f}{len(split.shards):>8,}"
        )
    if counts.dropped:
        print(f"no document {describe_left_out(counts)}")
    if seconds is None:
        print(f"nothing to do: {folder} is up to date")
    else:
        print(f"written to  {folder} in {seconds:.1f} s (index: {INDEX})")


if __name__ == "__main__":
    run_command(ShardOptions, main, "Encode a corpus and write it as shuffled token shards.")
