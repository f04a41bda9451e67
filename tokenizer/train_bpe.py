"""Learn a vocabulary from a corpus: count pre-tokens, learn merges from the counts, measure the result.

python tokenizer/train_bpe.py --corpus out/corpus --vocab-size 8192 --output out/vocabulary
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.executor import run_stage
from pipeline.runner.inputs import gathered
from pipeline.runner.lock import locked
from pipeline.runner.outputs import check_output
from pipeline.runner.stages import Counts, Partition, Stage
from pipeline.sources.options import TextOptions
from tokenizer.bpe import pretokens, vocabulary
from tokenizer.bpe.learning import LearnOptions, learn_vocabulary
from tokenizer.bpe.token_counts import measure_file
from tokenizer.documents import describe_left_out, open_corpus
from tokenizer.publish import RECORD, CommittedFile, publish

FILE_BYTES_PER_BUCKET = 2**30


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to learn from, and the size of the vocabulary."""

    corpus: str
    """A corpus as pipeline/build_webtext.py writes it; or any text: a file, folder or glob of Parquet, JSON
    Lines or plain text (.gz, .zst or not), or a data set that `datasets` saved to disk."""
    output: str
    """Folder for the vocabulary."""
    vocab_size: int = 50257
    """Number of entries: 256 bytes, the merges, and <|endoftext|>. GPT-2 has 50257."""
    word_counts_memory_gb: float = 4.0
    """Memory limit for the distinct words while merges are learned (4 GB: about five million words). Beyond
    that the rarest are left out; the command prints the cutoff."""
    workers: int | None = None
    """Number of tasks to run at once. Default: the number of cores of the Ray cluster."""
    text: TextOptions = field(default_factory=TextOptions)
    """Where the texts are."""


def main(options: TrainOptions) -> None:
    """Learn the vocabulary, write it, and print a summary.

    Raises:
        ValueError: the corpus is missing, damaged, or too small for that many entries; or the output is
            another command's.
    """
    vocabulary.check_size(options.vocab_size)
    if options.word_counts_memory_gb <= 0:
        raise ValueError(f"--word-counts-memory-gb {options.word_counts_memory_gb}: must be greater than 0")
    check_output(options.output, vocabulary.INDEX, RECORD, option="vocab_size")
    with locked(options.output):
        _learn(options)


def _learn(options: TrainOptions) -> None:
    """Run the stages, put the result in place, and print a summary."""
    started = time.monotonic()
    corpus = open_corpus(options.corpus, options.text, output=options.output, workers=options.workers)
    root, workers = storage.join(options.output, ".stages"), options.workers

    buckets = 1 + corpus.file_bytes // FILE_BYTES_PER_BUCKET
    count_options = pretokens.CountOptions(buckets=buckets, reading=corpus.reading["train"])
    count = Stage(name="count", work=pretokens.count_file, options=count_options)
    counted = run_stage(count, corpus.files["train"], root, workers=workers)
    if not counted.counts.kept:
        raise ValueError(f"no text in {options.corpus}: left out {describe_left_out(counted.counts)}")

    add_up = Stage(name="add_up", work=pretokens.add_up_bucket)
    scattered = gathered([counted], buckets, pretokens.bucket_file)
    words = run_stage(add_up, scattered, root, workers=workers)

    memory_bytes = int(options.word_counts_memory_gb * 1e9)
    learn_options = LearnOptions(vocab_size=options.vocab_size, memory_bytes=memory_bytes)
    learn = Stage(name="learn", work=learn_vocabulary, options=learn_options)
    learned = run_stage(learn, {"vocabulary": words.files(pretokens.COUNTED)}, root, workers=workers)

    _check_learned(learned.partitions[0], options)

    measure = Stage(name="measure", work=measure_file, options=corpus.reading["validation"])
    tokenizer_json = learned.files("tokenizer.json")
    validation = {name: [*files, *tokenizer_json] for name, files in corpus.files["validation"].items()}
    measured = run_stage(measure, validation, root, workers=workers)

    files = {name: CommittedFile.of(learned.partitions[0], name) for name in learned.partitions[0].files}
    report = _report(counted.partitions, learned.partitions[0], measured.partitions)
    text = json.dumps(report, indent=2) + "\n"
    changed = publish(files, options.output, index=vocabulary.INDEX, text=text)
    if changed:
        used = json.dumps(asdict(options), indent=2) + "\n"
        storage.write_text(storage.join(options.output, "options.json"), used)
    _print_summary(report, counted.counts, options.output, time.monotonic() - started if changed else None)


