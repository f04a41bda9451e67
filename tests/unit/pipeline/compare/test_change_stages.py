"""Two builds brought together by address: however many buckets there are, and however little is held."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.compare import change_stages as steps
from pipeline.compare.changes import Changes, add_up
from pipeline.compare.sides import Build
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
    return folder


def opened(folder: Path) -> Build:
    return Build(folder=str(folder), corpus=str(folder / "corpus"), options={}, steps=STEPS)


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
    files = steps.build_files(*map(opened, builds), buckets=buckets)

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


def copied(build: Path, times: int) -> Path:
    """Give each file of a build so many more."""
    for path in [*build.rglob("*.parquet")]:
        for number in range(1, times + 1):
            name = f"{number}-{path.name}" if "links" not in path.parts else f"../{number:05d}/{path.name}"
            (path.parent / name).parent.mkdir(exist_ok=True)
            (path.parent / name).write_bytes(path.read_bytes())
    return build


def test_what_travels_with_every_task_grows_with_no_file(builds: tuple[Path, Path]) -> None:
    few = steps.build_files(*map(opened, builds), buckets=1)
    many = steps.build_files(*(opened(copied(build, 20)) for build in builds), buckets=1)
    assert len(many.inputs) == 21 * len(few.inputs)
    assert many.options == few.options
    assert len(json.dumps(dataclasses.asdict(few.options))) < 600


def test_a_tasks_name_says_side_and_stage(builds: tuple[Path, Path]) -> None:
    newer, earlier = builds
    files = steps.build_files(opened(newer), opened(earlier), buckets=1)
    folders = {
        "corpus/train": steps.OF_CORPUS,
        "links/00000": steps.OF_LINKS,
        **{f"corpus/drops/stage={stage}": stage for stage in ("submissions", "links", "pages_2", "split")},
    }
    orders = {"submissions": 0, "links": 1, "pages_2": 2, "split": 5}
    found = set()
    for name, (source,) in files.inputs.items():
        side, origin = files.options.of_task(name)
        assert Path(source.address).is_relative_to(builds[side])
        assert folders[str(Path(source.address).parent.relative_to(builds[side]))] == origin.stage
        assert origin.order == orders.get(origin.stage, 2)
        found.add((side, origin.stage))
    assert len(found) == len(files.inputs) == 6 + 2


def test_a_hundred_stages_have_a_hundred_names() -> None:
    origins = [steps.Origin(stage=f"s-{number}", order=number) for number in range(101)]
    options = steps.ScatterOptions(buckets=1, origins=(origins[:1], origins))
    assert options.of_task(steps.task_name(1, 100, "a-1.parquet")) == (1, origins[100])
    assert options.of_task(steps.task_name(1, 1, "00-1.parquet")) == (1, origins[1])
    assert options.of_task(steps.task_name(0, 0, "b01-1.parquet")) == (0, origins[0])


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        ("corpus/train/part-00000", {"url": [["x"]], "id": ["1"], "title": [""], "characters": [1]}, "url"),
        ("corpus/train/part-00000", {"url": [None], "id": ["1"], "title": [""], "characters": [1]}, "url"),
        ("corpus/train/part-00000", {"url": ["u"], "id": ["1"], "title": [""], "characters": ["x"]}, "'x'"),
        ("corpus/train/part-00000", {"url": ["u"]}, "no column characters, id, title"),
        (
            "corpus/drops/stage=links/part-00000",
            {"url": ["u"], "reason": [{"a": 1}], "detail": [""]},
            "reason",
        ),
        ("corpus/drops/stage=links/part-00000", {"url": ["u"], "reason": ["r"], "detail": [None]}, "detail"),
        ("links/00000/links", {"url": pa.nulls(1)}, "url"),
    ],
)
def test_a_file_of_a_build_with_other_values_is_one_plain_error(
    builds: tuple[Path, Path], tmp_path: Path, file: str, columns: dict[str, Any], message: str
) -> None:
    path = builds[0] / f"{file}.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=rf"cannot read .*{path.name}: .*{message}"):
        changes(builds, tmp_path / "out", 1)
