"""What importing costs, and which way the packages may look."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["pipeline", "tokenizer", "trainer", "launch"]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_no_module_of_pipeline_or_tokenizer_imports_torch() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("pipeline", "tokenizer")
        for path in modules(package)
    ]
    assert len(names) > 40
    code = "import importlib, sys\n"
    code += f"for name in {names!r}: importlib.import_module(name)\n"
    code += "print(sorted({'torch', 'deepspeed', 'ray', 'transformers'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_from_those_before_them_only(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & later, path


def test_only_stages_speaks_ray_and_only_the_engine_deepspeed() -> None:
    homes = {"ray": "pipeline/runner/stages.py", "deepspeed": "trainer/ranks.py"}
    for path in (path for package in ORDER for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for library, home in homes.items():
                if any(name.partition(".")[0] == library for name in names):
                    assert path.relative_to(ROOT).as_posix() == home


def test_no_file_of_a_commands_folder_is_named_like_a_standard_module() -> None:
    names = {path.stem for package in ORDER for path in (ROOT / package).glob("*.py")}
    assert not (names - {"__init__"}) & sys.stdlib_module_names
