"""How exact the learned merges are, and in what they differ from those of `tokenizers`' trainer.

    python tests/benchmarks/bench_exactness.py [--megabytes 0.5 4] [--vocab-size 2000 8192] [--languages DIR]

For several kinds and sizes of text (nine tenths to learn from, one tenth held out), both lists of merges are
replayed in plain Python: exact BPE always joins a pair that no other pair outnumbers at its time. Then

    wrong       merges of a pair that was not among the most frequent, of ours and of `tokenizers`
    last        how often the pair of the last merge occurred
    ties        merges that were chosen among equally frequent pairs
    same        merges that stand in the same place in both lists
    first       the first place where they differ
    held-out    by how much our number of tokens on held-out text differs

If none is wrong, ties alone make the lists differ: SentencePiece takes the shorter token, then the one that
sorts first, `tokenizers` the pair of the lowest ids. `--languages` takes a folder of sentences, a file a
language (by default ../shared/data/languages beside the checkout; left out if it is not there).
"""

import argparse
import heapq
import json
import random
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.merges import Merge, from_printable, learn_merges
from tokenizer.bpe.pretokens import count_words
from tokenizer.bpe.vocabulary import Vocabulary

SEED = 20_190_214
LANGUAGES = Path(__file__).parents[2].parent / "shared" / "data" / "languages"
Counts = list[tuple[bytes, int]]


def main() -> None:
    options = parsed()
    print(
        f"{'text':22}{'entries':>8}{'wrong: ours':>12}{'wrong: tokenizers':>18}{'last':>6}"
        f"{'ties':>8}{'same':>8}{'first':>7}{'held-out':>10}"
    )
    for name, documents in kinds(options.languages).items():
        for megabytes in options.megabytes:
            if sum(len(text.encode()) for text in documents) < megabytes * 10**6:
                continue
            for size in options.vocab_size:
                report(f"{name}, {megabytes:g} MB", cut(documents, megabytes * 10**6), size - 257)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, nargs="*", default=[0.5, 4])
    parser.add_argument("--vocab-size", type=int, nargs="*", default=[2000, 8192])
    parser.add_argument("--languages", type=Path, default=LANGUAGES)
    return parser.parse_args()


def kinds(languages: Path) -> dict[str, list[str]]:
    """Texts by kind, in random order."""
    packages = Path(sysconfig.get_path("purelib"))
    found = {
        "Python sources": read(sorted(packages.glob("*/*.py"))),
        "documentation": read(
            sorted([*packages.rglob("*.md"), *packages.rglob("*.rst"), *packages.rglob("*.txt")])
        ),
    }
    if languages.is_dir():
        sentences = [line for text in read(sorted(languages.glob("*.txt"))) for line in text.splitlines()]
        found["75 languages"] = sentences
    else:
        print(f"no sentences at {languages}: left out", file=sys.stderr)
    for texts in found.values():
        random.Random(SEED).shuffle(texts)
    return found


def read(paths: Sequence[Path]) -> list[str]:
    return [path.read_bytes().decode("utf-8", "replace") for path in paths if path.is_file()]


def cut(documents: Sequence[str], size: float) -> list[str]:
    """The first documents, up to some bytes."""
    taken, total = list[str](), 0
    for text in documents:
        if total > size:
            break
        taken.append(text)
        total += len(text.encode())
    return taken


def report(name: str, documents: Sequence[str], merges: int) -> None:
    """Print the line of one text and size."""
    train, held_out = [text for i, text in enumerate(documents) if i % 10], documents[::10]
    table = count_words([text.encode() for text in train]).sort_by("word")
    counts = list(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))
    ours = learn_merges(counts, merges).merges
    proved = replay(counts, ours)
    ours, theirs = ours[: proved.used], tokenizers_merges(train, proved.used)
    same = sum(one == other for one, other in zip(ours, theirs, strict=True))
    fewer = tokens(held_out, ours) / tokens(held_out, theirs) - 1
    wrong = f"{proved.wrong:>12,}{replay(counts, theirs).wrong:>18,}"
    print(
        f"{name:22}{257 + proved.used:>8,}{wrong}{proved.last:>6,}"
        f"{proved.ties:>8,}{same:>8,}{first_difference(ours, theirs):>7,}{fewer:>+10.3%}"
    )


def first_difference(one: Sequence[Merge], other: Sequence[Merge]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def tokens(texts: Sequence[str], merges: Sequence[Merge]) -> int:
    encoder = Encoder(Vocabulary(merges))
    return sum(len(encoder.encode(text.encode())) for text in texts)


def tokenizers_merges(texts: Sequence[str], merges: int) -> list[Merge]:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned = tokenizers.Tokenizer(models.BPE())
    learned.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    learned.train_from_iterator(texts, trainer)
    written = json.loads(learned.to_str())["model"]["merges"]
    return [(from_printable(left), from_printable(right)) for left, right in written]


@dataclass
class Replay:
    """What a list of merges proves to be."""

    wrong: int = 0
    ties: int = 0
    used: int = 0  # merges of a pair that occurred at all
    last: int = 0  # how often the last of them occurred


def replay(counts: Counts, merges: Sequence[Merge]) -> Replay:
    """Do the merges one after another on the words, always knowing how often each pair occurs."""
    words = [[bytes([byte]) for byte in word] for word, _ in counts]
    pairs, where = defaultdict[Merge, int](int), defaultdict[Merge, set[int]](set)
    for number, (parts, (_, count)) in enumerate(zip(words, counts, strict=True)):
        for pair in pairwise(parts):
            pairs[pair] += count
            where[pair].add(number)
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    found = Replay()
    for merge in merges:
        most, second = most_frequent(queue, pairs)
        if not most:
            break
        found.wrong += pairs[merge] < most
        found.ties += second == most
        found.used, found.last = found.used + 1, pairs[merge]
        changed = set[Merge]()
        for number in where.pop(merge, ()):
            for old in pairwise(words[number]):
                pairs[old] -= counts[number][1]
            words[number] = joined(words[number], merge)
            for new in pairwise(words[number]):
                pairs[new] += counts[number][1]
                where[new].add(number)
                if merge[0] + merge[1] in new:
                    changed.add(new)
        for new in changed:
            heapq.heappush(queue, (-pairs[new], new))
    return found


def most_frequent(queue: list[tuple[int, Merge]], pairs: Mapping[Merge, int]) -> tuple[int, int]:
    """The two greatest counts of pairs. Counts in the queue may be outdated, but are never too small."""
    tops = list[tuple[int, Merge]]()
    while queue and len(tops) < 2:
        count, pair = heapq.heappop(queue)
        if pairs[pair] != -count:
            heapq.heappush(queue, (-pairs[pair], pair))
        elif (count, pair) not in tops:
            tops.append((count, pair))
    for top in tops:
        heapq.heappush(queue, top)
    counts = [-count for count, _ in tops] + [0, 0]
    return counts[0], counts[1]


def joined(parts: Sequence[bytes], pair: Merge) -> list[bytes]:
    whole, i = list[bytes](), 0
    while i < len(parts):
        is_pair = tuple(parts[i : i + 2]) == pair
        whole.append(b"".join(pair) if is_pair else parts[i])
        i += 1 + is_pair
    return whole


if __name__ == "__main__":
    main()
