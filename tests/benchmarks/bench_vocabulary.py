"""Learning a vocabulary, counting included, against `tokenizers` on the same cores: time, memory, and result.

    python tests/benchmarks/bench_vocabulary.py [--megabytes 200] [--vocab-size 50257] [--cuts 1 2 5]

Text is made from the sources and documentation of the installed packages: lines in random order, and in six
of ten a word drawn from an endless Zipf distribution, so that distinct words grow as on the web. Both
learn from the same Parquet files, in processes of their own, on two cores:

    tokenizers  BpeTrainer over the same documents, with two threads
    ours        python tokenizer/train_bpe.py --workers 2; Ray's start and the measuring are included
    lean        the same with --word-counts-memory-gb 0.3, so that the rarest words are left out

Memory is the peak of all processes of each together (PSS, so that shared pages count once). Then both
vocabularies encode held-out text, their merges are compared place by place, and ours is learned again without
the words that occur less than so many times: what that costs in bytes per token, and saves in memory
(of the learning alone; Ray's own processes take about half a gigabyte whatever the text).
"""

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.merges import Merge, from_printable, learn_merges
from tokenizer.bpe.rare_words import find_cut
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.bpe.word_counts import CountedWords

ROOT = Path(__file__).parents[2]
SEED = 20_190_214
FILES = 8
SOURCE_BYTES = 150_000_000
SUFFIXES = {".py", ".pyi", ".md", ".rst", ".txt", ".html"}
ONSETS = tuple("bcdfghjklmnpqrstvwz")
RHYMES = ("a", "al", "an", "ar", "e", "ea", "en", "er", "i", "in", "o", "on", "oo", "or", "ou", "u")
CORES = 2


def main() -> None:
    options = parsed()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # what is started inherits it
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_corpus(folder / "corpus", options.megabytes)
        parquet_bytes = sum(path.stat().st_size for path in (folder / "corpus").rglob("*.parquet"))
        print(f"{options.megabytes} MB of text in {FILES} files, {parquet_bytes / 1e6:.0f} MB as Parquet")
        theirs = run(
            [sys.executable, __file__, "--tokenizers", str(folder), "--vocab-size", str(options.vocab_size)]
        )
        print(f"{'tokenizers':12}{theirs}")
        for name, memory_gb in {"ours": 4.0, "lean": options.lean_gb}.items():
            ours = run(train_command(folder, name, options.vocab_size, memory_gb))
            print(
                f"{name:12}{ours}: {theirs.seconds / ours.seconds:.2f} times as fast, "
                f"{theirs.cpu_seconds / ours.cpu_seconds:.2f} by CPU time, "
                f"{ours.peak_bytes / theirs.peak_bytes:.2f} of the memory"
            )
            compare(folder, name)
        for least in options.cuts:
            print_cut(folder, options.vocab_size, least)


