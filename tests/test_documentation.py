"""The commands, options, links, paths and functions that the documentation names exist.

A command is parsed by its own options, so that a misspelled one, or one without its value, fails here before
it fails on somebody's cluster. Nothing is run.
"""

import ast
import contextlib
import dataclasses
import importlib
import importlib.util
import io
import re
import shlex
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.outbound import COMMANDS as OUTBOUND
from pipeline.runner.command import run_command

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
CLUSTER = sorted(path for path in (ROOT / "launch" / "cluster").iterdir() if path.is_file())
PACKAGES = ("pipeline", "tokenizer", "trainer", "launch")
SCRIPTS = sorted(
    path for package in PACKAGES for path in (ROOT / package).glob("*.py")
)  # docstrings show some
FOLDERS = (*PACKAGES, "tests", "docs", ".github")
ELIDED = "…"  # stands for options that a page leaves out

# Who starts a script, and the file of the installed package that has its options.
LAUNCHERS = {
    "deepspeed": ("deepspeed", "launcher/runner.py"),
    "torchrun": ("torch", "distributed/run.py"),
    "ray job submit": ("ray", "dashboard/modules/job/cli.py"),
    "ray": ("ray", "scripts/scripts.py"),
}
STARTS = re.compile(r"(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?(?:python3?|deepspeed|torchrun|srun|mpirun|ray)\s")
SCRIPT = re.compile(r"(?:\S*/)?\w+\.py")


# --- what a page says ---


def code_lines(page: Path) -> list[str]:
    """Return the lines of a page's code blocks, of a module's docstring, or of a file with its comments."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").splitlines()
    if page.suffix == ".yaml":  # its comments, and what it says
        comments = re.findall(r"^ *#+(.*)$", text, re.MULTILINE)
        return [*comments, *(value.replace("\n", " ") for value in strings_of(yaml.safe_load(text)))]
    if page.suffix != ".md":
        return [re.sub(r"^\s*#+ ?", "", line) for line in text.splitlines()]
    lines, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line)
    return lines


def strings_of(content: Any) -> Iterator[str]:
    """Yield every string in what a YAML file holds."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from strings_of(value)


def spans(page: Path) -> list[str]:
    """Return the code spans in a page's prose, which may run over the end of a line."""
    prose, fenced = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            prose.append(line)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", "\n".join(prose))]


def commands(page: Path) -> list[str]:
    """Return every command of ours that a page shows, each on one line."""
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line.strip() for line in code_lines(page)))
    # The Slurm script hands its options on.
    lines = [
        re.sub(r"^sbatch .*pretrain\.slurm(?= )", "srun launch/pretrain.py", line)
        for line in joined.splitlines()
    ]
    lines = [re.sub(r"^outbound ([\w-]+)(?= )", lambda found: script_line(found[1]), line) for line in lines]
    lines = [line.replace('"$@"', ELIDED) for line in lines]
    found = [line for line in lines if STARTS.match(line)]
    if page.suffix == ".md":
        found += [span for span in spans(page) if STARTS.match(span) or re.match(SCRIPT.pattern + " ", span)]
    return [command for command in found if any(map(SCRIPT.fullmatch, words_of(command)))]


def script_line(name: str) -> str:
    """Return how the repository starts what `outbound NAME` does."""
    return f"python {OUTBOUND[name].module.replace('.', '/')}.py"


