"""Libraries that could replace code of our own, beside that code: what decided in docs/decisions.md.

    python tests/benchmarks/bench_libraries.py
    python tests/benchmarks/bench_libraries.py loss --positions 8192

`loss` is PyTorch's `linear_cross_entropy` (2.13 and later), `sandbox` is pebble and the standard library's
forkserver, `counts` is DuckDB's GROUP BY under a memory limit, `rewriting` is what a stage costs that
only copies the documents it keeps, which verdicts in a side file would save. Each candidate runs in a
process of its own. Printed are processor time, peak resident memory beyond what was there before the call,
and what a candidate cannot do. pebble is not a dependency: `pip install -c constraints.txt pebble` first.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ["CUDA_VISIBLE_DEVICES"] = ""

WIDTH, VOCABULARY, PADDED = 768, 50_257, 50_304
MEMORY_BYTES = 2**28
CALLS = 300


def main() -> None:
    """Run the parts that were asked for, all by default."""
    parts = {
        "loss": compare_losses,
        "sandbox": compare_sandboxes,
        "counts": compare_counts,
        "rewriting": measure_rewriting,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--words", type=int, default=20_000_000)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for name in options.parts or parts:
        print(f"\n{name}")
        parts[name](options)


def measured(function: Callable[..., Any], *arguments: object) -> tuple[float, float, Any]:
    """Call a function in a fresh process; return its CPU seconds, its peak memory in MB and its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (function, *arguments))


def _measure(function: Callable[..., Any], *arguments: object) -> tuple[float, float, Any]:
    prepared = function(*arguments)
    before, started = _peak_mb(), time.process_time()
    result = next(prepared)
    return time.process_time() - started, _peak_mb() - before, result


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's, if that is more
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def compare_losses(options: argparse.Namespace) -> None:
    """Loss and gradients of one head of GPT-2 small, padded as in training."""
    results = {}
    for precision in ("fp32", "bf16"):
        for name in ("ours", "library, whole logits", "library, chunks"):
            seconds, megabytes, results[name] = measured(_Loss(name, precision, options.positions))
            apart = max(abs(a - b) for a, b in zip(results[name], results["ours"], strict=True))
            print(f"{precision}  {name:<24}{seconds:>7.2f} s {megabytes:>7,.0f} MB  differs by {apart:.1e}")


class _Loss:
    """A forward and backward pass of the loss, by one of the ways."""

    def __init__(self, way: str, precision: str, positions: int) -> None:
        self._way, self._precision, self._positions = way, precision, positions

    def __call__(self) -> Iterator[tuple[float, ...]]:
        import torch
        from torch.nn import functional as F

        from trainer.config.model_config import IGNORED
        from trainer.model.loss import linear_cross_entropy

        torch.manual_seed(0)
        torch.set_num_threads(1)
        hidden = torch.randn(self._positions, WIDTH, requires_grad=True)
        weight = (0.02 * torch.randn(PADDED, WIDTH)).requires_grad_()
        targets = torch.randint(VOCABULARY, (self._positions,))
        targets[::7] = IGNORED
        torch.mm(hidden[:8].detach(), weight[:8].detach().T)  # loads what a first product loads

        def results() -> Iterator[tuple[float, ...]]:
            with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16"):
                if self._way == "ours":
                    loss = linear_cross_entropy(
                        hidden, weight, targets, vocabulary=VOCABULARY, reduction="mean"
                    )
                else:
                    chunks = torch.nn.LinearCrossEntropyOptions() if "chunks" in self._way else None
                    loss = F.linear_cross_entropy(
                        hidden, weight[:VOCABULARY], targets, ignore_index=IGNORED, options=chunks
                    )
            loss.backward()
            norms = (
                gradient.norm().item() for gradient in (hidden.grad, weight.grad) if gradient is not None
            )
            yield loss.item(), *norms

        return results()


