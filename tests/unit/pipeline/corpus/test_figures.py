"""What is shown of boilerplate: the same as if all rows were in memory, which they never are."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.boilerplate.stages import REPEATED_ROWS
from pipeline.corpus.figures import Boilerplate, evenly, excerpt_of, figures
from pipeline.runner.records import DROPS
from pipeline.runner.stages import Counts, Partition, StageOutput
from pipeline.runner.tables import ROWS_PER_GROUP, TableWriter

Row = dict[str, Any]
NONE = Counts(0, 0)
ROOT = Path(__file__).parents[4]


def stage(name: str, folders: list[Path], counts: Counts = NONE) -> StageOutput:
    partitions = [
        Partition(
            name=folder.name,
            address=str(folder),
            files={path.name: (path.stat().st_size, "") for path in folder.iterdir()},
            counts=counts,
            notes={},
            bytes_read=0,
            seconds=0.0,
        )
        for folder in folders
    ]
    return StageOutput(
        stage=name, partitions=partitions, reused=0, seconds=0.0, task_seconds=0.0, bytes_read=0
    )


def boilerplate(root: Path, tables: list[list[Row]]) -> list[Boilerplate]:
    """Return what is shown of these rows, of a file each, beside an empty corpus."""
    folders = []
    for number, rows in enumerate(tables):
        folders.append(root / f"{number:05d}")
        folders[-1].mkdir(parents=True)
        with TableWriter(folders[-1] / "repeated.parquet", REPEATED_ROWS) as writer:
            for row in rows:
                writer.write(row)
    return shown(folders)


def shown(folders: list[Path]) -> list[Boilerplate]:
    return list(figures([stage("trimmed", folders), stage("split", [])]).boilerplate)


def row(domain: str, number: int, documents: int, text: str, edge: str = "end") -> Row:
    return {"domain": domain, "edge": edge, "hash": number, "paragraph": text, "documents": documents}


def expected(tables: list[list[Row]]) -> list[Boilerplate]:
    """The same by dictionaries of all rows."""
    rows = [one for rows in tables for one in rows]
    domains, paragraphs = Counter[str](), Counter[tuple[str, str, int]]()
    texts: dict[tuple[str, str, int], set[str]] = {}
    for one in rows:
        key = one["domain"], one["edge"], one["hash"]
        domains[key[0]] += one["documents"]
        paragraphs[key] += one["documents"]
        texts.setdefault(key, set()).add(one["paragraph"])
    found = []
    for domain in sorted(domains, key=lambda name: (-domains[name], name))[:8]:
        keys = [key for key in paragraphs if key[0] == domain]
        for key in sorted(keys, key=lambda key: (-paragraphs[key], key))[:3]:
            excerpt = excerpt_of(min(texts[key]))
            found.append(Boilerplate(domain=key[0], edge=key[1], excerpt=excerpt, documents=paragraphs[key]))
    return found


def test_paragraphs_are_counted_over_all_partitions(tmp_path: Path) -> None:
    """One is frequent in no partition alone, and a hash above 2**63 is one too."""
    tables = [
        [row("a.org", 2**64 - 1, 3, "Follow us!"), row("a.org", 5, 4, "Share this"), row("b.org", 5, 6, "b")],
        [row("a.org", 2**64 - 1, 3, "FOLLOW us!"), row("a.org", 5, 1, "Menu", "beginning")],
    ]
    assert boilerplate(tmp_path, tables) == [
        Boilerplate(domain="a.org", edge="end", excerpt="FOLLOW us!", documents=6),
        Boilerplate(domain="a.org", edge="end", excerpt="Share this", documents=4),
        Boilerplate(domain="a.org", edge="beginning", excerpt="Menu", documents=1),
        Boilerplate(domain="b.org", edge="end", excerpt="b", documents=6),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_shown_is_what_dictionaries_of_all_rows_show(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def rows() -> Iterator[Row]:
        for number in chance.sample(range(300), 150):
            domain, edge = f"{number % 13 % 11}.org", ("beginning", "end")[number % 2]
            name = number // 26 * 2**60  # several domains have the same paragraph
            yield row(domain, name, chance.randint(1, 9), f"{chance.choice('ab')} {name}", edge)

    tables = [list(rows()) for _ in range(3)]
    found = boilerplate(tmp_path, tables)
    assert found == expected(tables)
    assert len(found) == 8 * 3


def test_without_boilerplate_nothing_is_shown(tmp_path: Path) -> None:
    assert boilerplate(tmp_path / "none", []) == []
    assert boilerplate(tmp_path / "empty", [[], []]) == []


MEASURED = """
import sys
import pyarrow as pa
from pipeline.corpus.figures import figures
from pipeline.runner.stages import Counts, Partition, StageOutput

