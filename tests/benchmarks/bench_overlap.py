"""The overlap study: how fast a corpus passes evaluation sets on one core, and what memory that takes.

    python tests/benchmarks/bench_overlap.py [--documents 4000] [--grams 1000000]

Made-up documents, half of them with a few characters beyond ASCII as on the web, are looked up in an
evaluation set of so many 8-grams; one in fifty copies a passage of it. Beside it: the loop that one would
write, with a set of strings, and, where it is installed (extra `bench`), datatrove's decontamination of the
same texts by 8-grams, whose words are those between spaces. Each in turn, three rounds, CPU time; the ratios
are medians, and all must find the same documents. Then memory: the peak of a process that scans a Parquet
file of a few groups of rows, since a group is read at once, and of one that scans ten times as many.
"""

import argparse
import importlib.util
import itertools
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.decontaminate import stages as steps
from pipeline.decontaminate.ngrams import grams_of, in_batches
from pipeline.decontaminate.overlap import Finder, filter_of, read_set
from pipeline.decontaminate.plain_texts import TextOptions
from pipeline.runner.records import DOCUMENTS
from pipeline.runner.stages import Task
from pipeline.runner.tables import TableWriter

ROUNDS = 3
WORDS_A_DOCUMENT = 800
MEMORY_DOCUMENTS = 12_000  # 64 MB
Found = set[int]


def main() -> None:
    """Print MB/s, ratios, and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--grams", type=int, default=1_000_000)
    parser.add_argument("--scan", nargs=2, metavar=("FOLDER", "DOCUMENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scan:
        scan(Path(arguments.scan[0]), int(arguments.scan[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        test = made_up(random.Random(0), arguments.grams + 7)
        (folder / "set.txt").write_text(test)
        texts = list(documents(arguments.documents, test))
        speed(texts, test, folder)
        memory(texts, folder)


def made_up(chance: random.Random, words: int) -> str:
    """Write sentences of made-up words."""
    made = ("".join(chance.choices("aeioulmnrst", k=chance.randint(2, 9))) for _ in range(words))
    return " ".join(f"{word}." if number % 12 == 11 else word for number, word in enumerate(made))


def documents(count: int, test: str) -> Iterator[str]:
    """Yield documents; every fiftieth has sixty words of the test in its middle."""
    chance, passages = random.Random(1), test.split()
    for number in range(count):
        words = made_up(chance, WORDS_A_DOCUMENT).split()
        if number % 2:
            words[5], words[99] = f"“{words[5]}”", "café"
        if number % 50 == 0:
            first = chance.randrange(max(1, len(passages) - 60))
            words[400:460] = passages[first : first + 60]
        yield " ".join(words)


def speed(texts: list[str], test: str, folder: Path) -> None:
    """Time all ways by turns, and print MB/s of the fastest round and the ratios."""
    evaluation = read_set(str(folder / "set.txt"), TextOptions())
    finder = Finder([evaluation], filter_of([evaluation.grams]))
    ways: dict[str, Callable[[], Found]] = {
        "Outbound": lambda: ours(texts, finder),
        "set of strings": by_sets(texts, test),
    }
    if importlib.util.find_spec("datatrove"):
        ways["datatrove"] = by_datatrove(texts, test, folder)
    size_mb = sum(len(text.encode()) for text in texts) / 1e6
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        found = {}
        for name, way in ways.items():
            started = time.process_time()
            found[name] = way()
            seconds[name].append(time.process_time() - started)
        assert all(one == found["Outbound"] for one in found.values()), "they do not find the same documents"
    print(
        f"{len(texts):,} documents, {size_mb:,.0f} MB, {len(evaluation.grams):,} 8-grams sought on one core"
    )
    for name, times in seconds.items():
        ratio = statistics.median(one / our for one, our in zip(times, seconds["Outbound"], strict=True))
        print(f"{name:<16}{size_mb / min(times):>8,.1f} MB/s   ours is {ratio:,.1f} times as fast")


def ours(texts: list[str], finder: Finder) -> Found:
    """Return which documents have an 8-gram of the set."""
    found: Found = set()
    first = 0
    for batch in in_batches(texts, len):
        (overlaps,) = finder.overlaps(grams_of(batch))
        found.update(first + overlap.document for overlap in overlaps)
        first += len(batch)
    return found


def by_sets(texts: list[str], test: str) -> Callable[[], Found]:
    """Return the plain loop."""

    def grams(text: str) -> set[str]:
        words = re.findall(r"[^\W_]+", text.lower())
        return {" ".join(words[start : start + 8]) for start in range(len(words) - 7)}

    known = grams(test)
    return lambda: {number for number, text in enumerate(texts) if not grams(text).isdisjoint(known)}


def by_datatrove(texts: list[str], test: str, folder: Path) -> Callable[[], Found]:
    """Return datatrove's filter, with an index of the set as its indexer would write it."""
    import datatrove.utils.hashes.xxhash
    import numpy as np
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.logging import logger
    from datatrove.utils.text import ngrams, simplify_text
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Spaces(WordTokenizer):  # type: ignore[misc]  # the quickest there is
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    logger.remove()
    # xxhash 4 takes bytes, not the text that datatrove gives it.
    datatrove.utils.hashes.xxhash.xxhash64 = lambda text: xxhash.xxh64_intdigest(text.encode())
    config = NGramsDecontConfig(n_grams=8)
    scanner: Any = NGramsDecontFilter(str(folder / "index"), config=config, language=Spaces())
    words = simplify_text(test, config.norm_config).split()
    hashes = {scanner.hash_func(" ".join(gram)) for gram in ngrams(words, 8)}
    (folder / "index").mkdir(exist_ok=True)
    np.array(sorted(hashes), config.hash_config.np_descr).tofile(folder / "index" / "set.index.hashes")
    read = [Document(text, str(number)) for number, text in enumerate(texts)]
    return lambda: {number for number, document in enumerate(read) if scanner.filter(document) is not True}


def memory(texts: list[str], folder: Path) -> None:
    """Scan these documents over and over, each time in a process of its own; print both peaks."""
    count = MEMORY_DOCUMENTS
    evaluation = read_set(str(folder / "set.txt"), TextOptions())
    evaluation.write(folder / steps.GRAMS)
    filter_of([evaluation.grams]).write(folder / steps.FILTER)
    peaks = []
    for number in (count, 10 * count):
        with TableWriter(folder / f"{number}.parquet", DOCUMENTS) as writer:
            for place, text in enumerate(itertools.islice(itertools.cycle(texts), number)):
                row: dict[str, Any] = dict.fromkeys(DOCUMENTS.names)
                writer.write(row | {"url": str(place), "text": text})
        command = [sys.executable, __file__, "--scan", str(folder), str(number)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    printed = f"{count:,} and {10 * count:,} documents: {peaks[0] / 1e6:,.0f} and {peaks[1] / 1e6:,.0f} MB"
    print(f"peak memory of scanning {printed}, ratio {peaks[1] / peaks[0]:.2f}")


def scan(folder: Path, count: int) -> None:
    """Do one task's work and print the peak of the resident set in bytes."""
    output = folder / f"found-{count}"
    output.mkdir()
    inputs = [str(folder / name) for name in (f"{count}.parquet", steps.FILTER, steps.GRAMS)]
    counts = steps.find_in_documents(Task("0", inputs, output, None, lambda *_: None, {}, ""))
    assert counts.read == count
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
