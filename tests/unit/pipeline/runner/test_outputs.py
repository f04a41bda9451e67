"""A folder that another command wrote to is left alone; a new one and one's own are taken."""

from pathlib import Path

import pytest

from pipeline.runner.outputs import check_output


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["result.json"], ["options.json", "result.json"]])
def test_a_folder_is_taken_if_no_other_command_wrote_to_it(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    check_output(str(tmp_path), "index.json", "result.json")
    check_output(str(tmp_path / "new"), "result.json")


@pytest.mark.parametrize("name", ["options.json", "funnel.json"])
def test_another_commands_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "other.json").touch()
    with pytest.raises(ValueError, match=r"\A\S+ holds another command's results: choose another --output\Z"):
        check_output(str(tmp_path), "result.json")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        check_output(str(tmp_path / "mine"), "result.json")
