"""De-duplication: text to signatures, texts against datatrove, and clustering by the million.

    python tests/benchmarks/bench_duplicates.py [--texts 5000] [--documents 1000000] [--datatrove PYTHON]

Signatures are compared with a loop over `MinHash.update`, as users of datasketch 1.x write it. datatrove
(extra `bench`) gets the same Parquet files, 5-word shingles, bands and rows, and one worker, as ours does;
its words are spaCy's, or those between spaces if spaCy is not installed, which is quicker. Clustering is
measured on simulated signatures, on two workers. With `--documents 20000000` it takes about half an hour
and 10 GB of disk.
"""

import argparse
import datetime
import importlib.util
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.stages import SplitOptions, split_documents
from pipeline.dedup import stages as steps
from pipeline.dedup.bands import Bands, digests, sketches
from pipeline.dedup.minhash import DuplicateOptions, normalise, shingle_hashes, signature
from pipeline.runner.executor import connect, run_stage
from pipeline.runner.records import DOCUMENTS
from pipeline.runner.stages import InputFile, Stage, StageOutput, Task

OPTIONS = DuplicateOptions()
BANDS = Bands.of(OPTIONS)
TEXT_PARTITIONS = 4
DOCUMENTS_A_PARTITION = 250_000
EPOCH = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)

DATATROVE = """
import json, sys, time
import datatrove.utils.hashes.xxhash, xxhash
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WhitespaceTokenizer, load_word_tokenizer

logger.remove()
# xxhash 4 takes bytes, not the text that datatrove gives it.
datatrove.utils.hashes.xxhash.xxhash64 = lambda text: xxhash.xxh64_intdigest(text.encode())
texts, folder, files, bands, rows, words = sys.argv[1:]
files, bands = int(files), int(bands)
config = MinhashConfig(n_grams=5, num_buckets=bands, hashes_per_bucket=int(rows))
language = WhitespaceTokenizer("en") if words == "spaces" else "eng"
load_word_tokenizer(language).word_tokenize("What loads late is loaded now.")

def read():
    return ParquetReader(texts, glob_pattern="*.parquet")

pipelines = [
    ([read(), MinhashDedupSignature(f"{folder}/signatures", config, language)], files),
    ([MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)], bands),
    ([MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config)], 1),
    ([read(), MinhashDedupFilter(f"{folder}/remove"), ParquetWriter(f"{folder}/kept")], files),
]
started, worked = time.perf_counter(), time.process_time()
for number, (pipeline, tasks) in enumerate(pipelines):
    LocalPipelineExecutor(pipeline, tasks, workers=1, logging_dir=f"{folder}/logs/{number}").run()
figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - worked}
print(json.dumps(figures))
"""


# --- texts ---


def vocabulary(chance: random.Random) -> tuple[list[str], list[float]]:
    """Made-up words, and weights by which some are a thousand times as frequent as others."""
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randrange(2, 11))) for _ in range(30_000)]
    total = 0.0
    return words, [total := total + 1 / (rank + 10) for rank in range(len(words))]


