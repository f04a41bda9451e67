"""Encoding against tiktoken and `tokenizers`, its memory over a long stream, and corpus to shards against it.

    python tests/benchmarks/bench_encode.py [--data ../shared/data] [--megabytes 300] [--gigabytes 1]

Wants a folder with `pages.warc.gz`, real web pages, and `gpt2_tokenizer.json`, GPT-2's vocabulary in the
form of `tokenizers`. The pages' text is taken out with trafilatura. Three measurements, each on one core:

    speed     ours (with a fresh memory each round), tiktoken's `encode_ordinary` and `tokenizers`, in CPU
              seconds, in turns, the median of the rounds' ratios; on the pages as they are, and on many
              times as much text of their lines with a word that never was at the end of each. All three
              must give the same ids. The aims: 8 times tiktoken, 40 times `tokenizers`.
    memory    the highest resident memory of a process that encodes such lines, with new words all along.
              The aim: less than 1 GB, over however much text.
    shards    what a worker does for `write_shards`, from Parquet to a finished shard, loading the vocabulary
              included, Ray excluded, against the bare encoder over the same texts in memory, in CPU
              seconds. The aim: at least half as fast.
"""

import argparse
import hashlib
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

# One core each; read when the libraries are imported.
os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runner.stages import Task, Work
from tokenizer.bpe import encoder as encoder_module
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.shards import shuffle

SEED = 1989
LINES_PER_DOCUMENT = (4, 60)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROUNDS = 3
EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Encode = Callable[[str], Iterable[int]]


def page_texts(archive: Path) -> list[str]:
    """Return the texts of real pages."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from trafilatura import extract

    with archive.open("rb") as file:
        records = ArchiveIterator(file, record_types=WarcRecordType.response)
        texts = [extract(record.reader.read(), fast=True) for record in records]
    return [text for text in texts if text]


def documents(lines: Sequence[str], size_bytes: int) -> Iterator[str]:
    """Yield documents of lines drawn at random, each line with a new word at its end."""
    chance = random.Random(SEED)
    made = 0
    while made < size_bytes:
        drawn = chance.choices(lines, k=chance.randint(*LINES_PER_DOCUMENT))
        text = "\n".join(f"{line} {''.join(chance.choices(LETTERS, k=8))}" for line in drawn)
        made += len(text.encode())
        yield text


def others(vocabulary: Path) -> dict[str, Encode]:
    """Return how the two other libraries encode ordinary text."""
    import tiktoken
    import tokenizers

    ours = load_vocabulary(str(vocabulary))
    ranks = {token: rank for rank, token in enumerate(ours.tokens)}
    openai = tiktoken.Encoding("gpt2", pat_str=EXPRESSION, mergeable_ranks=ranks, special_tokens={})
    rust = tokenizers.Tokenizer.from_file(str(vocabulary))
    rust.encode_special_tokens = True  # that is, as text
    return {"tiktoken": openai.encode_ordinary, "tokenizers": lambda text: rust.encode(text).ids}


def taken(texts: Sequence[str], size_bytes: float) -> list[str]:
    """Return the first texts, so many bytes or a little more."""
    found, size = list[str](), 0
    for text in texts:
        if size >= size_bytes:
            break
        found.append(text)
        size += len(text.encode())
    return found


def compare_speed(name: str, texts: Sequence[str], vocabulary: Path) -> None:
    """Print how many times faster ours is, and that the ids are the same."""
    loaded, rivals = load_vocabulary(str(vocabulary)), others(vocabulary)
    samples = {"tiktoken": taken(texts, 8e6), "tokenizers": taken(texts, 2e6)}
    speeds: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
    for _ in range(ROUNDS):
        speeds["ours"].append(speed(fresh(loaded), texts))
        for rival, encode in rivals.items():
            speeds[rival].append(speed(encode, samples[rival]))
    ours = fresh(loaded)
    for rival, encode in rivals.items():
        same = all(list(ours(text)) == list(encode(text)) for text in samples[rival])
        ratio = statistics.median(a / b for a, b in zip(speeds["ours"], speeds[rival], strict=True))
        megabytes = [statistics.median(speeds[encoder]) / 1e6 for encoder in ("ours", rival)]
        printed = "{:.0f} to {:.1f} MB/s, ".format(*megabytes) + ("the same ids" if same else "OTHER IDS")
        print(f"speed     {name:<12} {ratio:6.1f} times {rival:<11} ({printed})", flush=True)


def fresh(vocabulary: Vocabulary) -> Encode:
    """Return our encoder, with an empty memory."""
    encoder = Encoder(vocabulary)
    return lambda text: encoder.encode(text.encode())


def speed(encode: Encode, texts: Sequence[str]) -> float:
    """Return how many bytes of text are encoded in a CPU second."""
    started = time.process_time()
    for text in texts:
        encode(text)
    return size_of(texts) / (time.process_time() - started)


def size_of(texts: Sequence[str]) -> int:
    """Return how many bytes some texts are in UTF-8."""
    return sum(len(text.encode()) for text in texts)


def stream(lines: Sequence[str], size_bytes: int, vocabulary: Path) -> None:
    """Encode a long stream, and print the highest resident memory of this process."""
    encoder = Encoder(load_vocabulary(str(vocabulary)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = sum(len(encoder.encode(text.encode())) for text in documents(lines, size_bytes))
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"memory    {highest * 1024 / 1e6:,.0f} MB at most over {size_bytes / 1e9:g} GB of text, "
        f"{tokens:,} tokens ({before * 1024 / 1e6:,.0f} MB before)",
        flush=True,
    )


def compare_shards(texts: Sequence[str], vocabulary: Path) -> None:
    """Print how fast a corpus becomes a shard, against the bare encoder; every round begins with none."""
    loaded, raw = load_vocabulary(str(vocabulary)), [text.encode() for text in texts]
    ratios = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.parquet"
        write_corpus(corpus, texts)
        for _ in range(ROUNDS):
            encoder = Encoder(loaded)
            started = time.process_time()
            for text in raw:
                encoder.encode(text)
            bare = time.process_time() - started
            ratios.append(bare / to_shard(corpus, vocabulary, Path(folder)))
    printed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"shards    {statistics.median(ratios):.2f} of the bare encoder's speed ({printed})", flush=True)


def to_shard(corpus: Path, vocabulary: Path, folder: Path) -> float:
    """Return the CPU seconds that a worker needs for a corpus file, from Parquet to a shard."""
    encoder_module._encoder.cache_clear()  # a worker that has just begun
    started = time.process_time()
    buckets = shuffle.bucket_count(corpus.stat().st_size * 3)
    scatter = shuffle.ScatterOptions(seed=0, buckets=buckets)
    encoded = do(shuffle.encode_file, [corpus, vocabulary], scatter, folder / "encoded")
    counts = encoded.notes["bucket_tokens"]
    gather = shuffle.CollectOptions(
        form="llm.c", kind="uint16", shard_tokens=sum(counts), shards=1, bucket_tokens=tuple(counts)
    )
    do(shuffle.collect_shard, [encoded.folder / shuffle.PIECES_FILE], gather, folder / "gathered")
    return time.process_time() - started


def do(work: Work, inputs: Sequence[Path], options: object, folder: Path) -> Task:
    """Do a stage's work here, as a worker would."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    task = Task("000000", [str(path) for path in inputs], folder, options, lambda records: None, {}, "")
    work(task)
    return task


