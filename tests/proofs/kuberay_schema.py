"""Check launch/cluster/kuberay.yaml against KubeRay's schema, in which unknown fields count as mistakes.

    kubectl get crd rayjobs.ray.io -o yaml > rayjobs.yaml     # or the file of KubeRay's release
    python tests/proofs/kuberay_schema.py rayjobs.yaml

Kubernetes drops fields that it does not know without a word: an older KubeRay starts a cluster without
`authOptions`, which takes commands from anyone who reaches it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

JOB = Path(__file__).resolve().parents[2] / "launch" / "cluster" / "kuberay.yaml"


def main() -> None:
    """Parse the command line and check the file; exit with what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("schema", type=Path, help="the custom resource definition rayjobs.ray.io")
    wrong = mistakes(yaml.safe_load(parser.parse_args().schema.read_text()), yaml.safe_load(JOB.read_text()))
    for mistake in wrong:
        print(mistake)
    print(f"{JOB.name}: {len(wrong)} mistakes")
    sys.exit(1 if wrong else 0)


def mistakes(definition: dict[str, Any], job: dict[str, Any]) -> list[str]:
    """Say where a resource departs from its definition."""
    group, _, version = job["apiVersion"].partition("/")
    assert (group, job["kind"]) == (definition["spec"]["group"], definition["spec"]["names"]["kind"])
    (found,) = (known for known in definition["spec"]["versions"] if known["name"] == version)
    schema = found["schema"]["openAPIV3Schema"]
    _make_strict(schema)
    schema["properties"]["metadata"] = {"type": "object"}  # which Kubernetes defines
    errors = jsonschema.Draft7Validator(schema).iter_errors(job)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _make_strict(schema: Any) -> None:
    """Allow no fields but those named, and say in JSON Schema's way what Kubernetes says in its own."""
    if isinstance(schema, list):
        for part in schema:
            _make_strict(part)
    if isinstance(schema, dict):
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _make_strict(part)


if __name__ == "__main__":
    main()
