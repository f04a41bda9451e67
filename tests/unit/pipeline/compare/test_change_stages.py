"""Two builds brought together by address: however many buckets there are, and however little is held."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.compare import change_stages as steps
from pipeline.compare.changes import Changes, add_up
from pipeline.compare.stages import RESULT
from pipeline.runner.records import DROPS
from pipeline.runner.stages import Task

STEPS = ["submissions", "links", "pages", "documents", "refined", "split"]
Row = dict[str, Any]


def document(number: int, text: str = "", host: str = "a.org") -> Row:
    name = text or f"{number:032x}"
    return {"id": name, "url": f"http://{host}/{number}", "title": f"t{number}", "characters": len(name)}


def write_build(
    folder: Path, documents: list[Row], drops: dict[str, list[Row]], links: Sequence[str]
) -> Path:
    files: dict[str, pa.Table] = {"corpus/train/part-00000": pa.Table.from_pylist(documents)}
    for stage, rows in drops.items():
        files[f"corpus/drops/stage={stage}/part-00000"] = pa.Table.from_pylist(rows, schema=DROPS)
    files["links/00000/links"] = pa.table({"url": pa.array(links, pa.string())})
    for name, table in files.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    (folder / "corpus" / "funnel.json").write_text(json.dumps({"steps": [{"step": step} for step in STEPS]}))
    return folder


def drop(url: str, reason: str, detail: str = "") -> Row:
    return {"url": url, "reason": reason, "detail": detail}


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Path, Path]:
    """A newer build and an earlier one, of 60 addresses each or fewer."""
    now = [document(number) for number in range(40)]
    now[7] = document(7, "another text")
    now += [document(100, "text under two addresses"), document(101, host="new.org")]
    before = [document(number) for number in range(60)] + [document(200, "text under two addresses")]
    gone = [f"https://a.org/{number}" for number in range(40, 60)]  # by another scheme than the documents
    drops = {
        "submissions": [drop("HTTP://A.org:80/40#x", "media host"), drop("http://x.org/", "self post")],
        "links": [drop(url, "low karma", "4") for url in gone[1:5]] + [drop(gone[9], "duplicate link")],
        "pages_2": [drop(url, "not found") for url in gone[5:8]] + [drop(gone[1], "not found")],
        "split": [drop("http://a.org/200", "near duplicate", "of http://a.org/100, similarity 0.9")],
    }
    newer = write_build(tmp_path / "now", now, drops, [f"http://a.org/{n}" for n in (*range(40), 48, 49)])
    return newer, write_build(tmp_path / "before", before, {}, [row["url"] for row in before])


def changes(builds: tuple[Path, Path], folder: Path, buckets: int) -> Changes:
    folder.mkdir()
    files = steps.build_files([str(build / "corpus") for build in builds], list(map(str, builds)), buckets)

    def run(work: Any, name: str, inputs: Sequence[str], options: Any) -> Path:
        place = folder / f"{work.__name__}-{name}"
        place.mkdir()
        work(Task(name, inputs, place, options, lambda *_: None, {}, ""))
        return place

    def of(places: list[Path], kind: str, bucket: int) -> list[str]:
        paths = [place / steps.bucket_name(kind, bucket) for place in places]
        return [str(path) for path in paths if path.exists()]

    scattered = [
        run(steps.scatter_build, name, [source.address for source in sources], files.options)
        for name, sources in files.inputs.items()
    ]
    moved = [
        run(steps.find_moved, str(bucket), of(scattered, "ids", bucket), files.options)
        for bucket in range(buckets)
    ]
    options = steps.JudgeOptions(knows_links=files.knows_links)
    parts = []
    for bucket in range(buckets):
        inputs = [*of(scattered, "documents", bucket), *of(scattered, "fates", bucket)]
        place = run(steps.judge_changes, str(bucket), [*inputs, *of(moved, "moved", bucket)], options)
        parts.append(json.loads((place / RESULT).read_text()))
    return add_up(parts)


def test_every_document_has_the_reason_of_the_last_step(builds: tuple[Path, Path], tmp_path: Path) -> None:
    found = changes(builds, tmp_path / "one", 1)
    assert (found.same, found.changed) == (39, 1)
    assert {(rule.stage, rule.reason): rule.count for rule in found.went} == {
        ("submissions", "media host"): 1,
        ("links", "low karma"): 3,
        ("pages_2", "not found"): 4,
        ("split", "near duplicate"): 1,
        ("", "not among the links"): 10,
        ("", "no reason recorded"): 2,  # 48 and 49 are links of the newer build
    }
    assert sum(rule.count for rule in found.went) + found.same + found.changed == 61
    assert [(rule.stage, rule.reason, rule.count) for rule in found.came] == [("", "not among the links", 2)]
    assert (found.moved, found.moved_away) == (1, 1)
    (copy,) = next(rule for rule in found.went if rule.reason == "near duplicate").samples
    assert (copy["moved"], copy["detail"]) == ("http://a.org/100", "of http://a.org/100, similarity 0.9")


def test_buckets_and_rows_held_change_nothing(
    builds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = changes(builds, tmp_path / "one", 1)
    monkeypatch.setattr(steps, "ROWS_HELD", 3)
    for buckets in (1, 2, 7):
        assert changes(builds, tmp_path / f"{buckets}", buckets) == expected
