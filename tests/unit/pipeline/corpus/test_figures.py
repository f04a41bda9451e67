"""What is shown of boilerplate: the same as if all rows were in memory, which they never are."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.boilerplate.stages import REPEATED_ROWS
from pipeline.corpus.figures import Boilerplate, excerpt_of, figures
from pipeline.runner.stages import Counts, Partition, StageOutput
from pipeline.runner.tables import TableWriter

Row = dict[str, Any]
MIB = 2**20


def stage(name: str, folders: list[Path], notes: Row) -> StageOutput:
    partitions = [
        Partition(
            name=folder.name,
            address=str(folder),
            files={path.name: (path.stat().st_size, "") for path in folder.iterdir()},
            counts=Counts(0, 0),
            notes=notes,
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
    corpus = stage("split", [], {})
    return list(figures([stage("trimmed", folders, {}), corpus]).boilerplate)


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


def test_texts_of_a_large_file_are_never_in_memory_together(tmp_path: Path) -> None:
    groups, rows = 12, 5_000
    folder = tmp_path / "00000"
    folder.mkdir()
    with pq.ParquetWriter(folder / "repeated.parquet", REPEATED_ROWS, compression="zstd") as file:
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
    texts_bytes = groups * rows * 990
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        found = shown([folder])
    finally:
        pa.set_memory_pool(before)
    assert (found[0].domain, found[0].documents) == ("0.org", 2)
    assert found[0].excerpt.startswith("00031000 ")
    assert 0 < pool.max_memory() < texts_bytes / 3