def make_texts(count: int, seed: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Yield names and words of texts of some 600 words; every fifth is followed by an edited copy."""
    chance = random.Random(seed)
    words, weights = vocabulary(chance)

    def some(number: int) -> list[str]:
        return chance.choices(words, cum_weights=weights, k=number)

    for number in range(count):
        text = some(chance.randrange(200, 1_000))
        yield f"{number}", text
        if number % 5 == 0:
            copy = list(text)
            for _ in range(chance.randrange(len(text) // 10)):
                place = chance.randrange(len(copy))
                copy[place : place + chance.randrange(2)] = some(chance.randrange(2))
            yield f"{number}-copy", copy


def punctuated(words: Sequence[str]) -> str:
    """Sentences and paragraphs of the words."""
    marked = [f"{word}." if place % 13 == 12 else word for place, word in enumerate(words)]
    return "\n".join(" ".join(marked[start : start + 91]) for start in range(0, len(marked), 91))


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the similarity of the sets of 5-word shingles."""
    sets = [{tuple(text[start : start + 5]) for start in range(len(text) - 4)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def write_texts(folder: Path, count: int) -> tuple[dict[str, float], int, int]:
    """Write texts as documents; return the similarity of each planted pair, the texts and their bytes."""
    texts = list(make_texts(count))
    written = dict(texts)
    planted = {
        name: jaccard(words, written[name.removesuffix("-copy")]) for name, words in texts if "-" in name
    }
    random.Random(2).shuffle(texts)
    rows = [dict.fromkeys(DOCUMENTS.names) for _ in texts]
    for number, (row, (name, words)) in enumerate(zip(rows, texts, strict=True)):
        row |= {
            "id": f"{number:032x}",
            "url": name,
            "text": punctuated(words),
            "karma": 3,
            "first_seen": EPOCH,
        }
    folder.mkdir()
    for part in range(TEXT_PARTITIONS):
        table = pa.Table.from_pylist(rows[part::TEXT_PARTITIONS], schema=DOCUMENTS)
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=1_000)
    return planted, len(rows), sum(len(row["text"]) for row in rows)


# --- text to signature ---


def datasketch_loop(text: str) -> npt.NDArray[np.uint64]:
    """A signature as datasketch 1.x made it: SHA-1 and permutations, shingle by shingle."""
    from datasketch import MinHash

    words = text.lower().split()
    minhash = MinHash(num_perm=OPTIONS.permutations, scheme="legacy")
    for start in range(len(words) - 4):
        minhash.update(" ".join(words[start : start + 5]).encode())
    return minhash.hashvalues  # type: ignore[no-any-return]


def our_signature(text: str) -> npt.NDArray[np.uint32]:
    """The pipeline's own way."""
    return signature(shingle_hashes(normalise(text), OPTIONS.shingle_words), OPTIONS)


def compare_signatures(rounds: int) -> None:
    """Print the speed of both on one core, and their ratio."""
    texts = [punctuated(words) for _, words in make_texts(100)]
    size_mb = sum(len(text) for text in texts) / 1e6

    def cpu_seconds(work: Callable[[str], object], times: int) -> float:
        started = time.process_time()
        for text in texts * times:
            work(text)
        return (time.process_time() - started) / times

    our_signature(texts[0])  # draws the permutations
    seconds = [(cpu_seconds(datasketch_loop, 1), cpu_seconds(our_signature, 20)) for _ in range(rounds)]
    theirs, ours = (size_mb / statistics.median(side) for side in zip(*seconds, strict=True))
    ratio = statistics.median(their / our for their, our in seconds)
    print(f"text to signature, {OPTIONS.permutations} permutations, MB/s per core:")
    print(f"  loop over datasketch's update {theirs:.2f}, ours {ours:.1f}, ratio {ratio:.0f}   (aim: 10)")


# --- against datatrove ---


class Bare:
    """Runs work functions one after another in this process: the stages without Ray."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, name: str, work: Any, inputs: dict[str, list[InputFile]], options: Any) -> list[Path]:
        """Return the folders that the tasks filled."""
        folders = []
        for part, sources in inputs.items():
            folders.append(self.root / name / part)
            folders[-1].mkdir(parents=True)
            read = [source.address for source in sources]
            work(Task(part, read, folders[-1], options, lambda _: None, {}, ""))
        return folders


class OnRay:
    """Runs stages on Ray."""

    def __init__(self, root: Path, workers: int) -> None:
        self.root, self.workers = root, workers
        self.outputs: list[StageOutput] = []

    def run(self, name: str, work: Any, inputs: dict[str, list[InputFile]], options: Any) -> list[Path]:
        """Return the folders that the tasks filled."""
        stage = Stage(name=name, work=work, options=options)
        self.outputs.append(run_stage(stage, inputs, str(self.root), workers=self.workers))
        return [Path(partition.address) for partition in self.outputs[-1].partitions]


def deduplicate(runner: Bare | OnRay, texts: Sequence[Path]) -> set[str]:
    """Take the near-duplicates out of documents, as the recipe does; return the addresses that stay."""
    documents = {f"{number:05d}": [InputFile.of(str(path))] for number, path in enumerate(texts)}
    signed = runner.run("signatures", steps.sign_documents, documents, OPTIONS)
    (found,) = cluster(runner, signed)
    splitting = {
        part: [*sources, InputFile.of(str(found / steps.copies_file(number)))]
        for number, (part, sources) in enumerate(documents.items())
    }
    limit = SplitOptions(validation_limit=0.01)
    split = runner.run("split", split_documents, splitting, limit)
    return kept_urls(path for folder in split for path in folder.glob("[tv]*.parquet"))


def cluster(
    runner: Bare | OnRay, signed: Sequence[Path], match: Any = steps.match_documents, find: Any = None
) -> list[Path]:
    """Match signed documents and name the copies."""

    def files(*names: str) -> list[InputFile]:
        return [InputFile.of(str(folder / name)) for folder in signed for name in names]

    matching = {
        f"{number:05d}": files("digests.npy", "sketches.npy", steps.bands_file(number))
        for number in steps.band_tasks(OPTIONS)
    }
    matches = runner.run("matches", match, matching, OPTIONS)
    deciding = [InputFile.of(str(folder / "matches.npy")) for folder in matches]
    deciding += files("keys.parquet", "sketches.npy")
    return runner.run("duplicates", find or steps.find_duplicates, {"all": deciding}, OPTIONS)


def kept_urls(paths: Iterator[Path]) -> set[str]:
    """Return the addresses in some Parquet files."""
    return {url for path in paths for url in pq.read_table(path, columns=["url"])["url"].to_pylist()}


def tell_found(name: str, seconds: float, texts: int, kept: set[str], planted: dict[str, float]) -> None:
    """Print a contender's speed, and which planted pairs lost one of the two."""
    shares = []
    for low, high in ((0.85, 1.0), (0.6, 0.85), (0.0, 0.6)):
        pairs = [pair for pair, similarity in planted.items() if low <= similarity <= high]
        lost = [pair for pair in pairs if not {pair, pair.removesuffix("-copy")} <= kept]
        shares.append(f"{len(lost) / len(pairs):8.2%} of {len(pairs):<5,}")
    print(f"  {name:<26}{seconds:8.2f} s {texts / seconds:9,.0f} texts/s {' '.join(shares)}")


def compare_with_datatrove(python: str, count: int, folder: Path) -> None:
    """Print time and found pairs of datatrove, of our stages on Ray, and of their work functions alone."""
    planted, texts, size_bytes = write_texts(folder / "texts", count)
    has_spacy = (
        subprocess.run([python, "-c", "import spacy"], capture_output=True, check=False).returncode == 0
    )
    words = "spaCy" if has_spacy else "spaces"
    print(f"{texts:,} texts, {size_bytes / 1e6:.0f} MB, one worker; datatrove with words by {words}")
    print(f"{'':<57}pairs found at 0.85 to 1  at 0.6 to 0.85   below 0.6")
    shape = [str(TEXT_PARTITIONS), str(BANDS.bands), str(BANDS.rows)]
    command = [python, "-c", DATATROVE, str(folder / "texts"), str(folder / "datatrove"), *shape, words]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        raise RuntimeError(f"datatrove failed: {done.stderr}")
    theirs = json.loads(done.stdout.splitlines()[-1])
    kept = set()
    for path in (folder / "datatrove" / "kept").glob("*.parquet"):
        kept |= {row["url"] for row in pq.read_table(path)["metadata"].to_pylist()}
    tell_found("datatrove", theirs["seconds"], texts, kept, planted)
    paths = sorted((folder / "texts").glob("*.parquet"))
    connect()
    started = time.perf_counter()
    kept = deduplicate(OnRay(folder / "ray", workers=1), paths)
    on_ray = time.perf_counter() - started
    tell_found("Outbound, stages on Ray", on_ray, texts, kept, planted)
    started, worked = time.perf_counter(), time.process_time()
    kept = deduplicate(Bare(folder / "bare"), paths)
    bare, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    tell_found("Outbound, functions alone", bare, texts, kept, planted)
    ratios = f"on Ray {theirs['seconds'] / on_ray:.1f}, alone {theirs['seconds'] / bare:.1f}"
    cpu = f"{theirs['cpu_seconds'] / cpu_seconds:.1f}"
    print(f"  faster than datatrove: {ratios}; by processor time alone {cpu}   (aim: 10)")


# --- clustering by the million ---


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """How many documents a partition has."""

    documents: int


def simulate(task: Task) -> Any:
    """Write what `sign_documents` would of a quarter million documents.

    A fifth are near-duplicates (similarity 0.9) of documents of the partition before, and one in a hundred
    is one of the many copies (0.95) of a single page.
    """
    number, size = int(task.name), task.options.documents
    drawn = _drawn(number, size)
    chance = np.random.default_rng([2, number])
    near, hot = size // 5, size // 100
    originals = _drawn(number - 1, size)[-near:]
    drawn[:near] = np.where(chance.random(originals.shape) < 0.9, originals, drawn[:near])
    page = np.random.default_rng(3).integers(0, 2**32, OPTIONS.permutations, np.uint32)
    copies = drawn[near : near + hot]
    drawn[near : near + hot] = np.where(chance.random(copies.shape) < 0.95, page, copies)
    np.save(task.folder / "digests.npy", digests(drawn))
    np.save(task.folder / "sketches.npy", sketches(drawn))
    keys = BANDS.keys(drawn)
    for part in steps.band_tasks(OPTIONS):
        piece = keys[part * steps.BANDS_A_TASK : (part + 1) * steps.BANDS_A_TASK]
        np.save(task.folder / steps.bands_file(part), piece)
    pq.write_table(_simulated_keys(number, size), task.folder / "keys.parquet", compression="zstd")
    return steps.Counts(size, size)


def _drawn(number: int, size: int) -> npt.NDArray[np.uint32]:
    """The signatures of a partition's documents before any is made a copy."""
    return np.random.default_rng([1, number + 1]).integers(0, 2**32, (size, OPTIONS.permutations), np.uint32)


def _simulated_keys(number: int, size: int) -> pa.Table:
    names = [f"{document:032x}" for document in range(number * size, (number + 1) * size)]
    columns = {
        "id": names,
        "url": [
            f"https://www.site{name[-5:]}.com/2020/01/a-story-of-some-length-{name[-12:]}" for name in names
        ],
        "karma": np.random.default_rng(number).integers(3, 1_000, size, np.int32),
        "first_seen": np.arange(size) + 1_500_000_000,
        "exact": [bytes.fromhex(name) for name in names],
    }
    return pa.table({name: pa.array(column) for name, column in columns.items()}).cast(steps.KEYS)


def _measured(work: Any) -> Any:
    """The work, which also tells its own peak memory: Ray's worker, the arrays, and the pages mapped."""

    def measured(task: Task) -> Any:
        counts = work(task)
        task.notes["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return counts

    return measured


def measure_clustering(documents: int, folder: Path) -> float:
    """Print time and memory of clustering so many simulated signatures; return the seconds."""
    size = min(DOCUMENTS_A_PARTITION, documents)
    runner = OnRay(folder, workers=2)
    parts: dict[str, list[InputFile]] = {f"{number:05d}": [] for number in range(documents // size)}
    signed = runner.run("signatures", simulate, parts, SimulationOptions(documents=size))
    started = time.perf_counter()
    cluster(runner, signed, _measured(steps.match_documents), _measured(steps.find_duplicates))
    seconds = time.perf_counter() - started
    _, matches, found = runner.outputs
    peaks = [[part.notes["peak_bytes"] / 1e9 for part in output.partitions] for output in (matches, found)]
    # Two tasks at once map the same sketches, which are resident once.
    together = sum(sorted(peaks[0])[-2:]) - documents * OPTIONS.permutations / 1e9
    took = [sum(part.seconds for part in output.partitions) for output in (matches, found)]
    near = found.counts.dropped["near duplicate"]
    print(
        f"  {documents:>11,} {seconds:8.1f} s {near:>10,} removed; matching: {took[0]:.0f} s of tasks, peak "
        f"{max(peaks[0]):.2f} GB, two at once {together:.2f}; clusters: {took[1]:.0f} s, {peaks[1][0]:.2f} GB"
    )
    shutil.rmtree(folder)
    return seconds


def main() -> None:
    """Run all three, or those that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=5_000, help="0: leave datatrove out")
    parser.add_argument("--documents", type=int, default=1_000_000, help="with simulated signatures; or 0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datatrove", default=sys.executable, help="a Python that has datatrove")
    parser.add_argument("--folder", type=Path, help="for temporary files; the system's by default")
    options = parser.parse_args()
    compare_signatures(options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.datatrove == sys.executable and not importlib.util.find_spec("datatrove"):
            print("datatrove is not installed: pip install -e .[bench], or name a Python that has it")
        elif options.texts:
            compare_with_datatrove(options.datatrove, options.texts, Path(name))
        if options.documents:
            print(
                "clustering simulated signatures, two workers (peaks include Ray's worker and mapped pages):"
            )
            few = measure_clustering(options.documents // 10, Path(name) / "few")
            many = measure_clustering(options.documents, Path(name) / "many")
            print(f"  time of ten times the documents: {many / few:.1f} times")


if __name__ == "__main__":
    main()
