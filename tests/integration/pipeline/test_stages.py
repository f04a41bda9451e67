"""A partition counts once its marker is there; resume redoes what changed and nothing else."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.runner.executor import StageError, run_stage
from pipeline.runner.stages import Counts, InputFile, Stage, StageOutput, Task, Work, output_version
from pipeline.runner.summary import summary_json, summary_table


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the stage under test."""

    shout: bool = False


def copy_words(task: Task) -> Counts:
    """Copy a file's words a line each; drop the empty lines; leave a trace of having run."""
    lines = [line for address in task.inputs for line in Path(address).read_text().splitlines()]
    kept = [line.upper() if task.options.shout else line for line in lines if line]
    task.progress(len(lines))
    (task.folder / "words.txt").write_text("\n".join(kept))
    trace = Path(task.inputs[0]).parent / "trace.txt"
    with trace.open("a") as file:
        file.write(f"{task.folder.name}\n")
    return Counts(len(lines), len(kept), {"empty": len(lines) - len(kept)})


@output_version(2, "numpy")
def copy_words_better(task: Task) -> Counts:
    """Another version of the same work."""
    return copy_words(task)


def die_once(task: Task) -> Counts:
    """Take the worker down at the first attempt, as a lost node would."""
    sign = Path(task.inputs[0]).parent / "died.txt"
    if not sign.exists():
        sign.write_text("once")
        os.kill(os.getpid(), signal.SIGKILL)
    return copy_words(task)


def refuse(task: Task) -> Counts:
    """Fail for good on one input."""
    if "bad" in Path(task.inputs[0]).read_text():
        raise ValueError("cannot stand bad words")
    return copy_words(task)


def die_always(task: Task) -> Counts:
    """Take the worker down, as the system does when memory runs out."""
    with (Path(task.inputs[0]).parent / "deaths.txt").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def run_out_of_memory(task: Task) -> Counts:
    """Ask for more than there is."""
    raise MemoryError


def fill_the_disk(task: Task) -> Counts:
    """Write to a device that is full."""
    if "bad" in Path(task.inputs[0]).read_text():
        (task.folder / "words.txt").symlink_to("/dev/full")
    return copy_words(task)


def run(folder: Path, stage: Stage, texts: dict[str, str]) -> StageOutput:
    inputs = {}
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        inputs[name] = [InputFile.of(str(path))]
    return run_stage(stage, inputs, str(folder / "out"))


def words(output: StageOutput) -> list[str]:
    return [Path(source.address).read_text() for source in output.files("words.txt")]


def runs(folder: Path) -> int:
    return len((folder / "trace.txt").read_text().splitlines())


def object_store_bytes() -> int:
    """What Ray has put into its object store since it started."""
    import ray
    from ray._private.internal_api import node_stats

    node = ray.nodes()[0]
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False)
    return int(stats.store_stats.cumulative_created_bytes)


STAGE = Stage(name="copy", work=copy_words, options=Options())


