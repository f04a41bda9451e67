"""Of each cluster one document stays, the right one, however the documents are cut into partitions."""

import datetime
import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dedup import stages as steps
from pipeline.dedup.minhash import DuplicateOptions
from pipeline.runner.records import DOCUMENTS
from pipeline.runner.stages import Counts, Task
from pipeline.runner.tables import TableWriter, read_rows

Document = dict[str, Any]
WORDS = [f"{first}{second}{third}" for first in "bdfgk" for second in "aeiou" for third in "lmnrst"]


def words(chance: random.Random, count: int) -> list[str]:
    return [chance.choice(WORDS) + chance.choice(["", chance.choice(WORDS)]) for _ in range(count)]


def document(url: str, text: str, karma: int = 3, day: int | None = 1) -> Document:
    seen = None if day is None else datetime.datetime(2020, 1, day, tzinfo=datetime.UTC)
    row: Document = dict.fromkeys(DOCUMENTS.names)
    return row | {
        "id": f"{abs(hash(text)):032x}",
        "url": url,
        "text": text,
        "karma": karma,
        "first_seen": seen,
    }


def run(
    folder: Path, work: Any, inputs: Sequence[Path], options: Any, name: str = "00000"
) -> tuple[Counts, Task]:
    folder.mkdir(parents=True)
    task = Task(name, [str(path) for path in inputs], folder, options, lambda _: None, {}, "")
    return work(task), task


def deduplicate(
    root: Path, partitions: Sequence[Sequence[Document]], options: DuplicateOptions
) -> tuple[Counts, Task, dict[str, tuple[str, str]]]:
    """Sign, match and find, as the recipe does; return what is printed of each document that goes."""
    root.mkdir(exist_ok=True)
    signed = []
    for number, documents in enumerate(partitions):
        path = root / f"documents-{number}.parquet"
        with TableWriter(path, DOCUMENTS) as writer:
            for row in documents:
                writer.write(row)
        signed.append(root / "signatures" / str(number))
        run(signed[-1], steps.sign_documents, [path], options)
    matches = []
    for number in steps.band_tasks(options):
        names = ("digests.npy", "sketches.npy", steps.bands_file(number))
        matches.append(root / "matches" / str(number) / "matches.npy")
        run(
            matches[-1].parent,
            steps.match_documents,
            [part / name for part in signed for name in names],
            options,
        )
    keys = [part / name for part in signed for name in ("keys.parquet", "sketches.npy")]
    counts, task = run(root / "duplicates", steps.find_duplicates, [*matches, *keys], options)
    printed = {}
    for number, documents in enumerate(partitions):
        for row in read_rows(str(root / "duplicates" / steps.copies_file(number))):
            assert row["url"] in {document["url"] for document in documents}
            printed[row["url"]] = (row["reason"], row["detail"])
    return counts, task, printed


def survivors(partitions: Sequence[Sequence[Document]], printed: dict[str, tuple[str, str]]) -> set[str]:
    return {row["url"] for part in partitions for row in part} - printed.keys()


def edited(chance: random.Random, text: list[str], edits: int) -> list[str]:
    """The text with words replaced, left out or put in."""
    text = list(text)
    for _ in range(edits):
        place = chance.randrange(len(text))
        text[place : place + chance.randrange(2)] = words(chance, chance.randrange(2))
    return text


def jaccard(one: list[str], other: list[str]) -> float:
    sets = [{tuple(text[start : start + 5]) for start in range(len(text) - 4)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.slow
def test_planted_near_duplicates_are_found_and_others_are_not(tmp_path: Path) -> None:
    chance = random.Random(1)
    documents, planted = [], {}
    for number in range(1_200):
        text = words(chance, chance.choice([100, 300, 900]))
        other = edited(chance, text, chance.randrange(1, len(text) // 8))
        if number % 5 == 0:  # or a paragraph more
            other = text + words(chance, chance.randrange(len(text)))
        documents += [
            document(f"http://a/{number}", " ".join(text)),
            document(f"http://b/{number}", " ".join(other)),
        ]
        planted[f"http://b/{number}"] = jaccard(text, other)
    _, _, printed = deduplicate(tmp_path, [documents], DuplicateOptions())
    alike = [url in printed for url, similarity in planted.items() if similarity >= 0.85]
    unlike = [url in printed for url, similarity in planted.items() if similarity <= 0.6]
    assert len(alike) > 200 and len(unlike) > 200
    assert sum(alike) >= 0.98 * len(alike)
    assert sum(unlike) <= 0.005 * len(unlike)
    assert all(printed[url][1].startswith(f"of {url.replace('//b', '//a')}") for url in printed)


@pytest.mark.parametrize(("threshold", "stay"), [(0.3, {"a"}), (0.8, {"a", "c"}), (1.0, {"a", "b", "c"})])
def test_any_threshold_may_be_asked_for(tmp_path: Path, threshold: float, stay: set[str]) -> None:
    chance = random.Random(2)
    text = words(chance, 600)
    near, far = [*text[:580], *words(chance, 20)], [*text[:400], *words(chance, 200)]
    assert jaccard(text, near) > 0.9 and 0.4 < jaccard(text, far) < 0.6
    documents = [document(url, " ".join(some)) for url, some in (("a", text), ("b", near), ("c", far))]
    copy = document("d", " ".join(text).upper() + "!")
    _, _, printed = deduplicate(tmp_path, [[*documents, copy]], DuplicateOptions(similarity=threshold))
    assert survivors([documents], printed) == stay
    assert printed["d"] == ("exact duplicate", "of a")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"url": "z", "karma": 9, "day": 3}, {"url": "a", "karma": 8, "day": 1}),
        ({"url": "z", "karma": 9, "day": 1}, {"url": "a", "karma": 9, "day": 2}),
        ({"url": "z", "karma": 9, "day": 1}, {"url": "a", "karma": 9, "day": None}),
        ({"url": "a", "karma": 9, "day": 1}, {"url": "z", "karma": 9, "day": 1}),
    ],
)
@pytest.mark.parametrize("is_exact", [True, False])
def test_karma_then_age_then_address_decide_who_stays(
    tmp_path: Path, better: Document, worse: Document, is_exact: bool
) -> None:
    text = words(random.Random(3), 200)
    other = text if is_exact else [*text[:-1], "another"]
    documents = [document(text=" ".join(other), **worse), document(text=" ".join(text), **better)]
    counts, task, printed = deduplicate(tmp_path, [documents], DuplicateOptions())
    reason = "exact duplicate" if is_exact else "near duplicate"
    assert [(url, why) for url, (why, _) in printed.items()] == [(worse["url"], reason)]
    assert printed[worse["url"]][1].split(",")[0] == f"of {better['url']}"
    assert (counts.read, counts.kept, counts.dropped) == (2, 1, {reason: 1})
    assert task.notes["cluster_sizes"] == {"2": 1}
    assert task.notes["smallest_ids"] == [documents[1]["id"]]
    assert (task.notes["bands"]["bands"], task.notes["bands"]["rows"]) == (21, 6)