def stage(name, partitions):
    return StageOutput(
        stage=name, partitions=partitions, reused=0, seconds=0, task_seconds=0, bytes_read=0
    )

file = {"repeated.parquet": (0, "")}
trimmed = stage("trimmed", [Partition("0", sys.argv[1], file, Counts(0, 0), {}, 0, 0.0)])
first = figures([trimmed, stage("split", [])]).boilerplate[0]
print(first.domain, first.documents, first.excerpt[:8], pa.default_memory_pool().max_memory())
"""


def test_texts_of_a_large_file_are_never_in_memory_together(tmp_path: Path) -> None:
    groups, rows = 12, 5_000
    with pq.ParquetWriter(tmp_path / "repeated.parquet", REPEATED_ROWS, compression="zstd") as file:
        for group in range(groups):
            numbers = range(group * rows, (group + 1) * rows)
            columns = {
                "domain": [f"{number % 20}.org" for number in numbers],
                "edge": ["end"] * rows,
                "hash": numbers,
                "paragraph": [f"{number:08d} " * 110 for number in numbers],
                "documents": [1 + (number == 31_000) for number in numbers],
            }
            file.write_table(pa.table(columns, schema=REPEATED_ROWS))
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *first, most = result.stdout.split()
    assert first == ["0.org", "2", "00031000"]
    assert int(most) < groups * rows * 990 / 3  # bytes of all texts


def test_drops_are_shown_spread_evenly_with_the_texts_of_their_documents(tmp_path: Path) -> None:
    documents, refined = tmp_path / "documents" / "0", tmp_path / "refined" / "0"
    for folder in (documents, refined):
        folder.mkdir(parents=True)
    numbers = range(2 * ROWS_PER_GROUP)
    texts = {name: [f"{name} {n}" for n in numbers] for name in ("url", "title", "text")}
    pq.write_table(pa.table(texts), documents / "documents.parquet")
    with TableWriter(refined / "drops.parquet", DROPS) as writer:
        for n in numbers:
            reason = "too short" if n % 3 else "other language"
            writer.write({"url": f"url {n}", "reason": reason, "detail": f"detail {n}"})
    dropped = {
        "too short": sum(n % 3 > 0 for n in numbers),
        "other language": sum(n % 3 == 0 for n in numbers),
    }
    outputs = [
        stage("links", []),
        stage("documents", [documents]),
        stage("refined", [refined], Counts(len(numbers), 0, dropped)),
        stage("split", []),
    ]
    found = {drop.reason: drop for drop in figures(outputs).dropped}
    for reason, remainders in (("too short", (1, 2)), ("other language", (0,))):
        whole = [n for n in numbers if n % 3 in remainders]
        chosen = [whole[place] for place in evenly(len(whole), 3)]
        assert found[reason].count == len(whole)
        assert [(one.url, one.about, one.title, one.excerpt) for one in found[reason].samples] == [
            (f"url {n}", f"detail {n}", f"title {n}", f"text {n}") for n in chosen
        ]
