"""What a wheel brings: every file of the packages, and commands that run without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch.outbound import COMMANDS

ROOT = Path(__file__).parents[3]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PACKAGES = ("pipeline", "tokenizer", "trainer", "launch")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel out of what a checkout has, with the setuptools that is installed."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", *PACKAGES):
        (source / name).symlink_to(ROOT / name)
    subprocess.run(
        [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", built, source],
        check=True,
    )
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [*PIP, "install", "--quiet", "--no-deps", "--target", folder, wheel],
        check=True,
    )
    return folder


def outbound(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the console script where nothing but the installation is to be seen."""
    return subprocess.run(
        [sys.executable, installed / "bin" / "outbound", *arguments],
        check=False,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_a_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == there


def test_it_runs_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    result = outbound(installed, tmp_path, "plan", "--size", "nano", "--gpus", "1", "--gpu-memory", "24")
    assert result.returncode == 0, result.stderr
    assert "nano" in result.stdout


def test_help_is_called_by_the_command_s_name(installed: Path, tmp_path: Path) -> None:
    result = outbound(installed, tmp_path, "build", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: outbound build ")


def test_what_is_there_is_listed(installed: Path, tmp_path: Path) -> None:
    for arguments in ((), ("--help",)):
        result = outbound(installed, tmp_path, *arguments)
        assert result.returncode == 0
        assert all(f"  {name} " in result.stdout for name in COMMANDS)


def test_every_command_of_the_packages_has_a_name() -> None:
    scripts = {
        f"{package}.{path.stem}"
        for package in PACKAGES
        for path in (ROOT / package).glob("*.py")
        if "run_command(" in path.read_text()
    }
    assert scripts == {command.module for command in COMMANDS.values()}


def test_a_misspelled_command_is_one_line(installed: Path, tmp_path: Path) -> None:
    result = outbound(installed, tmp_path, "biuld")
    assert result.returncode == 1
    assert (
        result.stderr
        == "error: there is no command 'biuld'; did you mean build? `outbound --help` lists them.\n"
    )
