"""The stages by themselves: a domain's documents are counted together, wherever they lie."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.boilerplate import stages as steps
from pipeline.boilerplate.trimming import BoilerplateOptions
from pipeline.filters.quality import RefineOptions
from pipeline.runner.inputs import Inputs
from pipeline.runner.records import DOCUMENTS
from pipeline.runner.stages import Counts, Partition, StageOutput, Task, Work
from pipeline.runner.tables import TableWriter, read_rows

Document = dict[str, Any]
OPTIONS = BoilerplateOptions(min_boilerplate_pages=4, min_boilerplate_share=0.25)
REFINE = RefineOptions(languages=(), min_words=20)
MENU, FOLLOW = "The Daily Example, all the news of the day", "Follow us on Twitter and never miss a story."
WORDS = [f"{first}{second}{third}" for first in "bdfgk" for second in "aeiou" for third in "lmnrst"]


def own(number: int, lines: int = 5) -> list[str]:
    chance = random.Random(number)
    return [f"{' '.join(chance.choices(WORDS, k=12)).capitalize()}." for _ in range(lines)]


def page(number: int, lines: Sequence[str], domain: str = "a.example") -> Document:
    text = "\n".join(lines)
    row: Document = dict.fromkeys(DOCUMENTS.names)
    return row | {
        "id": hashlib.sha256(text.encode()).hexdigest()[:32],
        "text": text,
        "url": f"http://{domain}/{number}",
        "domain": domain,
        "title": "",
        "characters": len(text),
    }


def site(count: int, domain: str = "a.example", first: int = 0) -> list[Document]:
    """Pages with a menu and a footer."""
    return [page(number, [MENU, *own(number), FOLLOW], domain) for number in range(first, first + count)]


class Runner:
    """Runs stages one partition after the other, in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs: dict[str, StageOutput] = {}

    def __call__(
        self, name: str, work: Work, inputs: Inputs, options: object = None,
        *, cpus: float = 1, expected: int | None = None, workers: int | None = None,
    ) -> StageOutput:  # fmt: skip
        partitions = []
        for partition, sources in inputs.items():
            folder = self.root / name / partition
            folder.mkdir(parents=True)
            notes: dict[str, Any] = {}
            addresses = [source.address for source in sources]
            counts = work(Task(partition, addresses, folder, options, lambda *_: None, notes, ""))
            files = {path.name: (path.stat().st_size, "") for path in folder.iterdir()}
            partitions.append(Partition(partition, str(folder), files, counts, notes, 0, 0.0))
        self.outputs[name] = StageOutput(
            stage=name, partitions=partitions, reused=0, seconds=0, task_seconds=0, bytes_read=0
        )
        return self.outputs[name]


def trimmed(
    root: Path,
    cut: Sequence[Sequence[Document]],
    options: BoilerplateOptions = OPTIONS,
    refine: RefineOptions = REFINE,
    partitions: int = 3,
) -> Runner:
    """Put documents, in these partitions, through the stages."""
    runner = Runner(root)
    sources = []
    for number, documents in enumerate(cut):
        folder = root / "refined" / f"{number:05d}"
        folder.mkdir(parents=True)
        with TableWriter(folder / "documents.parquet", DOCUMENTS) as writer:
            for document in documents:
                writer.write(document)
        size = (folder / "documents.parquet").stat().st_size
        counts = Counts(len(documents), len(documents))
        sources.append(
            Partition(folder.name, str(folder), {"documents.parquet": (size, "")}, counts, {}, 0, 0.0)
        )
    refined = StageOutput(
        stage="refined", partitions=sources, reused=0, seconds=0, task_seconds=0, bytes_read=0
    )
    steps.trim_boilerplate(runner, refined, partitions, refine, options)
    return runner


def rows(runner: Runner, name: str) -> list[Document]:
    found = runner.outputs["trimmed"].files(name)
    return [row for source in found for row in read_rows(source.address)]


def texts(runner: Runner) -> dict[str, str]:
    return {row["url"]: row["text"] for row in rows(runner, "documents.parquet")}


def test_a_sites_boilerplate_goes_although_its_pages_lie_in_different_partitions(tmp_path: Path) -> None:
    pages = site(6)
    runner = trimmed(tmp_path, [pages[:2], pages[2:4], pages[4:]])
    assert texts(runner) == {page["url"]: "\n".join(own(number)) for number, page in enumerate(pages)}
    for row in rows(runner, "documents.parquet"):
        assert row["id"] == hashlib.sha256(row["text"].encode()).hexdigest()[:32]
        assert row["characters"] == len(row["text"])
    assert rows(runner, "taken.parquet") == [
        {"url": page["url"], "beginning": MENU, "end": FOLLOW} for page in pages
    ]
    counted = {(row["edge"], row["paragraph"]): 0 for row in rows(runner, "repeated.parquet")}
    for row in rows(runner, "repeated.parquet"):
        counted[row["edge"], row["paragraph"]] += row["documents"]
    assert counted == {("beginning", MENU): 6, ("end", FOLLOW): 6}
    changed = [partition.notes["changed"] for partition in runner.outputs["trimmed"].partitions]
    taken = len(MENU) + len(FOLLOW) + 2
    assert changed == [{"documents shortened": 2, "characters taken": 2 * taken}] * 3


