"""A stage on a Ray cluster of two nodes, of which one is lost in the middle."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from made_web import all_files

PROGRAM = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import ray
    from ray.cluster_utils import Cluster
    from pipeline.runner.executor import run_stage
    from pipeline.runner.stages import Counts, InputFile, Stage

    folder = Path(sys.argv[1])

    def work(task):
        import os, time
        from pathlib import Path
        import ray
        here = ray.get_runtime_context().get_node_id()
        name = Path(task.inputs[0]).name
        folder = Path(task.inputs[0]).parent
        (folder / f"ran-{name}-{here}").touch()
        # Tasks on the second node wait there until it is lost, tasks on the first until that has happened.
        lost = folder / ("never" if here == (folder / "second").read_text() else "lost")
        deadline = time.monotonic() + 60
        while not lost.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        (task.folder / "out.txt").write_text(name)
        return Counts(1, 1)

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    cluster.wait_for_nodes()
    (folder / "second").write_text(second.node_id)

    import threading
    def lose():
        while not list(folder.glob(f"ran-*-{second.node_id}")):
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        (folder / "lost").touch()
    threading.Thread(target=lose, daemon=True).start()

    inputs = {str(n): [InputFile.of(str(folder / f"{n}.txt"))] for n in range(6)}
    output = run_stage(Stage(name="stage", work=work), inputs, str(folder / "out"))
    print([Path(source.address).read_text() for source in output.files("out.txt")])
    ray.shutdown()
    cluster.shutdown()
""")


def test_stage_outlives_the_loss_of_a_node(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").touch()
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "lost").exists()
    assert str([f"{number}.txt" for number in range(6)]) in result.stdout
    second = (tmp_path / "second").read_text()
    retried = [path for path in tmp_path.glob("ran-*") if path.name.endswith(second)]
    assert retried, f"nothing ran on the lost node within {time.monotonic() - started:.0f} s"
    for path in retried:
        name = path.name.removeprefix("ran-").removesuffix(f"-{second}")
        assert len(list(tmp_path.glob(f"ran-{name}-*"))) == 2, "the lost task was not run again elsewhere"
    left = [path.name for path in (tmp_path / "out" / "stage").iterdir() if path.name.startswith(".")]
    assert left == [], "the lost attempt left something behind"


BUILD = textwrap.dedent("""
    import sys, threading, time
    from pathlib import Path
    import ray
    from ray.cluster_utils import Cluster
    from pipeline.build_webtext import Options, main

    web, output = Path(sys.argv[1]), Path(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    cluster.wait_for_nodes()

    def lose():
        while not list(output.glob("documents/.*.partial")):  # pages are being extracted
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        print("lost a node before the end:", not (output / "corpus").exists())
    thread = threading.Thread(target=lose, daemon=True)
    thread.start()

    dumps, archives = (f"{web}/RS_*.zst",), (f"{web}/pages-*.warc.gz",)
    main(Options(submissions=dumps, warcs=archives, partitions=6, output=str(output)))
    ray.shutdown()
    cluster.shutdown()
""")


@pytest.mark.slow
def test_build_on_a_cluster_that_loses_a_node_gives_the_same_bytes(
    built_in_six: dict[str, bytes], web_files: Path, tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BUILD, str(web_files), str(tmp_path)],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert result.returncode == 0, result.stderr
    assert "lost a node before the end: True" in result.stdout
    assert all_files(tmp_path / "corpus") == built_in_six