def compare_sandboxes(options: argparse.Namespace) -> None:
    """Calls that return at once, and calls that a sandbox is there for."""
    del options
    for name, kind in (("ours", _OwnSandbox), ("pebble", _Pebble), ("forkserver", _ForkServer)):
        with kind() as call:
            call("ok")
            started = time.monotonic()
            answers = [call("ok") for _ in range(CALLS)]
            each = (time.monotonic() - started) / CALLS
            assert answers == ["ok"] * CALLS, answers[:3]
            started = time.monotonic()
            ends = [f"{how}: {call(how)}, {_since(started)}" for how in ("crash", "memory", "endless")]
            print(f"{name:<12}{1e3 * each:>7.2f} ms a call; {'; '.join(ends)}")


def _since(started: float) -> str:
    return f"after {time.monotonic() - started:.1f} s"


def work(how: str) -> str:
    """What runs in the sandbox: as a parser of strangers' pages might behave."""
    if how == "crash":
        os.abort()
    if how == "memory":
        return str(len(bytearray(4 * 2**30)))
    if how == "endless":
        import re

        re.match(r"(a+)+$", "a" * 64 + "b")  # in C: it heeds no signal handler of Python's
    return how


class _OwnSandbox:
    def __enter__(self) -> Callable[[str], str]:
        import bench_libraries  # the sandbox takes functions of importable modules

        from pipeline.extract.sandbox import Sandbox

        self._sandbox = Sandbox(bench_libraries.work, ("ok",), deadline_s=2.0, memory_bytes=2**30)
        self._sandbox.__enter__()
        return lambda how: str(next(self._sandbox.map([(0, (how,))]))[1])

    def __exit__(self, *error: object) -> None:
        self._sandbox.__exit__(None, None, None)


class _Pebble:
    def __enter__(self) -> Callable[[str], str]:
        import pebble

        self._pool = pebble.ProcessPool(1, context=multiprocessing.get_context("forkserver"))

        def call(how: str) -> str:
            try:
                return str(self._pool.schedule(work, (how,), timeout=2.0).result())
            except Exception as error:  # whatever it raises is its answer
                return type(error).__name__

        return call

    def __exit__(self, *error: object) -> None:
        self._pool.stop()
        self._pool.join()


class _ForkServer:
    """A process per call, since a pool of the standard library never returns from a worker's death."""

    def __enter__(self) -> Callable[[str], str]:
        processes = multiprocessing.get_context("forkserver")

        def call(how: str) -> str:
            answers = processes.SimpleQueue()
            process = processes.Process(target=_answer, args=(answers, how))
            process.start()
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join()
                return "killed"
            return answers.get() if process.exitcode == 0 else f"exit code {process.exitcode}"

        return call

    def __exit__(self, *error: object) -> None:
        return


def _answer(answers: Any, how: str) -> None:
    answers.put(work(how))


def compare_counts(options: argparse.Namespace) -> None:
    """Add up tables of counted words: as many as a text has, and more distinct ones than memory holds."""
    for what, distinct in (("words of a text", False), ("all distinct", True)):
        with tempfile.TemporaryDirectory() as folder:
            files = _write_tables(Path(folder), options.words, distinct=distinct)
            ways = {"ours": _own_counts, "DuckDB, files": _duckdb_counts, "DuckDB, table": _duckdb_table}
            for name, function in ways.items():
                seconds, megabytes, found = measured(function, files, str(Path(folder, name)))
                print(f"{what:<17}{name:<14}{seconds:>7.1f} s {megabytes:>7,.0f} MB  {found}", flush=True)