def write_corpus(path: Path, texts: Sequence[str]) -> None:
    """Write texts as a file of a corpus."""
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    pq.write_table(pa.table({"id": ids, "text": texts}), path, compression="zstd", row_group_size=10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2].parent / "shared" / "data")
    parser.add_argument("--megabytes", type=float, default=300, help="of text to time")
    parser.add_argument(
        "--gigabytes", type=float, default=1, help="of text for the memory; 10 is the full run"
    )
    # Of lines, for the process whose memory is measured.
    parser.add_argument("--only-stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    vocabulary, archive = options.data / "gpt2_tokenizer.json", options.data / "pages.warc.gz"
    for needed in (vocabulary, archive):
        if not needed.exists():
            sys.exit(f"{needed} is missing: give a folder that has it with --data")
    if options.only_stream:
        lines = options.only_stream.read_text(encoding="utf-8").split("\n")
        stream(lines, int(options.gigabytes * 1e9), vocabulary)
        return
    pages = page_texts(archive)
    lines = [line for page in pages for line in page.split("\n") if line]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join(lines))
        file.flush()
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only-stream", file.name], check=True)
    made = list(documents(lines, int(options.megabytes * 1e6)))
    sizes = [size_of(texts) / 1e6 for texts in (pages, made)]
    print(f"{len(pages)} pages, {sizes[0]:.1f} MB; {len(made)} documents made, {sizes[1]:.0f} MB", flush=True)
    compare_speed("pages", pages, vocabulary)
    compare_speed("new words", made, vocabulary)
    compare_shards(made, vocabulary)


if __name__ == "__main__":
    main()