def corpus() -> list[Document]:
    """Singles, exact copies, near copies, and chains of them, of varied karma and age."""
    chance = random.Random(4)
    documents = []
    for family in range(12):
        text = words(chance, 150)
        for member in range(1 + family % 5):
            text = edited(chance, text, chance.randrange(3))
            place = f"http://h{chance.randrange(10**6)}/{family}-{member}"
            documents.append(document(place, " ".join(text), chance.randrange(3, 6), chance.randrange(1, 9)))
    return documents


@pytest.mark.slow
@given(st.permutations(range(len(corpus()))), st.lists(st.integers(0, len(corpus())), max_size=4))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_survivors_depend_on_neither_order_nor_partitions(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int]
) -> None:
    documents = corpus()
    straight = deduplicate(tmp_path_factory.mktemp("straight"), [documents], DuplicateOptions())
    assert len(straight[2]) > 8
    bounds = [0, *sorted(cuts), len(documents)]
    shuffled = [documents[number] for number in order]
    parts = [shuffled[first:last] for first, last in itertools.pairwise(bounds)]
    other = deduplicate(tmp_path_factory.mktemp("other"), parts, DuplicateOptions())
    assert other[2] == straight[2]
    assert other[0] == straight[0]
    assert other[1].notes == straight[1].notes


def test_signatures_may_lie_on_an_object_store(tmp_path: Path) -> None:
    documents = corpus()
    counts, _, printed = deduplicate(tmp_path / "local", [documents[:9], documents[9:]], DuplicateOptions())
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/local/", "/store/", recursive=True)

    def stored(paths: Iterable[Path]) -> list[Any]:
        return [f"memory://store/{path.relative_to(tmp_path / 'local')}" for path in paths]

    signed = [tmp_path / "local" / "signatures" / name for name in "01"]
    names = ("digests.npy", "sketches.npy", steps.bands_file(0))
    inputs = stored(part / name for part in signed for name in names)
    run(tmp_path / "matched", steps.match_documents, inputs, DuplicateOptions())
    local = tmp_path / "local" / "matches" / "0" / "matches.npy"
    assert (tmp_path / "matched" / "matches.npy").read_bytes() == local.read_bytes()
    inputs = stored((tmp_path / "local" / "matches").glob("*/matches.npy"))
    inputs += stored(part / name for part in signed for name in ("keys.parquet", "sketches.npy"))
    found, _ = run(tmp_path / "found", steps.find_duplicates, inputs, DuplicateOptions())
    rows = [
        row for number in (0, 1) for row in read_rows(str(tmp_path / "found" / steps.copies_file(number)))
    ]
    assert found == counts
    assert {row["url"]: (row["reason"], row["detail"]) for row in rows} == printed


def test_cluster_sizes_are_told_exactly_up_to_nine_and_then_by_steps(tmp_path: Path) -> None:
    documents = [
        document(f"{family}-{member}", f"text number {family} of some")
        for family, size in enumerate([1, 1, 2, 2, 3, 9, 10, 19, 20, 49, 120])
        for member in range(size)
    ]
    _, task, _ = deduplicate(tmp_path, [documents], DuplicateOptions())
    assert task.notes["cluster_sizes"] == {"2": 2, "3": 1, "9": 1, "10": 2, "20": 2, "100": 1}


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    counts, task, printed = deduplicate(tmp_path, [[], []], DuplicateOptions())
    assert (counts.read, printed, task.notes["smallest_ids"]) == (0, {}, [])