@pytest.mark.usefixtures("ray")
class TestOnRay:
    """All with a real Ray."""

    def test_counts_and_files_come_back_in_the_order_of_the_inputs(self, tmp_path: Path) -> None:
        output = run(tmp_path, STAGE, {"b": "one\n\ntwo", "a": "three"})
        assert words(output) == ["one\ntwo", "three"]
        assert output.counts == Counts(4, 3, {"empty": 1})
        assert output.reused == 0

    def test_relative_addresses_work_on_workers_in_other_folders(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("a.txt").write_text("one")
        output = run_stage(STAGE, {"a": [InputFile.of("a.txt")]}, "out")
        assert words(output) == ["one"]

    def test_second_run_does_no_work(self, tmp_path: Path) -> None:
        run(tmp_path, STAGE, {"a": "one", "b": "two"})
        output = run(tmp_path, STAGE, {"a": "one", "b": "two"})
        assert output.reused == 2
        assert runs(tmp_path) == 2

    def test_changed_input_redoes_its_partition_alone(self, tmp_path: Path) -> None:
        run(tmp_path, STAGE, {"a": "one", "b": "two"})
        output = run(tmp_path, STAGE, {"a": "one", "b": "three"})
        assert words(output) == ["one", "three"]
        assert runs(tmp_path) == 3

    def test_changed_options_redo_every_partition(self, tmp_path: Path) -> None:
        run(tmp_path, STAGE, {"a": "one", "b": "two"})
        loud = Stage(name="copy", work=copy_words, options=Options(shout=True))
        assert words(run(tmp_path, loud, {"a": "one", "b": "two"})) == ["ONE", "TWO"]

    def test_another_output_version_redoes_every_partition(self, tmp_path: Path) -> None:
        first = Stage(name="copy", work=copy_words, options=Options())
        second = Stage(name="copy", work=copy_words_better, options=Options())
        run(tmp_path, first, {"a": "one"})
        assert run(tmp_path, second, {"a": "one"}).reused == 0
        assert run(tmp_path, second, {"a": "one"}).reused == 1

    def test_another_release_of_a_package_that_decides_the_output_redoes_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage = Stage(name="copy", work=copy_words_better, options=Options())
        run(tmp_path, stage, {"a": "one"})
        monkeypatch.setattr("pipeline.runner.stages.version", lambda package: f"{package}, the next release")
        assert run(tmp_path, stage, {"a": "one"}).reused == 0

    def test_partition_whose_file_was_cut_is_redone(self, tmp_path: Path) -> None:
        output = run(tmp_path, STAGE, {"a": "one", "b": "two"})
        Path(output.files("words.txt")[0].address).write_text("o")
        assert words(run(tmp_path, STAGE, {"a": "one", "b": "two"})) == ["one", "two"]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text[:20],
            lambda text: "[]",
            lambda text: "null",
            lambda text: json.dumps({"fingerprint": json.loads(text)["fingerprint"]}),
            lambda text: json.dumps(json.loads(text) | {"files": [1]}),
        ],
        ids=["cut", "a list", "null", "without files", "other files"],
    )
    def test_partition_whose_marker_is_damaged_is_redone(
        self, tmp_path: Path, damage: Callable[[str], str]
    ) -> None:
        run(tmp_path, STAGE, {"a": "one"})
        marker = tmp_path / "out" / "copy" / "a.json"
        marker.write_text(damage(marker.read_text()))
        assert run(tmp_path, STAGE, {"a": "one"}).reused == 0
        assert json.loads(marker.read_text())["kept"] == 1

    def test_partition_that_the_stage_no_longer_has_is_removed(self, tmp_path: Path) -> None:
        run(tmp_path, STAGE, {"a": "one", "b": "two"})
        run(tmp_path, STAGE, {"a": "one"})
        assert sorted(path.name for path in (tmp_path / "out" / "copy").iterdir()) == ["a", "a.json"]

    def test_lost_worker_is_replaced(self, tmp_path: Path) -> None:
        stage = Stage(name="copy", work=die_once, options=Options())
        assert words(run(tmp_path, stage, {"a": "one"})) == ["one"]
        assert (tmp_path / "died.txt").exists()

    def test_failing_partition_is_named_with_its_cause_and_the_others_stay(self, tmp_path: Path) -> None:
        stage = Stage(name="copy", work=refuse, options=Options())
        texts = {"a": "one", "b": "bad", "c": "two"}
        with pytest.raises(StageError, match=r"stage copy, partition b .*b\.txt.*cannot stand bad words"):
            run(tmp_path, stage, texts)
        folder = tmp_path / "out" / "copy"
        assert "cannot stand bad words" in (folder / "b.error.txt").read_text()
        assert not (folder / "b").exists()
        assert (folder / "a.json").exists()
        assert run(tmp_path, stage, texts | {"b": "good"}).reused >= 1
        assert not (folder / "b.error.txt").exists()

    @pytest.mark.parametrize(
        ("work", "cause"),
        [
            (die_always, "its worker died 4 times; was memory short"),
            (run_out_of_memory, "MemoryError.*: was memory short"),
        ],
    )
    def test_partition_that_takes_too_much_memory_is_named(
        self, tmp_path: Path, work: Work, cause: str
    ) -> None:
        with pytest.raises(StageError, match=f"stage copy, partition a .*{cause}"):
            run(tmp_path, Stage(name="copy", work=work, options=Options()), {"a": "one"})
        assert not (tmp_path / "out" / "copy" / "a").exists()
        assert not (tmp_path / "out" / "copy" / "a.json").exists()

    def test_full_disk_stops_the_run_and_leaves_no_half_partition(self, tmp_path: Path) -> None:
        stage = Stage(name="copy", work=fill_the_disk, options=Options())
        run(tmp_path, stage, {"a": "one"})
        with pytest.raises(StageError, match=r"stage copy, partition b .*No space left on device"):
            run(tmp_path, stage, {"a": "one", "b": "bad"})
        folder = tmp_path / "out" / "copy"
        assert sorted(path.name for path in folder.iterdir()) == ["a", "a.json", "b.error.txt"]

    def test_documents_never_pass_through_the_object_store(self, tmp_path: Path) -> None:
        before = object_store_bytes()
        big = "many words\n" * 500_000
        run(tmp_path, STAGE, {"a": big, "b": big})
        assert object_store_bytes() - before < len(big) / 100

    def test_cost_of_a_run_is_told_by_stage(self, tmp_path: Path) -> None:
        run(tmp_path, STAGE, {"a": "one"})
        output = run(tmp_path, STAGE, {"a": "one", "b": "two\n\n"})
        (printed,) = summary_json([output])
        assert printed["seconds"] >= printed["task_seconds"] > 0
        assert (printed["partitions"], printed["reused"], printed["bytes_read"]) == (2, 1, 5)
        assert (printed["read"], printed["kept"], printed["dropped"]) == (3, 2, {"empty": 1})
        assert summary_table([output]).splitlines()[1].split()[:6] == ["copy", "2", "1", "3", "2", "1"]
        again = run(tmp_path, STAGE, {"a": "one", "b": "two\n\n"})
        assert summary_table([again]).splitlines()[1].split() == ["copy", "2", "2", "3", "2", "1"]