def words_of(command: str) -> list[str]:
    """Split a command as a shell does, up to where its output is sent elsewhere or another one follows."""
    lexer = shlex.shlex(command.removeprefix("$ "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>()"):
            break
        words.append(word)
    return words


# --- what there is ---


@cache
def script_of(word: str) -> Path:
    """Return the file that a command names, by its path or, where that is clear, by its name alone."""
    name = word.removeprefix("/outbound/")
    if "/" in name:
        return ROOT / name
    tops = [ROOT / package for package in ("pipeline", "tokenizer", "launch")]
    tops += [ROOT / "tests" / "benchmarks", ROOT / "tests" / "proofs"]
    return next((top / name for top in tops if (top / name).is_file()), ROOT / name)


@cache
def options_of(script: Path) -> type | None:
    """Return the options class that a script hands to `run_command`; None where it has none."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_command":
            (first, *_) = node.args
            assert isinstance(first, ast.Name)
            module = importlib.import_module(".".join(script.relative_to(ROOT).with_suffix("").parts))
            found: type = getattr(module, first.id)
            return found
    return None


def fields_of(options: type) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields that become options, those of nested groups too."""
    types = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(types[field.name]):
            yield from fields_of(typing.cast(type, types[field.name]))
        else:
            yield field


def option_of(field: dataclasses.Field[Any]) -> str:
    """Return the option that a field becomes: its own name, or the one that its annotation gives it."""
    given = [getattr(note, "name", None) for note in getattr(field.type, "__metadata__", ())]
    name = next(filter(None, given), field.name)
    return f"--{name.replace('_', '-')}"


@cache
def source_of(package: str, file: str) -> str:
    """Return the text of a file of an installed package, without importing that."""
    spec = importlib.util.find_spec(package)
    assert spec and spec.origin
    return (Path(spec.origin).parent / file).read_text(encoding="utf-8")


@cache
def known_options() -> frozenset[str]:
    """Return the options of all our commands, of the benchmarks and proofs, and of the launchers."""
    known: set[str] = set()
    for script in SCRIPTS:
        options = options_of(script)
        for field in fields_of(options) if options else ():
            name = option_of(field)
            known |= {name, f"--no-{name.removeprefix('--')}"}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    sources += [source_of(*place) for place in LAUNCHERS.values()]
    for source in sources:
        known |= set(re.findall(r"""["'](--[\w-]+)["']""", source))
    return frozenset(known)


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the functions and classes of a module, and the methods as Class.method."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, kinds)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ +(.+?)\s*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


# --- tests ---


def refusal(command: str) -> str | None:
    """Say why a command would be refused, or None if it would not."""
    words = words_of(command)
    place = next(number for number, word in enumerate(words) if SCRIPT.fullmatch(word))
    script = script_of(words[place])
    if not script.is_file():
        return f"there is no {words[place]}"
    given = [word for word in words[place + 1 :] if word not in ("--", "$@", ELIDED)]
    unknown = launcher_options(words[:place]) or sorted(
        {word for word in words[:place] if word.startswith("--")} if words[0] == "python" else ()
    )
    if unknown:
        return f"its launcher knows no {', '.join(unknown)}"
    options = options_of(script)
    if options is None:
        text = script.read_text(encoding="utf-8")
        named = [word.partition("=")[0] for word in given if word.startswith("--")]
        missing = [name for name in named if f'"{name}"' not in text]
        return f"{script.name} knows no {', '.join(missing)}" if missing else None
    if ELIDED in words or place == 0:  # a mention, which need not have all that is required
        given += placeholders(options, given)
    return parse(options, given)


def launcher_options(words: list[str]) -> list[str]:
    """Return the options that the launcher in front of a script does not have."""
    line = " ".join(words)
    launcher = next((name for name in LAUNCHERS if re.match(rf"(?:\w+=\S+ )*{name}(?: |$)", line)), None)
    if launcher is None:
        return []
    text = source_of(*LAUNCHERS[launcher])
    named = [word.partition("=")[0] for word in words if word.startswith("--") and word != "--"]
    spellings = [(name, {name, "--" + name[2:].replace("-", "_")}) for name in named]
    return [name for name, forms in spellings if not any(f'"{form}"' in text for form in forms)]


def placeholders(options: type, given: list[str]) -> list[str]:
    """Return values for the options that are required and not given."""
    absent = dataclasses.MISSING
    words: list[str] = []
    for field in fields_of(options):
        name = option_of(field)
        required = field.default is absent and field.default_factory is absent
        if required and name not in given:
            positional = "Positional" in str(field.type)
            words += ["x"] if positional else [name, "x"]
    return words


def parse(options: type, words: list[str]) -> str | None:
    """Have `run_command` parse a command line and do nothing; return what it said, such as a warning."""
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        patch.setattr("sys.argv", ["command", *words])
        run_command(options, lambda _: None, "")
    return said.getvalue() or None


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [*PAGES, *CLUSTER, *SCRIPTS], ids=name_of)
def test_every_command_is_one_that_its_program_takes(page: Path) -> None:
    refused = {command: said for command in commands(page) if (said := refusal(command))}
    assert not refused, "\n".join(f"{command}\n{said}" for command, said in refused.items())


def test_commands_are_found_on_the_pages_that_have_them() -> None:
    found = {name_of(page): len(commands(page)) for page in (*PAGES, *CLUSTER, *SCRIPTS)}
    with_commands = ("README.md", "docs/corpus.md", "docs/tokens.md", "docs/training.md", "docs/clusters.md")
    files = (
        "launch/export.py",
        "launch/cluster/ray.yaml",
        "launch/cluster/kuberay.yaml",
        "launch/cluster/pretrain.slurm",
    )
    assert all(found[name] for name in (*with_commands, *files)), found


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("python launch/pretrain.py --data d --activation-checkpointing", "activation-checkpointing"),
        (
            "deepspeed --hostfile h launch/pretrain.py --size xl --activation-checkpointing --data d",
            "activation-checkpointing",
        ),
        ("python launch/pretrain.py --data d --sise small", "sise"),
        ("python launch/pretrain.py --size small", "data"),
        ("python tokenizer/write_shards.py --corpus c --vocabulary v --output o --format gguf", "format"),
        ("python pipeline/build_corpus.py --output o", "build_corpus"),
        ("deepspeed --host_file h launch/pretrain.py --data d", "host_file"),
        ("ray job submit --workingdir . -- python pipeline/build_webtext.py --output o", "workingdir"),
        ("python tests/benchmarks/bench_gpu.py --parts speed", "parts"),
        ("generate.py … --promt x", "promt"),
    ],
)
def test_a_wrong_command_is_refused(command: str, reason: str) -> None:
    assert reason in (refusal(command) or "")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_in_the_text_is_an_option(page: Path) -> None:
    named = {span.split()[0].partition("=")[0] for span in spans(page) if re.match(r"--\w", span)}
    assert not sorted(named - known_options())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_and_function_is_there(page: Path) -> None:
    assert not list(missing_from(spans(page)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_is_there(page: Path) -> None:
    lines = [line.partition("#")[0].split() for line in (*code_lines(page), *spans(page))]
    named = {word for words in lines if words[:1] == ["make"] for word in words[1:] if "=" not in word}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert not sorted(named - set(targets))


def missing_from(found: Iterable[str]) -> Iterator[str]:
    """Yield the paths, and the functions in `path:function`, that are not in the repository."""
    for span in found:
        path, _, function = span.partition(":")
        if not re.fullmatch(r"[\w.*-]+(?:/[\w.*-]*)+", path) or not path.startswith(tuple(FOLDERS)):
            continue
        if path.partition("/")[0] not in FOLDERS:
            continue
        there = sorted(ROOT.glob(path.rstrip("/")))
        if not there or (function and function not in functions_of(there[0])):
            yield span


def test_a_missing_path_or_function_is_seen() -> None:
    named = ["trainer/config/plan.py:resolve", "trainer/config/plan.py:resolved", "trainer/sizes.py"]
    named += ["pipeline/recipe.py:Recipe.build", "pipeline/recipe.py:Recipe.bild", "launch/cluster/*"]
    assert list(missing_from(named)) == [named[1], named[2], named[4]]
