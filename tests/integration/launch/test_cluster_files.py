"""What lies in `launch/cluster/` is what its readers take."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml
from kuberay_schema import mistakes

from pipeline.build_webtext import Options

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "launch" / "cluster"
ASKED = [
    "--submissions",
    "s3://bucket/RS_*.zst",
    "--output",
    "s3://bucket/webtext",
    "--contact",
    "a@example.org",
]


def parsed(words: list[str]) -> Options:
    return tyro.cli(Options, args=words, config=(tyro.conf.OmitArgPrefixes,))


def test_ray_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTER / "ray.yaml").read_text()))
    validate_config(config)
    assert config["max_workers"] == 2


def test_ray_submit_passes_the_options_on_and_the_script_finds_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray submit` copies the script into the head's home and runs it there; the packages are installed."""
    from click.testing import CliRunner
    from ray.scripts import scripts

    ran: list[str] = []
    monkeypatch.setattr(scripts, "rsync", lambda *a, **k: None)
    monkeypatch.setattr(scripts, "exec_cluster", lambda *a, cmd, **k: ran.append(cmd))
    given = [str(CLUSTER / "ray.yaml"), str(ROOT / "pipeline" / "build_webtext.py"), "--", *ASKED]
    result = CliRunner().invoke(scripts.submit, given)
    assert result.exit_code == 0, result.output
    (command,) = ran
    assert command.startswith("python ~/build_webtext.py ")
    assert parsed(shlex.split(command)[2:]) == parsed(ASKED)

    shutil.copy(ROOT / "pipeline" / "build_webtext.py", tmp_path)
    environment: dict[str, Any] = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    python = shlex.quote(sys.executable)
    printed = subprocess.run(
        f"{python} ~/build_webtext.py --output {tmp_path}/out",
        shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert printed.stderr.startswith("error: give --submissions"), printed.stderr


def test_a_field_that_kuberay_does_not_know_is_a_mistake() -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    cluster = {name: {"type": "object"} for name in job["spec"]["rayClusterSpec"] if name != "authOptions"}
    cluster |= {"rayVersion": {"type": "string"}, "enableInTreeAutoscaling": {"type": "boolean"}}
    cluster["workerGroupSpecs"] = {"type": "array"}
    fields = {name: {"x-kubernetes-int-or-string": True, "type": "object"} for name in job["spec"]}
    fields["rayClusterSpec"] = {"type": "object", "properties": cluster}
    whole = {name: {"type": "string"} for name in ("apiVersion", "kind")}
    whole |= {"metadata": {"type": "object"}, "spec": {"type": "object", "properties": fields}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": whole}}}
    spec = {"group": "ray.io", "names": {"kind": "RayJob"}, "versions": [{"name": "v1alpha1"}, version]}
    (mistake,) = mistakes({"spec": spec}, job)
    assert mistake.startswith("$.spec.rayClusterSpec: ") and "authOptions" in mistake
    cluster["authOptions"] = {"type": "object"}
    assert not mistakes({"spec": spec}, job)


def test_kubernetes_job_asks_for_what_the_command_takes() -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    python, script, *words = shlex.split(job["spec"]["entrypoint"])
    assert (python, script) == ("python", "/outbound/pipeline/build_webtext.py")
    assert parsed(words).partitions == 256
    cluster = job["spec"]["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