def _write_tables(folder: Path, words: int, *, distinct: bool) -> list[str]:
    import numpy as np
    import pyarrow as pa

    from pipeline.runner.sums import write_sums
    from tokenizer.bpe.word_counts import COUNTS

    random = np.random.default_rng(0)
    files = []
    for number in range(words // 1_000_000):
        if distinct:
            seen = np.arange(number, words, words // 1_000_000)
        else:
            seen = np.unique(random.zipf(1.15, 1_000_000) % (4 * words))
        content = [b" a word of ordinary length, %d" % word for word in seen.tolist()]
        table = pa.table([content, np.ones(len(content), np.int64)], schema=COUNTS).sort_by("word")
        files.append(str(folder / f"{number:04d}.parquet"))
        write_sums([table], Path(files[-1]), COUNTS)
    return files


def _own_counts(files: list[str], folder: str) -> Iterator[str]:
    from pipeline.runner.sums import Sums, read_sums, write_sums
    from tokenizer.bpe.word_counts import COUNTS

    Path(folder).mkdir()
    counts = Sums(Path(folder), COUNTS)
    for file in files:
        for table in read_sums(file, COUNTS):
            counts.add(table)
    words = write_sums(counts.total(), Path(folder, "counted.parquet"), COUNTS)
    yield f"{words:,} words"


def _duckdb_counts(files: list[str], folder: str) -> Iterator[str]:
    yield _duckdb_total(_duckdb(folder), f"read_parquet({files!r})", folder)


def _duckdb_table(files: list[str], folder: str) -> Iterator[str]:
    """As the counts of one file of a corpus come: one table after another."""
    import duckdb

    from pipeline.runner.sums import read_sums
    from tokenizer.bpe.word_counts import COUNTS

    connection = _duckdb(folder)
    connection.execute("CREATE TABLE counts (word BLOB, count BIGINT)")
    try:
        for file in files:
            for part in read_sums(file, COUNTS):
                connection.from_arrow(part).insert_into("counts")
    except duckdb.OutOfMemoryException:
        yield _OUT_OF_MEMORY
    else:
        yield _duckdb_total(connection, "counts", folder)


_OUT_OF_MEMORY = f"out of memory with a limit of {MEMORY_BYTES // 2**20} MiB"


def _duckdb(folder: str) -> Any:
    import duckdb

    Path(folder).mkdir()
    config = {"memory_limit": f"{MEMORY_BYTES}B", "threads": 1, "temp_directory": folder}
    return duckdb.connect(config=config)


def _duckdb_total(connection: Any, source: str, folder: str) -> str:
    import duckdb

    output = str(Path(folder, "counted.parquet"))
    query = f"SELECT word, sum(count)::BIGINT AS count FROM {source} GROUP BY word ORDER BY word"
    try:
        connection.execute(f"COPY ({query}) TO '{output}' (FORMAT parquet, COMPRESSION zstd)")
    except duckdb.OutOfMemoryException:
        return _OUT_OF_MEMORY
    words = connection.execute(f"SELECT count(*) FROM '{output}'").fetchall()[0][0]
    return f"{words:,} words"


def measure_rewriting(options: argparse.Namespace) -> None:
    """Read documents from Parquet and write them again, row by row, as the stages do."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.parquet"), Path(folder, "target.parquet")
        characters = _write_documents(source)
        for name, function in (("read", _read), ("read and write", _copy)):
            seconds, _, rows = measured(function, str(source), str(target))
            print(
                f"{name:<16}{characters / 1e6 / seconds:>7.0f} MB of text a second of one core, {rows:,} rows"
            )


def _write_documents(path: Path) -> int:
    import numpy as np

    from pipeline.runner.records import DOCUMENTS
    from pipeline.runner.tables import TableWriter

    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(97, 123, length))) for length in random.integers(2, 11, 30_000)]
    empty = dict.fromkeys(DOCUMENTS.names)
    characters = 0
    with TableWriter(path, DOCUMENTS) as writer:
        for number in range(20_000):
            text = " ".join(words[index % len(words)] for index in random.zipf(1.2, 700))
            characters += len(text)
            writer.write(
                empty | {"text": text, "url": f"https://site.example/{number}", "id": f"{number:032x}"}
            )
    return characters


def _read(source: str, target: str) -> Iterator[int]:
    from pipeline.runner.tables import read_rows

    del target
    yield sum(1 for _ in read_rows(source))


def _copy(source: str, target: str) -> Iterator[int]:
    from pipeline.runner.records import DOCUMENTS
    from pipeline.runner.tables import TableWriter, read_rows

    with TableWriter(Path(target), DOCUMENTS) as writer:
        for document in read_rows(source, DOCUMENTS.names):
            writer.write(document)
    yield writer.rows


if __name__ == "__main__":
    main()