def train_command(folder: Path, name: str, vocab_size: int, memory_gb: float) -> list[str]:
    corpus, output = str(folder / "corpus"), str(folder / name)
    command = [sys.executable, "tokenizer/train_bpe.py", "--corpus", corpus, "--output", output]
    command += ["--workers", str(CORES), "--vocab-size", str(vocab_size)]
    return [*command, "--word-counts-memory-gb", str(memory_gb)]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--cuts", type=int, nargs="*", default=[1, 2, 5])
    parser.add_argument("--lean-gb", type=float, default=0.3)
    parser.add_argument("--tokenizers", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tokenizers:
        learn_with_tokenizers(options.tokenizers, options.vocab_size)
        sys.exit()
    return options


# ---- text


def make_corpus(folder: Path, megabytes: int) -> None:
    """Write the corpus: train files, and two megabytes to measure on."""
    for split in ("train", "validation"):
        (folder / split).mkdir(parents=True)
    sizes = {f"train/part-{part:05d}": megabytes * 10**6 // FILES for part in range(FILES)}
    jobs = [
        (folder / f"{name}.parquet", size) for name, size in {**sizes, "validation/part": 2 * 10**6}.items()
    ]
    with multiprocessing.Pool(CORES, initializer=load_lines) as pool:
        pool.starmap(write_part, jobs, chunksize=1)


def load_lines() -> None:
    """Read the pool of lines, once in each process."""
    LINES.extend(source_lines())


LINES: list[str] = []


def source_lines() -> list[str]:
    """Lines of the text that is installed with Python and its packages."""
    places = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    paths = sorted({path for place in places for path in place.rglob("*") if path.suffix in SUFFIXES})
    random.Random(SEED).shuffle(paths)
    lines, size = set[str](), 0
    for path in paths:
        if size > SOURCE_BYTES:
            break
        text = path.read_bytes().decode("utf-8", "ignore") if path.is_file() else ""
        size += len(text)
        lines.update(line for line in text.split("\n") if len(line) < 500)
    return sorted(lines)


def write_part(path: Path, size: int) -> None:
    """Write one Parquet file of documents of 20 to 80 lines."""
    chance = random.Random(f"{SEED} {path.stem}")
    texts, written = list[str](), 0
    while written < size:
        texts.append("\n".join(make_line(chance) for _ in range(chance.randint(20, 80))))
        written += len(texts[-1])
    ids = [f"{path.stem}-{number}" for number in range(len(texts))]
    table = pa.table({"id": ids, "text": texts, "characters": [len(text) for text in texts]})
    pq.write_table(table, path, compression="zstd")


def make_line(chance: random.Random) -> str:
    line = chance.choice(LINES)
    if chance.random() < 0.6:
        at = chance.randrange(len(line) + 1)
        line = f"{line[:at]} {rare_word(chance)} {line[at:]}"
    return line


def rare_word(chance: random.Random) -> str:
    """A word of a made-up language, with the frequency that Zipf's law gives its rank."""
    rank = int(chance.random() ** -1.1)
    word = ""
    while rank:
        rank, syllable = divmod(rank, len(ONSETS) * len(RHYMES))
        word += ONSETS[syllable % len(ONSETS)] + RHYMES[syllable // len(ONSETS)]
    return word


def documents(folder: Path, split: str) -> Iterator[list[str]]:
    """The texts of a split, some at a time."""
    for path in sorted((folder / "corpus" / split).glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["text"]):
            yield batch["text"].to_pylist()


# ---- both trainers


def learn_with_tokenizers(folder: Path, vocab_size: int) -> None:
    """What the other process does."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned = tokenizers.Tokenizer(models.BPE())
    learned.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    learned.train_from_iterator(documents(folder, "train"), trainer)
    learned.save(str(folder / "theirs.json"))


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:7.1f} s, {self.cpu_seconds:7.1f} CPU s, {self.peak_bytes / 1e6:7,.0f} MB at most"
        )


def run(command: Sequence[str]) -> Cost:
    """Run a command on the cores of this benchmark, and watch the memory of all its processes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": str(CORES)}
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watcher = Watcher(process.pid)
    watcher.start()
    status = process.wait()
    seconds = time.monotonic() - started
    watcher.done.set()
    watcher.join()
    if status:
        sys.exit(f"{' '.join(command)} failed with status {status}")
    return Cost(seconds, sum(watcher.cpu_seconds.values()), watcher.peak_bytes)


class Watcher(threading.Thread):
    """Keeps the peak of the memory of a process and all that it started, and what CPU time each took."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.done = threading.Event()
        self.peak_bytes = 0
        self.cpu_seconds = dict[int, float]()
        self._process = psutil.Process(pid)

    def run(self) -> None:
        while not self.done.wait(0.25):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.peak_bytes = max(self.peak_bytes, sum(map(self._look_at, family)))

    def _look_at(self, process: psutil.Process) -> int:
        try:
            times = process.cpu_times()
            self.cpu_seconds[process.pid] = times.user + times.system
            return int(process.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return 0


# ---- results


def compare(folder: Path, name: str) -> None:
    """Print what both vocabularies are worth on held-out text, and where they differ."""
    ours = load_vocabulary(str(folder / name)).merges
    cut = json.loads((folder / name / "training.json").read_text())["cut"]
    written = json.loads((folder / "theirs.json").read_text())["model"]["merges"]
    theirs = [(from_printable(left), from_printable(right)) for left, right in written]
    worth, other_worth = bytes_per_token(folder, ours), bytes_per_token(folder, theirs)
    print(
        f"    {worth:.4f} bytes per token on held-out text, tokenizers {other_worth:.4f}: "
        f"{worth / other_worth - 1:+.3%}"
    )
    if cut["distinct_pretokens"]:
        print(f"    without words seen less than {cut['pretokens_seen_less_than']} times")
    same = sum(one == other for one, other in zip(ours, theirs, strict=False))
    both = len({a + b for a, b in ours} & {a + b for a, b in theirs})
    first = next(
        (i for i, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), len(ours)
    )
    print(
        f"    merges: {same:,} of {len(ours):,} in the same place, the first {first:,} all; "
        f"{both:,} tokens in both"
    )


def bytes_per_token(folder: Path, merges: Sequence[Merge]) -> float:
    encoder = Encoder(Vocabulary(merges))
    texts = [text.encode() for batch in documents(folder, "validation") for text in batch]
    return sum(map(len, texts)) / sum(len(encoder.encode(text)) for text in texts)


def print_cut(folder: Path, vocab_size: int, least: int) -> None:
    """Print what leaving out words that occur less than `least` times costs and saves."""
    counts = [str(path) for path in sorted((folder / "ours" / ".stages" / "add_up").glob("*/*.parquet"))]
    whole, kept = find_cut(counts, 2**62), kept_words(counts, least)
    with multiprocessing.Pool(1) as pool:  # a fresh process for each, since memory never shrinks
        merges, taken = pool.apply(learn_and_weigh, (counts, vocab_size - 257, least))
    worth = bytes_per_token(folder, merges)
    print(
        f"without words seen less than {least:3} times: {1 - kept[0] / whole.words:6.1%} of distinct words "
        f"and {1 - kept[1] / whole.occurrences:6.2%} of text gone, {worth:.4f} bytes per token, "
        f"{taken / 1e6:,.0f} MB, {taken / kept[2]:.0f} bytes of memory for each byte of a word"
    )


def kept_words(counts: Sequence[str], least: int) -> tuple[int, int, int]:
    """Distinct words, occurrences and bytes of the words that are frequent enough."""
    words = occurrences = size = 0
    for word, count in CountedWords(counts, least):
        words, occurrences, size = words + 1, occurrences + count, size + len(word)
    return words, occurrences, size


def learn_and_weigh(counts: Sequence[str], merges: int, least: int) -> tuple[Sequence[Merge], int]:
    """Learn merges, and return by how much this process's peak memory grew."""
    import resource

    import sentencepiece  # noqa: F401  its code is no part of what is weighed

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learned = learn_merges(CountedWords(counts, least), merges)
    return learned.merges, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    main()
