"""Where the tests of a module are found: `tests/unit/` has the packages' folders and their modules' names."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"
PACKAGES = ["pipeline", "tokenizer"]


def test_each_folder_of_unit_tests_is_a_folder_of_the_packages() -> None:
    folders = [path for path in UNIT.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert {folder.relative_to(UNIT).parts[0] for folder in folders} == set(PACKAGES)
    strays = [folder for folder in folders if not (ROOT / folder.relative_to(UNIT) / "__init__.py").is_file()]
    assert strays == []


def test_each_file_of_unit_tests_is_named_after_a_module_in_its_place() -> None:
    files = sorted(UNIT.rglob("test_*.py"))
    assert len(files) > 30
    modules = {
        file: ROOT / file.relative_to(UNIT).with_name(file.name.removeprefix("test_")) for file in files
    }
    assert [file for file, module in modules.items() if not module.is_file()] == []
