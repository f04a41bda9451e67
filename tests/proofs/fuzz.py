"""Feed mutated inputs to every function that takes strangers' bytes, each call limited in time and memory.

    python tests/proofs/fuzz.py --inputs 1_000_000

An input is a valid one with a few mutations, decided by the seed, the target's name and its number alone. A
finding is an exception that the function does not promise, a call that takes more CPU time than
`--call-limit-s`, or one that does not end or takes more memory than `--memory-gb`: its process is killed,
and another continues behind it. Findings are printed as they come. To see one again:

    python tests/proofs/fuzz.py --only warc --seed 1 --first 12345 --inputs 1 --show
"""

import argparse
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz_targets import TARGETS, Target

# What breaks parsers: numbers at their limits, deep nesting, ends of things, escapes, odd characters.
TOKENS = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\r\n\r\n",
        b"\n",
        b"\t",
        b" " * 64,
        b"\x1b[2J",
    ),
    *(
        b"-1",
        b"0",
        b"9" * 40,
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b"2147483648",
        b"18446744073709551616",
        b"0.5",
    ),
    *(b"[" * 2_000, b'{"a":' * 500, b"<div>" * 2_000, b"(" * 500, b"%" * 100, b"&#x110000;", b"&amp;" * 50),
    *(b'"', b"'", b"\\", b"\\ud800", b"<!--", b"-->", b"<script>", b"]]>", b"../", b"//", b"@", b"*", b"$"),
    *(b"a" * 5_000, "é東🜚".encode(), b"x-gzip", b"chunked", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"),
)
HANG_FACTOR = 20  # times the limit of a call, in real time, after which the process is killed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one call may take."""

    cpu_s: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An input that a function did not take well."""

    target: str
    number: int
    what: str


def mutated(target: Target, seed: int, number: int) -> bytes:
    """Return the input of this number."""
    chance = random.Random(f"{seed}/{target.name}/{number}")
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        _mutate(data, target, chance)
    return bytes(data[: target.longest])


def _mutate(data: bytearray, target: Target, chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 2, 4, 16, 64, 256)))
    match chance.randrange(8):
        case 0 if data:
            data[min(start, len(data) - 1)] ^= 1 << chance.randrange(8)
        case 1:
            del data[start:end]
        case 2:
            data[start:start] = chance.choice(TOKENS)
        case 3:
            data[start:end] = chance.choice(TOKENS)
        case 4:
            data[start:start] = data[start:end] * chance.choice((1, 2, 50))
        case 5:
            other = chance.choice(target.seeds)
            place = chance.randrange(len(other) + 1)
            data[start:] = other[place:]
        case 6:
            data[start:end] = chance.randbytes(end - start)
        case _:
            del data[start:]


def fuzz(target: Target, *, seed: int, first: int, inputs: int, limits: Limits) -> Iterator[Finding]:
    """Call a function with `inputs` inputs from `first` on, in a process of its own; yield the findings."""
    context = multiprocessing.get_context("fork")
    last = first + inputs
    while first < last:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, target, seed, range(first, last), limits))
        worker.start()
        theirs.close()
        first = last
        at = None
        while True:
            # A call announces itself; where nothing more comes for long, it hangs.
            if not ours.poll(HANG_FACTOR * limits.cpu_s):
                worker.kill()
                assert at is not None
                yield Finding(target=target.name, number=at, what="does not end")
                first = at + 1
                break
            try:
                message = ours.recv()
            except EOFError:  # the process has ended, after its last input or in the middle of one
                worker.join()
                if worker.exitcode != 0:
                    assert at is not None
                    what = f"ends the process: exit code {worker.exitcode}"
                    yield Finding(target=target.name, number=at, what=what)
                    first = at + 1
                break
            if isinstance(message, Finding):
                yield message
            else:
                at = message
        worker.join()


def _work(pipe: Connection, target: Target, seed: int, numbers: range, limits: Limits) -> None:
    with tempfile.TemporaryDirectory() as folder:
        call = target.prepare(Path(folder))
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + limits.memory_bytes, resource.RLIM_INFINITY))
        for number in numbers:
            pipe.send(number)
            what = _call(call, mutated(target, seed, number), target, limits)
            if what:
                pipe.send(Finding(target=target.name, number=number, what=what))
    pipe.close()


def _call(call, data: bytes, target: Target, limits: Limits) -> str:  # type: ignore[no-untyped-def]
    """Return what was wrong with a call; empty where nothing was."""
    started = time.process_time()
    try:
        call(data)
    except target.promised:
        pass
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:120]!r} at {Path(where.filename).name}:{where.lineno}"
    seconds = time.process_time() - started
    return f"takes {seconds:.1f} s" if seconds > limits.cpu_s else ""


def main() -> None:
    """Share the inputs out over the targets, and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of each target's first input")
    parser.add_argument("--only", nargs="*", default=[], choices=[target.name for target in TARGETS])
    parser.add_argument("--call-limit-s", type=float, default=1.0)
    parser.add_argument("--memory-gb", type=float, default=1.0)
    parser.add_argument("--show", action="store_true", help="print each input")
    options = parser.parse_args()
    limits = Limits(cpu_s=options.call_limit_s, memory_bytes=int(options.memory_gb * 2**30))
    targets = [target for target in TARGETS if not options.only or target.name in options.only]
    total = sum(target.share for target in targets)
    found: Counter[str] = Counter()
    for target in targets:
        inputs = max(1, round(options.inputs * target.share / total))
        started = time.monotonic()
        if options.show:
            for number in range(options.first, options.first + inputs):
                print(mutated(target, options.seed, number))
        for finding in fuzz(target, seed=options.seed, first=options.first, inputs=inputs, limits=limits):
            found[target.name] += 1
            print(f"FOUND {finding.target} {finding.number}: {finding.what}", flush=True)
        rate = inputs / (time.monotonic() - started)
        print(
            f"{target.name:<16} {inputs:>9,} inputs, {found[target.name]} findings, {rate:,.0f}/s", flush=True
        )
    print(f"{found.total()} findings")
    sys.exit(found.total() > 0)


if __name__ == "__main__":
    main()