def test_another_domain_is_another_count(tmp_path: Path) -> None:
    pages = [*site(3, "a.example"), *site(3, "b.example", first=10)]
    assert texts(trimmed(tmp_path, [pages])) == {page["url"]: page["text"] for page in pages}


@pytest.mark.parametrize(
    ("pages_with", "pages_without", "goes"), [(3, 0, False), (4, 12, True), (4, 13, False)]
)
def test_both_the_number_of_pages_and_their_share_must_be_reached(
    tmp_path: Path, pages_with: int, pages_without: int, goes: bool
) -> None:
    pages = [*site(pages_with), *(page(number, own(number)) for number in range(100, 100 + pages_without))]
    left = texts(trimmed(tmp_path, [pages]))
    assert [MENU in left[page["url"]] for page in pages] == [not goes] * pages_with + [False] * pages_without


def test_copies_of_one_page_are_one_page(tmp_path: Path) -> None:
    """However many addresses a text stands at, it is no evidence against its own paragraphs."""
    article = [MENU, *own(1), FOLLOW]
    pages = [page(number, article) for number in range(20)]
    runner = trimmed(tmp_path, [pages[:10], pages[10:]])
    assert set(texts(runner).values()) == {"\n".join(article)}


def test_an_article_at_many_addresses_with_a_line_of_its_own_each_stays_whole(tmp_path: Path) -> None:
    article = own(1, lines=8)
    pages = [page(number, [*article, f"Page {number} of 9 as printed."]) for number in range(9)]
    assert texts(trimmed(tmp_path, [pages])) == {page["url"]: page["text"] for page in pages}


def test_what_stands_in_the_middle_of_pages_is_no_evidence_for_the_end_of_one(tmp_path: Path) -> None:
    middle = "Run the command as follows, and wait for its end."
    pages = [page(number, [*own(number, 3), middle, *own(number + 50, 2)]) for number in range(10)]
    last = page(99, [*own(99), middle])
    left = texts(trimmed(tmp_path, [[*pages, last]]))
    assert left[last["url"]] == last["text"]


def test_what_is_too_short_without_its_boilerplate_is_dropped_for_that(tmp_path: Path) -> None:
    short = page(99, [MENU, "A few words of its own, and no more than these twelve.", FOLLOW])
    options = BoilerplateOptions(min_boilerplate_pages=4, max_trimmed_share=0.9)
    runner = trimmed(tmp_path, [[*site(6), short]], options)
    assert short["url"] not in texts(runner)
    (drop,) = rows(runner, "drops.parquet")
    assert drop == {
        "url": short["url"], "reason": "too short", "detail": "12 words without boilerplate"
    }  # fmt: skip
    output = runner.outputs["trimmed"]
    assert (output.counts.read, output.counts.kept, output.counts.dropped) == (7, 6, {"too short": 1})
    assert sum(partition.notes["changed"]["documents shortened"] for partition in output.partitions) == 6


def contents(root: Path, stage: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / stage).rglob("*.parquet")}


def test_the_same_bytes_whatever_the_order_of_partitions_and_documents(tmp_path: Path) -> None:
    pages = [*site(40), *site(9, "b.example", 100), *site(2, "c.example", 200)]
    chance = random.Random(1)
    lists = []
    for turn in range(3):
        shuffled = chance.sample(pages, len(pages))
        first, second = sorted(chance.sample(range(len(pages)), 2))
        root = tmp_path / str(turn)
        runner = trimmed(root, [shuffled[:first], shuffled[first:second], shuffled[second:]])
        lists.append((contents(root, "at_edges"), sorted(texts(runner).items())))
    assert lists[0] == lists[1] == lists[2]


def test_rows_that_are_too_many_for_memory_give_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [*site(30), *site(9, "b.example", 100)]
    trimmed(tmp_path / "whole", [pages])
    monkeypatch.setattr(steps, "ROWS_A_RUN", 20)
    trimmed(tmp_path / "spilled", [pages])
    for stage in ("near_edges", "at_edges", "trimmed"):
        assert contents(tmp_path / "spilled", stage) == contents(tmp_path / "whole", stage), stage


def test_an_empty_partition_and_an_empty_corpus_are_no_mistake(tmp_path: Path) -> None:
    assert len(texts(trimmed(tmp_path / "some", [[], site(5), []]))) == 5
    assert texts(trimmed(tmp_path / "none", [[]])) == {}
