"""What importing costs, and which way the packages and their rooms may look."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["pipeline", "tokenizer", "trainer", "launch"]
# The rooms of a package in the order of imports; its other modules are commands, which may import them all.
ROOMS = {
    "pipeline": [
        "runner",
        "web",
        "corpus",
        "links",
        "sources",
        "archives",
        "crawl",
        "common_crawl",
        "filters",
        "dedup",
        "boilerplate",
        "extract",
        "decontaminate",
        "compare",
        "options",
        "recipe",
    ],
    "tokenizer": ["documents", "publish", "bpe", "shards", "report"],
    "trainer": [
        "config",
        "model",
        "data",
        "memory",
        "checkpoint",
        "distributed",
        "pretrained",
        "generation",
        "report",
        "training",
        "export",
        "evaluation",
    ],
}

# How many modules deep a reader may have to climb, from a command to what it rests on.
LONGEST_CHAIN = {
    "launch.generate": 8,
    "launch.export": 9,
    "launch.pretrain": 11,
    "pipeline.build_webtext": 11,
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, anywhere in it, with what it takes out of modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import in {path}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_module_of_pipeline_or_tokenizer_imports_torch() -> None:
    names = [name_of(path) for package in ("pipeline", "tokenizer") for path in modules(package)]
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
        assert not {name.partition(".")[0] for name in imported(path)} & later, path


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_from_those_before_them_only(package: str) -> None:
    order = ROOMS[package]
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= set(order), "a room that has no place in the order"
    for path in modules(package):
        room = (*name_of(path).split("."), "")[1]
        later = set(order[order.index(room) + 1 :]) if room in order else set()
        looks_into = {name.split(".")[1] for name in imported(path) if name.startswith(f"{package}.")}
        assert not looks_into & later, path
        assert room not in order or looks_into <= set(order), f"{path} imports a command"


def import_graph() -> dict[str, set[str]]:
    """Each module of the four packages, and those that it imports."""
    paths = {name_of(path): path for package in ORDER for path in modules(package)}
    graph = {}
    for module, path in paths.items():
        found = {name if name in paths else name.rpartition(".")[0] for name in imported(path)}
        graph[module] = {name for name in found & paths.keys() if "." in name}
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = import_graph()
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize(("command", "modules_long"), LONGEST_CHAIN.items())
def test_no_chain_of_imports_grows_longer(command: str, modules_long: int) -> None:
    graph = import_graph()
    longest: dict[str, list[str]] = {}
    for module in graphlib.TopologicalSorter(graph).static_order():
        longest[module] = [module, *max((longest[name] for name in graph[module]), key=len, default=[])]
    assert len(longest[command]) <= modules_long, " > ".join(longest[command])


def test_only_the_executor_speaks_ray_and_only_the_engine_deepspeed() -> None:
    homes = {"ray": "pipeline/runner/executor.py", "deepspeed": "trainer/distributed/ranks.py"}
    for path in (path for package in ORDER for path in modules(package)):
        for library, home in homes.items():
            if any(name.partition(".")[0] == library for name in imported(path)):
                assert path.relative_to(ROOT).as_posix() == home


def test_no_file_of_a_commands_folder_is_named_like_a_standard_module() -> None:
    names = {path.stem for package in ORDER for path in (ROOT / package).glob("*.py")}
    assert not (names - {"__init__"}) & sys.stdlib_module_names