def _check_learned(learned: Partition, options: TrainOptions) -> None:
    """Reject a vocabulary that is smaller than requested."""
    size = learned.notes["size"]
    if size < options.vocab_size:
        cut = learned.notes["cut"]
        raise ValueError(
            f"the corpus is too small for {options.vocab_size:,} entries: at most {size:,}; "
            f"use --vocab-size {size} or less"
            + (
                f" (pre-tokens that occur fewer than {cut['at_least']} times were left out: or raise "
                "--word-counts-memory-gb)"
                if cut["words_cut"]
                else ""
            )
        )


def _report(
    counted: Sequence[Partition], learned: Partition, measured: Sequence[Partition]
) -> dict[str, Any]:
    """Return the content of `training.json`: the vocabulary, its corpus, and how well it compresses.

    It depends neither on where the corpus is, nor on how it is cut into files, nor on their order.
    """
    digest = sum(int(partition.notes["text_digest"], 16) for partition in counted) % 2**128
    cut = learned.notes["cut"]
    tokens, size_bytes = _sum(measured, "tokens"), _sum(measured, "bytes")
    return {
        "vocabulary": {"fingerprint": learned.notes["fingerprint"], "size": learned.notes["size"]},
        "corpus": {
            "fingerprint": f"{digest:032x}",
            "documents": sum(partition.counts.kept for partition in counted),
            "characters": _sum(counted, "characters"),
            "bytes": _sum(counted, "bytes"),
            "pretokens": cut["occurrences"],
            "distinct_pretokens": cut["words"],
        },
        "cut": {
            "pretokens_seen_less_than": cut["at_least"],
            "distinct_pretokens": cut["words_cut"],
            "share_of_distinct_pretokens": _share(cut["words_cut"], cut["words"]),
            "pretokens": cut["occurrences_cut"],
            "share_of_pretokens": _share(cut["occurrences_cut"], cut["occurrences"]),
        },
        "validation": {
            "documents": sum(partition.counts.kept for partition in measured),
            "bytes": size_bytes,
            "tokens": tokens,
            "bytes_per_token": round(size_bytes / tokens, 4) if tokens else None,
        },
        "versions": learned.notes["versions"],
    }


def _describe_cut(cut: Mapping[str, Any]) -> str:
    return (
        f"for lack of memory: pre-tokens that occur fewer than {cut['pretokens_seen_less_than']:,} times, "
        f"{cut['share_of_distinct_pretokens']:.1%} of the distinct ones and {cut['share_of_pretokens']:.2%} "
        "of all; raise --word-counts-memory-gb to keep them"
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _sum(partitions: Sequence[Partition], note: str) -> int:
    return sum(partition.notes[note] for partition in partitions)


def _print_summary(report: dict[str, Any], counts: Counts, folder: str, seconds: float | None) -> None:
    """Print what was learned, and from what."""
    corpus, validation = report["corpus"], report["validation"]
    size = report["vocabulary"]["size"]
    print(f"vocabulary  {size:,} entries: 256 bytes, {size - 257:,} merges, <|endoftext|>")
    print(
        f"learned on  {corpus['documents']:,} documents, {corpus['characters']:,} characters, "
        f"{corpus['bytes']:,} bytes, {corpus['distinct_pretokens']:,} distinct pre-tokens"
    )
    if counts.dropped:
        print(f"no document {describe_left_out(counts)}")
    if report["cut"]["distinct_pretokens"]:
        print(f"left out    {_describe_cut(report['cut'])}")
    if validation["tokens"]:
        print(
            f"validation  {validation['bytes_per_token']:.3f} bytes per token "
            f"({validation['bytes']:,} bytes, {validation['tokens']:,} tokens)"
        )
    else:
        print("validation  no validation documents")
    print(f"written to  {folder}" if seconds is not None else f"nothing to do: {folder} is up to date")
    if seconds is not None:
        print(f"took        {seconds:.1f} s")


if __name__ == "__main__":
    run_command(
        TrainOptions,
        main,
        "Learn a byte-level BPE vocabulary from a corpus.",
        renamed={"--learn-memory-gb": "--word-counts-memory-gb"},
    )