def test_killed_run_leaves_no_half_partition_and_goes_on(tmp_path: Path) -> None:
    """`kill -9` of everything while tasks run, then the same command again."""
    module = tmp_path / "slow_stage.py"
    module.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from pipeline.runner.executor import run_stage
        from pipeline.runner.stages import Counts, InputFile, Stage

        def work(task):
            text = Path(task.inputs[0]).read_text()
            (task.folder / "half.txt").write_text(text)
            (Path(task.inputs[0]).parent / f"started-{text}").touch()
            if text == "2" and (Path(task.inputs[0]).parent / "block").exists():
                time.sleep(600)
            (task.folder / "other.txt").write_text(text)
            return Counts(1, 1)

        if __name__ == "__main__":
            folder = Path(sys.argv[1])
            from slow_stage import work
            inputs = {str(n): [InputFile.of(str(folder / f"{n}.txt"))] for n in range(3)}
            output = run_stage(Stage(name="slow", work=work), inputs, str(folder / "out"), workers=1)
            print("reused", output.reused)
        """)
    )
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(str(number))
    (tmp_path / "block").touch()
    command = [sys.executable, str(module), str(tmp_path)]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    first = subprocess.Popen(
        command, start_new_session=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started-2").exists():
        assert time.monotonic() < deadline, "the second task never started"
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    folder = tmp_path / "out" / "slow"
    assert sorted(path.name for path in folder.glob("*.json")) == ["0.json", "1.json"]
    assert not (folder / "2").exists()
    (tmp_path / "block").unlink()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "reused 2" in second.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["0", "0.json", "1", "1.json", "2", "2.json"]
    assert sorted(path.name for path in (folder / "2").iterdir()) == ["half.txt", "other.txt"]


def test_fewer_than_one_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers must be 1 or more, not 0"):
        run_stage(STAGE, {}, str(tmp_path), workers=0)


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(AssertionError, match="lost"):
        Counts(3, 1, {"empty": 1})
