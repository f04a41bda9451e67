"""How fast texts of each kind are read, and in how much memory, whatever the size of the file.

python tests/benchmarks/bench_texts.py --megabytes 512
"""

import argparse
import gzip
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

NAMES = ["a.parquet", "a.arrow", "a.jsonl", "a.jsonl.zst", "a.jsonl.gz", "a.txt", "stories.txt.zst"]
SMALLER = 8  # the first size of each kind is this part of the second
SEPARATOR = "<|endoftext|>"


def documents(megabytes: int) -> Iterator[str]:
    """Made documents of about 4 kB."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(1, 9))) for _ in range(20_000)]
    for _ in range(megabytes * 250):
        yield " ".join(chance.choices(words, k=670))


def write(path: Path, megabytes: int) -> None:
    """Write documents in the kind that the name says."""
    texts = documents(megabytes)
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as file:
            while part := [text for _, text in zip(range(20_000), texts, strict=False)]:
                file.write_table(pa.table({"text": part}))
        return
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(path, pa.schema([("text", pa.string())])) as file:
            while part := [text for _, text in zip(range(1000), texts, strict=False)]:
                file.write_batch(pa.record_batch({"text": part}))
        return
    pieces = (
        orjson.dumps({"text": text}) + b"\n" if ".jsonl" in path.name else f"{text}\n{SEPARATOR}\n".encode()
        for text in texts
    )
    opened = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, open)
    with opened(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


def read(path: str) -> None:
    """Print the documents, megabytes and seconds of reading a file, and how much the process grew."""
    from pipeline.sources.options import Reading
    from tokenizer.documents import Tally, read_documents

    tally, reading = Tally(), Reading(separator=SEPARATOR if "stories" in path else None)
    next(read_documents(path, reading))  # whatever is imported late
    before, started = peak_kib(), time.perf_counter()
    for batch in read_documents(path, reading):
        tally.add(batch)
    seconds, grown = time.perf_counter() - started, peak_kib() - before
    print(tally.documents, tally.bytes / 1e6, seconds, grown / 1024)


def peak_kib() -> int:
    """Return the most memory that this process has had; `getrusage` would tell its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def main() -> None:
    """Write each kind in two sizes, and read it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(options.read)
    print(f"{'file':18}{'MB of text':>12}{'documents':>12}{'MB/s':>10}{'memory grows by':>18}")
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            for megabytes in (options.megabytes // SMALLER, options.megabytes):
                path = Path(folder) / name
                write(path, megabytes)
                command = [sys.executable, __file__, "--read", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                count, size, seconds, grown = map(float, done.stdout.split())
                print(f"{name:18}{size:12,.0f}{count:12,.0f}{size / seconds:10,.0f}{grown:14,.0f} MiB")
                path.unlink()
    return None


if __name__ == "__main__":
    main()
