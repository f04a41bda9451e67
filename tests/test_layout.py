"""Where the tests of a module are found: `tests/unit/` has the packages' folders and their modules' names."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"
PACKAGES = ["pipeline", "tokenizer", "trainer"]


def test_each_folder_of_unit_tests_is_a_folder_of_the_packages() -> None:
    folders = [path for path in UNIT.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert {folder.relative_to(UNIT).parts[0] for folder in folders} == set(PACKAGES)
    strays = [folder for folder in folders if not (ROOT / folder.relative_to(UNIT) / "__init__.py").is_file()]
    assert strays == []


def test_each_file_of_unit_tests_is_named_after_a_module_in_its_place() -> None:
    """After a module, or after one and what of it is tested: test_tasks.py, test_tasks_as_lm_eval.py."""
    files = sorted(UNIT.rglob("test_*.py"))
    assert len(files) > 30
    for file in files:
        words = file.stem.removeprefix("test_").split("_")
        names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
        folder = ROOT / file.parent.relative_to(UNIT)
        assert names & {path.stem for path in folder.glob("*.py")}, file


def test_tests_of_a_file_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist knows a group by a suffix of ids; without it, each process makes what tests share."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith(f"@{Path(__file__)}") == is_worker
